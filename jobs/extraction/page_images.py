"""Have pictures of a document's pages drawn in a caged child."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jobs.extraction import cage
from jobs.extraction import media_types as mt
from jobs.extraction.children import CHILD_PROGRAM
from jobs.extraction.faults import Fault, FaultCode, as_error
from jobs.extraction.ocr_setup import OcrSetup
from jobs.extraction.options import USUAL, ReadOptions
from jobs.extraction.progress import Progress
from jobs.extraction.registry import readers_for
from jobs.extraction.result import GIB, Limits, count_of, text_of, texts_of
from jobs.extraction.warm import is_wanted
from jobs.model import IMAGE_SIZES, JSON, PageImage

# What one drawing may hold: it must fit into a result, where bytes take a third more.
MOST_PAGES = 20
MOST_BYTES = 32 * 1024 * 1024
MEDIA_TYPE = "image/webp"
_MOST_SIDE = 8_000


@dataclass(frozen=True, slots=True)
class Drawing:
    """Pictures of a document's pages.

    Attributes:
        images: of each page drawn, one of each size.
        page_count: pages of the whole document, also of those not drawn.
        warnings: sentences about what was not drawn.
    """

    images: tuple[PageImage, ...]
    page_count: int
    warnings: list[str]


def has_images(media_type: str) -> bool:
    """Say whether pages of this kind of document can be drawn."""
    return media_type == mt.PDF or readers_for(media_type) == ("image",)


def draw(
    path: Path,
    *,
    media_type: str,
    limits: Limits,
    first_page: int = 1,
    options: ReadOptions = USUAL,
    on_progress: Callable[[Progress], None],
    warm: bool = True,
) -> Drawing:
    """Draw up to 20 pages of a document, small and at reading size.

    Args:
        path: where its bytes are.
        media_type: as ``sniff`` found it.
        limits: the bounds of time and memory.
        first_page: where to begin, from 1.
        options: of them the password counts.
        on_progress: as of ``extract``.
        warm: as of ``extract``.

    Raises:
        Permanent: this kind has no pages that can be drawn, or the document is protected and the password
            does not open it, is damaged or reached a limit.
        Transient: the machine could not start the child or is out of disk.
    """
    program = None if warm and is_wanted() else CHILD_PROGRAM
    try:
        _require_images(media_type)
        request: dict[str, JSON] = {
            "path": str(path.resolve()),
            "filename": "",
            "media_type": media_type,
            "first_page": first_page,
            "seconds": limits.wall_seconds,
            "limits": limits.to_json(),
            "options": options.to_json(),
            "ocr": OcrSetup().to_json(),
        }
        answer, _usage = cage.run(
            request,
            limits=limits,
            seconds=limits.wall_seconds,
            on_progress=on_progress,
            program=program,
        )
        return _drawing_of(answer)
    except Fault as fault:
        limits_text = (f"{limits.memory_bytes / GIB:g} GB", f"{limits.wall_seconds:g} s")
        raise as_error(
            fault, media_type=media_type, expected=media_type, limits_text=limits_text
        ) from fault.__cause__


def _require_images(media_type: str) -> None:
    if not has_images(media_type):
        raise Fault(FaultCode.UNSUPPORTED_KIND)


def _drawing_of(answer: dict[str, JSON]) -> Drawing:
    """Read what the child sent, which is not trusted."""
    if "fault" in answer:
        raise cage.fault_of(answer)
    body = answer.get("drawing")
    try:
        if not isinstance(body, dict) or not isinstance(images := body.get("images"), list):
            raise ValueError("no drawing")  # noqa: TRY004, TRY301 - one error for all bad shapes
        found = {(image.page, image.size): image for image in map(_image_of, images)}
        if sum(len(image.data) for image in found.values()) > MOST_BYTES or len(found) > 2 * MOST_PAGES:
            raise ValueError("too large a drawing")  # noqa: TRY301 - as above
        return Drawing(tuple(found.values()), count_of(body, "page_count"), texts_of(body, "warnings"))
    except ValueError as error:
        raise Fault(FaultCode.READER_CRASHED, detail="no valid result") from error


def _image_of(value: JSON) -> PageImage:
    if not isinstance(value, dict):
        raise ValueError("a picture is not an object")  # noqa: TRY004 - one error for all bad shapes
    page, width, height = (count_of(value, name) for name in ("page", "width", "height"))
    size = text_of(value, "size")
    try:
        data = base64.b64decode(text_of(value, "data"), validate=True)
    except binascii.Error as error:
        raise ValueError("a picture is not base64") from error
    if size not in IMAGE_SIZES or not page or not 0 < width <= _MOST_SIDE or not 0 < height <= _MOST_SIDE:
        raise ValueError("a picture without a place or a size")
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        raise ValueError("a picture of another kind")
    return PageImage(page, size, width, height, MEDIA_TYPE, data)
