"""Tesseract: one reading for a clear page, two more and the best of both for a doubtful one."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Self

import tesserocr
from PIL import Image

from jobs.extraction.ocr.layout import has_columns
from jobs.extraction.ocr.merging import joined, merged, without_noise
from jobs.extraction.ocr.pictures import enlarged, flattened, is_empty, scaled, softened, turned
from jobs.extraction.ocr.seen import NOTHING, Box, Seen, Word, confidence_of, letters

ENGINE = "tesserocr"

_SURE = 88
# Below this a page may stand on its head: short ones are too little for the orientation model.
_UNREAD = 55
_OTSU, _SAUVOLA = "0", "2"
_SECOND_SCALE = 1.6
# Letters below this height in pixels lose by being softened.
_SOFTENED_HEIGHT = 16
_DOTS_PER_INCH = 200


class TesseractRecognizer:
    """Tesseract with automatic layout and orientation; a context manager.

    Args:
        folder: where the models lie, the one for orientation among them.
        models: their names, the main one first.
        is_rightward: whether lines run from left to right.
    """

    engine = ENGINE

    def __init__(self, folder: Path, models: Sequence[str], *, is_rightward: bool = True) -> None:
        self._folder = folder
        self._models = "+".join(models)
        self._is_rightward = is_rightward

    def __enter__(self) -> Self:
        """Load the models."""
        self._api = tesserocr.PyTessBaseAPI(
            path=os.fspath(self._folder), lang=self._models, psm=tesserocr.PSM.AUTO_OSD
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Free the models."""
        self._api.End()

    def read(self, picture: Image.Image) -> Seen:
        """Read one picture; an empty or tiny one has no text."""
        grey = flattened(picture, "L")
        if is_empty(grey):
            return NOTHING
        plain = enlarged(grey)
        first = self._first_look(plain)
        if first.confidence >= _SURE:
            return first
        words, quarters = self._words()
        if first.confidence < _UNREAD:
            first, words, quarters = self._best_turn(plain, first, words, quarters)
        if not words or first.confidence >= _SURE or not self._is_rightward:
            return first
        better = self._second_look(turned(grey, quarters), words, plain.width / grey.width)
        return better if _weight(better) > _weight(first) else first

    def _first_look(self, grey: Image.Image) -> Seen:
        self._show(grey, tesserocr.PSM.AUTO_OSD, _OTSU)
        text = _tidy(self._api.GetUTF8Text() or "")
        return Seen(text, int(self._api.MeanTextConf()) if text else 100)

    def _best_turn(
        self, grey: Image.Image, first: Seen, words: list[Word], quarters: int
    ) -> tuple[Seen, list[Word], int]:
        """Try the other three ways a page can lie, and return the one that reads best."""
        best = (first, words, quarters)
        for turn in (2, 1, 3):
            self._show(turned(grey, turn), tesserocr.PSM.AUTO, _OTSU)
            text = _tidy(self._api.GetUTF8Text() or "")
            seen = Seen(text, int(self._api.MeanTextConf()) if text else 0)
            if _weight(seen) > _weight(best[0]):
                best = (seen, self._words()[0], turn)
            if best[0].confidence >= _SURE:
                break
        return best

    def _second_look(self, grey: Image.Image, words: list[Word], factor: float) -> Seen:
        """Read a doubtful page in two other ways and take from each place what is surer.

        Args:
            grey: upright, not enlarged.
            words: of the first look; for the letters' height and the layout.
            factor: by which the first look's picture was enlarged.
        """
        is_column = not has_columns(_lines(words))
        height = median(word.box[3] - word.box[1] for word in words) / factor
        soft = softened(grey) if height >= _SOFTENED_HEIGHT else grey
        mode = tesserocr.PSM.SINGLE_COLUMN if is_column else tesserocr.PSM.AUTO
        self._show(soft, mode, _OTSU)
        blocks = without_noise(self._words()[0])
        mode = tesserocr.PSM.SINGLE_BLOCK if is_column else tesserocr.PSM.AUTO
        self._show(scaled(grey, _SECOND_SCALE), mode, _SAUVOLA)
        rows = without_noise(self._words(_SECOND_SCALE)[0])
        # Labels and their amounts stand in blocks of their own, which rows put together again.
        both = merged(rows, blocks) if is_column else merged(blocks, rows)
        return Seen(_tidy(joined(both)), round(confidence_of(both)))

    def _show(self, grey: Image.Image, mode: int, threshold: str) -> None:
        self._api.SetPageSegMode(mode)
        self._api.SetVariable("thresholding_method", threshold)
        self._api.SetImage(grey)
        self._api.SetSourceResolution(_DOTS_PER_INCH)

    def _words(self, scale: float = 1.0) -> tuple[list[Word], int]:
        """Return the words of the picture that is shown, and how it is to be turned to stand upright.

        Args:
            scale: by which boxes are divided.
        """
        self._api.Recognize()
        found: list[Word] = []
        line = block = -1
        quarters = 0
        walk = self._api.GetIterator()
        if walk is None:
            return found, quarters
        level = tesserocr.RIL.WORD
        for word in tesserocr.iterate_level(walk, level):
            if word.IsAtBeginningOf(tesserocr.RIL.BLOCK):
                block += 1
            if word.IsAtBeginningOf(tesserocr.RIL.TEXTLINE):
                line += 1
            if word.Empty(level):
                continue
            text = word.GetUTF8Text(level).strip()
            left, top, right, bottom = (side / scale for side in word.BoundingBox(level))
            if not found:
                quarters = -int(word.Orientation()[0]) % 4
            if text:
                found.append(Word(text, word.Confidence(level), (left, top, right, bottom), line, block))
        return found, quarters


def _weight(seen: Seen) -> float:
    return letters(seen.text) * float(seen.confidence)


def _lines(words: list[Word]) -> list[Box]:
    """Return the box around each line."""
    lines: dict[float, list[Box]] = {}
    for word in words:
        lines.setdefault(word.line, []).append(word.box)
    return [
        (
            min(box[0] for box in boxes),
            min(box[1] for box in boxes),
            max(box[2] for box in boxes),
            max(box[3] for box in boxes),
        )
        for boxes in lines.values()
    ]


def _tidy(text: str) -> str:
    lines = [line.rstrip() for line in text.replace("\x0c", "\n").splitlines()]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
