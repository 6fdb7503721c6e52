"""Pictures: every frame is read by OCR."""

from __future__ import annotations

import warnings as python_warnings

import pillow_heif
from PIL import Image, ImageOps, ImageSequence, UnidentifiedImageError

from jobs.extraction import ocr
from jobs.extraction.dates import iso
from jobs.extraction.faults import Fault, FaultCode
from jobs.extraction.markdown import escape
from jobs.extraction.options import Ocr
from jobs.extraction.reading import Reading, Source

_EXIF_DATE = 306
# An animation repeats itself; more of its frames tell nothing new.
_ANIMATION_FRAMES = 1


def read(source: Source) -> Reading:
    """Read the text on a picture; a picture without text is no failure.

    Raises:
        Fault: it has too many pixels, or cannot be decoded.
    """
    pillow_heif.register_heif_opener()
    Image.MAX_IMAGE_PIXELS = source.limits.image_pixels
    python_warnings.simplefilter("error", Image.DecompressionBombWarning)
    try:
        with Image.open(source.path) as picture:
            return _read_frames(picture, source)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise Fault(FaultCode.TOO_MANY_PIXELS) from error
    except (UnidentifiedImageError, SyntaxError) as error:
        raise Fault(FaultCode.UNREADABLE) from error


def _read_frames(picture: Image.Image, source: Source) -> Reading:
    frame_count = int(getattr(picture, "n_frames", 1))
    is_animation = source.media_type != "image/tiff"
    limit = min(_ANIMATION_FRAMES, frame_count) if is_animation else source.limits.ocr_max_pages
    reading = Reading(markdown="", engine="pillow", page_count=frame_count)
    reading.metadata = {"width": picture.width, "height": picture.height}
    date = iso(_exif_date(picture))
    if date:
        reading.metadata["created_at"] = date
    if source.options.ocr is Ocr.NEVER:
        reading.text, reading.pages = "", [""] * min(limit, frame_count)
        reading.warnings.append("The text on this picture was not read by OCR, as was asked.")
        return reading
    confidences: list[int] = []
    # Another frame may take as long as the longest so far.
    longest = 0.0
    source.page_log.expect(min(limit, frame_count))
    with ocr.opened(source, reading) as recognizer:
        reading.engine = f"pillow+{recognizer.engine}"
        for frame in ImageSequence.Iterator(picture):
            if len(reading.pages) >= limit or (reading.pages and source.seconds_left() < longest):
                break
            source.page_log.begin(len(reading.pages) + 1)
            left = source.seconds_left()
            seen = recognizer.read(ImageOps.exif_transpose(frame))
            reading.pages.append(seen.text)
            source.page_log.done(len(reading.pages), escape(seen.text))
            if seen.text:
                confidences.append(seen.confidence)
            longest = max(longest, left - source.seconds_left())
            source.report(len(reading.pages) / min(limit, frame_count))
    if len(reading.pages) < frame_count:
        what = "frames" if is_animation else "pages"
        reading.warnings.append(f"Only the first {len(reading.pages):,} of {frame_count:,} {what} were read.")
    if confidences:
        ocr.judge(confidences, source, reading)
    reading.text = "\n\n".join(page for page in reading.pages if page)
    reading.markdown = "\n\n".join(escape(page) for page in reading.pages if page) + "\n"
    return reading


def _exif_date(picture: Image.Image) -> str | None:
    """Return the time of the photograph in ISO form; EXIF writes ``2024:05:01 10:20:30``."""
    value = picture.getexif().get(_EXIF_DATE)
    if not isinstance(value, str) or len(value) < 19:
        return None
    return value[:10].replace(":", "-") + "T" + value[11:19]
