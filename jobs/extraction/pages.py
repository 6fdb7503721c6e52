"""Pages of a PDF as PDFium has them: their pictures for OCR, and their text to the letter."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Self

import pypdfium2
from PIL import Image

_DOTS_PER_INCH = 200
_POINTS_PER_INCH = 72
# A page may claim any size; the scale is chosen so that its picture stays below this.
_MAX_PIXELS = 20_000_000


def rendered(
    path: Path, indexes: Iterable[int], password: str | None = None
) -> Iterator[tuple[int, Image.Image | None]]:
    """Yield the index and a grey picture of each wanted page, ``None`` for one that cannot be drawn.

    Args:
        path: the PDF.
        indexes: page numbers from 0.
        password: opens it, if it is protected.
    """
    document = pypdfium2.PdfDocument(path, password=password)
    try:
        for index in indexes:
            try:
                page = document[index]
                width, height = page.get_size()
                picture = page.render(scale=_scale(width, height), grayscale=True).to_pil()
                page.close()
            except pypdfium2.PdfiumError:
                yield index, None
                continue
            yield index, picture
    finally:
        document.close()


class ExactText:
    """The text of single pages; the file is opened when the first one is asked for.

    Args:
        path: the PDF.
        password: opens it, if it is protected.
    """

    def __init__(self, path: Path, password: str | None = None) -> None:
        self._path = path
        self._password = password
        self._document: pypdfium2.PdfDocument | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._document is not None:
            self._document.close()

    def of(self, number: int) -> str:
        """Return the text of a page, counted from 1; an empty one where PDFium cannot read it."""
        if self._document is None:
            self._document = pypdfium2.PdfDocument(self._path, password=self._password)
        try:
            page = self._document[number - 1]
            text = page.get_textpage().get_text_range()
            page.close()
        except pypdfium2.PdfiumError:
            return ""
        return str(text)


def _scale(width: float, height: float) -> float:
    wanted = _DOTS_PER_INCH / _POINTS_PER_INCH
    return min(wanted, math.sqrt(_MAX_PIXELS / max(1.0, width * height)))
