"""Draw pages, in the child: PDF by PDFium, pictures by Pillow; WebP, small and at reading size."""

from __future__ import annotations

import base64
import io
import math
import warnings as python_warnings
from collections.abc import Iterator

import pillow_heif
import pypdfium2
from PIL import Image, ImageOps, UnidentifiedImageError

from jobs.extraction import media_types as mt
from jobs.extraction.faults import Fault, FaultCode
from jobs.extraction.page_images import MOST_BYTES, MOST_PAGES
from jobs.extraction.reading import Source
from jobs.model import JSON

# The widest and the highest that a picture may be, in pixels, and WebP's quality from 0 to 100.
_BOXES = {"reading": (1_200, 3_000, 80), "thumbnail": (400, 1_000, 70)}
# How much work the encoder puts into a smaller file, 0 to 6; more costs more time than it saves bytes.
_EFFORT = 2


def draw(source: Source, first_page: int) -> JSON:
    """Draw up to 20 pages.

    Args:
        source: the document.
        first_page: where to begin, from 1.

    Returns:
        ``images`` (each with ``page``, ``size``, ``width``, ``height`` and its file as base64 ``data``),
        ``page_count`` and ``warnings``.

    Raises:
        Fault: it is protected, damaged, or has too many pixels.
    """
    pages = _pdf(source, first_page) if source.media_type == mt.PDF else _frames(source, first_page)
    images: list[JSON] = []
    warnings: list[str] = []
    room = MOST_BYTES
    failed = 0
    page_count = last = 0
    for page, page_count, picture in pages:
        if picture is None:
            failed += 1
        else:
            files = _files(picture)
            room -= sum(len(data) for _, _, data in files)
            if room < 0:
                break
            images += [_image_json(page, *one) for one in files]
        last = page
        wanted = min(MOST_PAGES, page_count - first_page + 1)
        source.report((page - first_page + 1) / wanted)
        if page - first_page + 1 >= wanted or source.seconds_left() < 0:
            break
    if failed:
        warnings.append(f"{failed:,} of the pages could not be drawn.")
    if last < page_count:
        warnings.append(f"Pages {first_page:,} to {last:,} of {page_count:,} were drawn.")
    return {"images": images, "page_count": page_count, "warnings": list[JSON](warnings)}


def _pdf(source: Source, first_page: int) -> Iterator[tuple[int, int, Image.Image | None]]:
    """Yield page number, page count and picture, ``None`` for a page that cannot be drawn."""
    try:
        document = pypdfium2.PdfDocument(source.path)
    except pypdfium2.PdfiumError as error:
        is_locked = "password" in str(error).lower() or "security" in str(error).lower()
        raise Fault(FaultCode.ENCRYPTED if is_locked else FaultCode.UNREADABLE) from error
    # What was entered into forms is drawn only after this.
    document.init_forms()
    page_count = len(document)
    for number in range(first_page, page_count + 1):
        try:
            page = document[number - 1]
            picture = page.render(scale=_scale(*page.get_size(), enlarge=True)).to_pil()
            page.close()
        except pypdfium2.PdfiumError:
            picture = None
        yield number, page_count, picture


def _frames(source: Source, first_page: int) -> Iterator[tuple[int, int, Image.Image | None]]:
    """Yield the same for the pages of a TIFF, or for a picture, of an animation the first."""
    pillow_heif.register_heif_opener()
    Image.MAX_IMAGE_PIXELS = source.limits.image_pixels
    python_warnings.simplefilter("error", Image.DecompressionBombWarning)
    try:
        with Image.open(source.path) as picture:
            count = int(getattr(picture, "n_frames", 1)) if source.media_type == "image/tiff" else 1
            for number in range(first_page, count + 1):
                picture.seek(number - 1)
                yield number, count, ImageOps.exif_transpose(picture)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise Fault(FaultCode.TOO_MANY_PIXELS) from error
    except (UnidentifiedImageError, SyntaxError) as error:
        raise Fault(FaultCode.UNREADABLE) from error


def _scale(width: float, height: float, *, enlarge: bool) -> float:
    """Return by how much a page is scaled for reading."""
    widest, highest, _ = _BOXES["reading"]
    scale = min(widest / max(width, 1.0), highest / max(height, 1.0))
    return scale if enlarge else min(1.0, scale)


def _files(picture: Image.Image) -> list[tuple[str, tuple[int, int], bytes]]:
    """Return the picture in each size, as names, width and height, and files."""
    drawn = _on_paper(picture)
    found = []
    for size, (widest, highest, quality) in _BOXES.items():
        scale = min(1.0, widest / drawn.width, highest / drawn.height)
        box = (max(1, math.floor(drawn.width * scale)), max(1, math.floor(drawn.height * scale)))
        if box != drawn.size:
            # The smaller size is made of the larger one.
            drawn = drawn.resize(box, Image.Resampling.LANCZOS, reducing_gap=2.0)
        out = io.BytesIO()
        drawn.save(out, "WEBP", quality=quality, method=_EFFORT)
        found.append((size, drawn.size, out.getvalue()))
    return found


def _on_paper(picture: Image.Image) -> Image.Image:
    """Return the picture in red, green and blue, on white where it was transparent."""
    if picture.mode in {"RGBA", "LA", "PA"} or "transparency" in picture.info:
        coloured = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", coloured.size, "white"), coloured)
    return picture.convert("RGB")


def _image_json(page: int, size: str, box: tuple[int, int], data: bytes) -> JSON:
    return {
        "page": page,
        "size": size,
        "width": box[0],
        "height": box[1],
        "data": base64.b64encode(data).decode("ascii"),
    }
