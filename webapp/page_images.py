"""Pictures of a document's pages: what there is, and having them drawn when they are wanted."""

from __future__ import annotations

from dataclasses import dataclass

from jobs.errors import AlreadyQueued
from jobs.extraction import MOST_PAGES, has_images
from jobs.model import IMAGES_OPERATION, OPEN_STATUSES, Document, QueueItem, Status
from webapp.again import is_locked
from webapp.services import services

NO_IMAGES = "Pages of this kind of document are not drawn; PDF files, scans and pictures are."
MOST_DRAWN = 5_000
# Somebody looks at the page now, and it takes a moment.
_PRIORITY = 50


@dataclass(frozen=True, slots=True)
class PageImages:
    """The pictures of a document.

    Attributes:
        drawn: width and height at reading size, by page.
        job: what draws them just now.
        reason: why a page that was asked for is not drawn and will not be, in a sentence.
        locked: the job that could not draw it for want of the right password.
    """

    drawn: dict[int, tuple[int, int]]
    job: QueueItem | None = None
    reason: str | None = None
    locked: QueueItem | None = None


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
    if page > MOST_DRAWN:
        return PageImages(drawn, reason=f"Only the first {MOST_DRAWN:,} pages are drawn.")
    first_page = page - (page - 1) % MOST_PAGES
    last = services().queries.last_item(document.id, IMAGES_OPERATION)
    if last is not None and last.status in OPEN_STATUSES:
        # Perhaps others than this one; whoever asks again later has them drawn then.
        return PageImages(drawn, last)
    if last is None or services().queries.first_drawn_page(last.id) != first_page:
        return PageImages(drawn, _enqueue(document, first_page))
    if last.status is Status.COMPLETED:
        return PageImages(drawn, reason="This page was not drawn.")
    reason = f"The pages were not drawn: {last.error_message or last.status.value}"
    return PageImages(drawn, reason=reason, locked=last if is_locked(last) else None)


def _enqueue(document: Document, first_page: int) -> QueueItem:
    try:
        item = services().service.enqueue(document.id, IMAGES_OPERATION, _PRIORITY, first_page=first_page)
    except AlreadyQueued as error:
        return services().queries.item(error.item_id, owner=None)
    services().intake.announce([item])
    return item
