"""Pictures of a document's pages: what there is, and having them drawn when they are wanted."""

from __future__ import annotations

from dataclasses import dataclass

from jobs.errors import AlreadyQueued
from jobs.extraction import has_images
from jobs.model import IMAGES_OPERATION, OPEN_STATUSES, Document, QueueItem, Status
from webapp.services import services

NO_IMAGES = "Pages of this kind of document are not drawn; PDF files, scans and pictures are."
# Somebody looks at the page now, and it takes a moment.
_PRIORITY = 50


@dataclass(frozen=True, slots=True)
class PageImages:
    """The pictures of a document.

    Attributes:
        drawn: width and height at reading size, by page.
        job: what draws them just now.
        reason: why a page that was asked for is not drawn and will not be, in a sentence.
    """

    drawn: dict[int, tuple[int, int]]
    job: QueueItem | None = None
    reason: str | None = None


def wanted_images(document: Document, page: int) -> PageImages:
    """Return a document's pictures, and let a worker draw them if that of a page is missing.

    Args:
        document: the document.
        page: the page that somebody wants to see, from 1.
    """
    if not has_images(document.media_type):
        return PageImages({}, reason=NO_IMAGES)
    drawn = services().queries.drawn_pages(document.id)
    if page in drawn:
        return PageImages(drawn)
    last = services().queries.last_item(document.id, IMAGES_OPERATION)
    if last is None:
        return PageImages(drawn, _enqueue(document))
    if last.status in OPEN_STATUSES:
        return PageImages(drawn, last)
    if last.status is Status.COMPLETED:
        return PageImages(drawn, reason="This page was not drawn.")
    return PageImages(drawn, reason=f"The pages were not drawn: {last.error_message or last.status.value}")


def _enqueue(document: Document) -> QueueItem:
    try:
        item = services().service.enqueue(document.id, IMAGES_OPERATION, _PRIORITY)
    except AlreadyQueued as error:
        return services().queries.item(error.item_id, owner=None)
    services().intake.announce([item])
    return item
