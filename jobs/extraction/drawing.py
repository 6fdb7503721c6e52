"""Draw pages, in the child: PDF by PDFium, pictures by Pillow; WebP, small and at reading size."""

from __future__ import annotations

import base64
import io
import itertools
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
    try:
        opened = _pdf if source.media_type == mt.PDF else _picture
        return _drawn(source, first_page, *opened(source, first_page))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise Fault(FaultCode.TOO_MANY_PIXELS) from error
    except (UnidentifiedImageError, SyntaxError) as error:
        raise Fault(FaultCode.UNREADABLE) from error


def _drawn(source: Source, first_page: int, page_count: int, pages: Iterator[Image.Image | None]) -> JSON:
    images: list[JSON] = []
    warnings: list[str] = []
    room, failed, last = MOST_BYTES, 0, first_page - 1
    wanted = min(MOST_PAGES, page_count - last)
    for page, picture in enumerate(itertools.islice(pages, max(0, wanted)), first_page):
        files = [] if picture is None else _files(picture)
        room -= sum(len(data) for _, _, data in files)
        if room < 0:
            break
        failed += picture is None
        images += [_image_json(page, *one) for one in files]
        last = page
        source.report((page - first_page + 1) / wanted)
        if source.seconds_left() < 0:
            break
    if failed:
        warnings.append(f"{failed:,} of the pages could not be drawn.")
    if 0 < last - first_page + 1 < wanted:
        warnings.append(f"Only pages {first_page:,} to {last:,} were drawn.")
    return {"images": images, "page_count": page_count, "warnings": list[JSON](warnings)}


def _pdf(source: Source, first_page: int) -> tuple[int, Iterator[Image.Image | None]]:
    """Open a PDF; return its page count and its pages from the first on, ``None`` for what fails."""
    try:
        document = pypdfium2.PdfDocument(source.path, password=source.options.password)
    except pypdfium2.PdfiumError as error:
        is_locked = "password" in str(error).lower() or "security" in str(error).lower()
        raise Fault(source.locked if is_locked else FaultCode.UNREADABLE) from error
    # What was entered into forms is drawn only after this.
    document.init_forms()
    page_count = len(document)
    return page_count, (_pdf_page(document, index) for index in range(first_page - 1, page_count))


def _pdf_page(document: pypdfium2.PdfDocument, index: int) -> Image.Image | None:
    try:
        page = document[index]
        width, height = page.get_size()
        widest, highest, _ = _BOXES["reading"]
        scale = min(widest / max(width, 1.0), highest / max(height, 1.0))
        picture: Image.Image = page.render(scale=scale).to_pil()
        page.close()
    except pypdfium2.PdfiumError:
        return None
    return picture


def _picture(source: Source, first_page: int) -> tuple[int, Iterator[Image.Image | None]]:
    """Do the same with a picture: a TIFF has pages; of an animation the first frame is one."""
    pillow_heif.register_heif_opener()
    Image.MAX_IMAGE_PIXELS = source.limits.image_pixels
    python_warnings.simplefilter("error", Image.DecompressionBombWarning)
    picture = Image.open(source.path)
    count = int(getattr(picture, "n_frames", 1)) if source.media_type == "image/tiff" else 1
    return count, (_frame(picture, index) for index in range(first_page - 1, count))


def _frame(picture: Image.Image, index: int) -> Image.Image:
    picture.seek(index)
    return ImageOps.exif_transpose(picture)


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
