"""RapidOCR: neural models on ONNX Runtime, an optional extra."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from statistics import median
from types import TracebackType
from typing import Any, Self

from PIL import Image

from jobs.extraction.ocr.layout import reading_order
from jobs.extraction.ocr.pictures import flattened, is_empty, turned
from jobs.extraction.ocr.seen import NOTHING, Box, Seen, Word, confidence_of, letters

ENGINE = "rapidocr"

_SURE = 85
_TALL = 1.3
# Turning every line on its own would undo the order of a page that stands on its head, and turns
# short lines that were upright.
_PARAMETERS = {
    "Global.log_level": "critical",
    "Global.use_cls": False,
    "EngineConfig.onnxruntime.intra_op_num_threads": 1,
    "EngineConfig.onnxruntime.inter_op_num_threads": 1,
}


class RapidOcrRecognizer:
    """PP-OCR models from the package; a context manager.

    Args:
        reads_han: whether Chinese and Japanese signs may be on the picture. Where they cannot,
            specks and rules are not taken for them.
    """

    engine = ENGINE

    def __init__(self, *, reads_han: bool) -> None:
        self._reads_han = reads_han

    def __enter__(self) -> Self:
        """Load the models."""
        from rapidocr import RapidOCR

        engine: Any = RapidOCR(params=_PARAMETERS)
        if not self._reads_han:
            recognizer = engine._load_rec_model()  # noqa: SLF001  # no public way to the alphabet
            recognizer.session = _Alphabet(recognizer.session, recognizer.postprocess_op.character)
        self._engine = engine
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Free the models."""
        del self._engine

    def read(self, picture: Image.Image) -> Seen:
        """Read one picture; an empty or tiny one has no text."""
        colours = flattened(picture, "RGB")
        if is_empty(colours.convert("L")):
            return NOTHING
        pieces = self._pieces(colours)
        # The engine turns tall boxes one by one, so that a page on its side reads well, but in a wrong
        # order; a text that is written downwards is left as it is.
        if _is_lying(pieces) and not self._reads_han:
            pieces = max((self._pieces(turned(colours, turn)) for turn in (1, 3)), key=_weight)
        elif pieces and confidence_of(pieces) < _SURE:
            pieces = max(pieces, self._pieces(turned(colours, 2)), key=_weight)
        rows = reading_order([piece.box for piece in pieces])
        blocks = ["\n".join(_row(pieces, row) for row in block) for block in rows]
        return Seen("\n\n".join(blocks), round(confidence_of(pieces))) if pieces else NOTHING

    def _pieces(self, picture: Image.Image) -> list[Word]:
        import numpy as np

        # The models were trained on pictures with blue first.
        found: Any = self._engine(np.ascontiguousarray(np.asarray(picture)[:, :, ::-1]))
        if found.txts is None or found.boxes is None:
            return []
        return [
            Word(text.strip(), 100.0 * score, _around(corners))
            for text, score, corners in zip(found.txts, found.scores, found.boxes, strict=True)
            if text.strip()
        ]


class _Alphabet:
    """A recognition session that answers with signs of the Latin world only."""

    def __init__(self, session: Any, characters: Sequence[str]) -> None:
        import numpy as np

        self._session = session
        self._allowed = np.array([is_common(one) for one in characters], dtype=np.float32)

    def __call__(self, pictures: Any) -> Any:
        """Return the probabilities of each sign, 0 for those that are not allowed."""
        return self._session(pictures) * self._allowed


def is_common(character: str) -> bool:
    """Say whether a sign is a Latin letter, punctuation, a currency's, or no sign at all."""
    if len(character) != 1:
        return True
    if unicodedata.category(character).startswith("L"):
        return unicodedata.name(character, "").startswith("LATIN")
    point = ord(character)
    return point < 0x250 or 0x2010 <= point < 0x2070 or unicodedata.category(character) == "Sc"


def _is_lying(pieces: Sequence[Word]) -> bool:
    """Say whether lines run down the picture, as on a page that was turned by a quarter."""
    boxes = [piece.box for piece in pieces if len(piece.text) > 2]
    return bool(boxes) and median((box[3] - box[1]) / max(1.0, box[2] - box[0]) for box in boxes) > _TALL


def _around(corners: Any) -> Box:
    across, down = [float(corner[0]) for corner in corners], [float(corner[1]) for corner in corners]
    return min(across), min(down), max(across), max(down)


def _row(pieces: Sequence[Word], row: Sequence[int]) -> str:
    return " ".join(pieces[index].text for index in row)


def _weight(pieces: Sequence[Word]) -> float:
    return confidence_of(pieces) * sum(letters(piece.text) for piece in pieces)
