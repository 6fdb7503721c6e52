"""Prepare pictures for OCR: grey, upright on white, and of a size that is read well."""

from __future__ import annotations

import math

from PIL import Image, ImageFilter

# Tesseract refuses sides above 32,767; above this size letters only get slower, not clearer.
_MAX_PIXELS = 20_000_000
_MAX_SIDE = 20_000
_MIN_SIDE = 8
# A whole page in fewer pixels has letters below the height that Tesseract reads well. Larger
# pictures lose by being enlarged (measured on receipts).
_SMALL_PIXELS = 600_000
_WHITE_OF_16_BITS = 257


def is_blank(grey: Image.Image) -> bool:
    """Say whether a grey picture has one shade only."""
    darkest, lightest = grey.getextrema()
    return bool(darkest == lightest)


def is_empty(grey: Image.Image) -> bool:
    """Say whether a grey picture has no room for letters or one shade only."""
    return min(grey.size) < _MIN_SIDE or is_blank(grey)


def flattened(picture: Image.Image, mode: str) -> Image.Image:
    """Return a picture without transparency, on white, and not larger than OCR can use.

    Args:
        picture: of any mode.
        mode: ``L`` or ``RGB``.
    """
    if picture.mode in {"RGBA", "LA", "PA"} or "transparency" in picture.info:
        coloured = picture.convert("RGBA")
        paper = Image.new("RGBA", coloured.size, "white")
        picture = Image.alpha_composite(paper, coloured)
    elif picture.mode.startswith("I;16"):
        # Pillow cuts shades off where it should divide them.
        picture = picture.convert("I").point(lambda shade: shade / _WHITE_OF_16_BITS)
    flat = picture.convert(mode)
    width, height = flat.size
    share = min(1.0, math.sqrt(_MAX_PIXELS / max(1, width * height)), _MAX_SIDE / max(width, height, 1))
    return scaled(flat, share)


def enlarged(grey: Image.Image) -> Image.Image:
    """Double a picture that is too small for the letters of a page."""
    return scaled(grey, 2.0) if grey.width * grey.height < _SMALL_PIXELS else grey


def scaled(picture: Image.Image, factor: float) -> Image.Image:
    """Return the picture with its sides times a factor."""
    if factor == 1.0:
        return picture
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    return picture.resize(size, Image.Resampling.LANCZOS)


def softened(grey: Image.Image) -> Image.Image:
    """Blur by a pixel, which joins the dots that printers and scanners left of a stroke."""
    return grey.filter(ImageFilter.GaussianBlur(1))


def turned(picture: Image.Image, quarters: int) -> Image.Image:
    """Turn a picture clockwise by quarters of a full turn."""
    ways = {
        1: Image.Transpose.ROTATE_270,
        2: Image.Transpose.ROTATE_180,
        3: Image.Transpose.ROTATE_90,
    }
    return picture.transpose(ways[quarters]) if quarters else picture
