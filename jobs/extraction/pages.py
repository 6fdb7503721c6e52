"""Render pages of a PDF for OCR."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path

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


def _scale(width: float, height: float) -> float:
    wanted = _DOTS_PER_INCH / _POINTS_PER_INCH
    return min(wanted, math.sqrt(_MAX_PIXELS / max(1.0, width * height)))
