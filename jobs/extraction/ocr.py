"""Read text in pictures with Tesseract."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import tesserocr
from PIL import Image

from jobs.extraction.reading import Reading

_LANGUAGE = "eng"
# Tesseract refuses sides above 32,767; above this size letters only get slower, not clearer.
_MAX_PIXELS = 20_000_000
_MAX_SIDE = 20_000
_MIN_SIDE = 8
# A whole page in fewer pixels has letters below the height that Tesseract reads well. Larger
# pictures lose by being enlarged (measured on receipts).
_SMALL_PIXELS = 600_000
_DOUBTFUL = 60


@dataclass(frozen=True, slots=True)
class Seen:
    """What stands on a picture: its text, and Tesseract's confidence from 0 to 100."""

    text: str
    confidence: int


class Recognizer:
    """Tesseract with automatic layout and orientation; a context manager."""

    def __enter__(self) -> Self:
        """Load the models."""
        self._api = tesserocr.PyTessBaseAPI(
            path=os.environ["TESSDATA_PREFIX"], lang=_LANGUAGE, psm=tesserocr.PSM.AUTO_OSD
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
        grey = _prepared(picture)
        if min(grey.size) < _MIN_SIDE or is_blank(grey):
            return Seen("", 100)
        self._api.SetImage(grey)
        self._api.SetSourceResolution(200)
        text = _tidy(self._api.GetUTF8Text() or "")
        return Seen(text, int(self._api.MeanTextConf()) if text else 100)


def is_blank(grey: Image.Image) -> bool:
    """Say whether a grey picture has one shade only."""
    darkest, lightest = grey.getextrema()
    return bool(darkest == lightest)


def _prepared(picture: Image.Image) -> Image.Image:
    """Return the picture grey, on white where it was transparent, and of a size that is read well."""
    if picture.mode in {"RGBA", "LA", "PA"} or "transparency" in picture.info:
        coloured = picture.convert("RGBA")
        paper = Image.new("RGBA", coloured.size, "white")
        picture = Image.alpha_composite(paper, coloured)
    grey = picture.convert("L")
    width, height = grey.size
    pixels = max(1, width * height)
    scale = min(1.0, math.sqrt(_MAX_PIXELS / pixels), _MAX_SIDE / max(width, height, 1))
    if pixels < _SMALL_PIXELS:
        scale = 2.0
    if scale == 1.0:
        return grey
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return grey.resize(size, Image.Resampling.LANCZOS)


def _tidy(text: str) -> str:
    lines = [line.rstrip() for line in text.replace("\x0c", "\n").splitlines()]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def tell_languages(asked: tuple[str, ...], reading: Reading) -> None:
    """Warn of languages that pictures cannot be read in.

    Args:
        asked: ISO 639-1 codes; empty for the default.
        reading: gets the warning.
    """
    others = [code for code in asked if code != "en"]
    if others:
        reading.warnings.append(
            f"Text in pictures is read as English only; asked for besides: {', '.join(others)}."
        )


def judge(confidences: list[int], reading: Reading) -> None:
    """Record how sure the OCR was, and warn when it was not.

    Args:
        confidences: of each picture read, 0 to 100; not empty.
        reading: gets ``ocr_confidence`` and perhaps a warning.
    """
    mean = round(sum(confidences) / len(confidences))
    reading.metadata["ocr_confidence"] = mean
    if mean < _DOUBTFUL:
        reading.warnings.append(
            f"The text in pictures was hard to read (confidence {mean} of 100); "
            "only English is recognised, so expect mistakes."
        )
