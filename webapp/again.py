"""Orders to look at a document once more as it was asked for: at failed pages, and with a password."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from werkzeug.exceptions import BadRequest

from jobs.model import IMAGES_OPERATION, RETRY_PAGES, Document, QueueItem, Status
from jobs.read_options import PASSWORD_CODES, options_again
from jobs.uploads import Order
from webapp.orders import parse_order
from webapp.problems import Problem
from webapp.results import require_failed_pages
from webapp.services import services


def retry_pages_order(document: Document, said: Mapping[str, object]) -> Order:
    """Order that failed pages are read again as the others were.

    Args:
        document: whose pages.
        said: ``priority``, ``queue`` and ``password``; without that it is the other pages' while it is kept.

    Raises:
        BadRequest: the priority or the password cannot be meant.
        Problem: 409 ``no_failed_pages``.
    """
    require_failed_pages(document)
    order = parse_order(said)
    reader = services().queries.reader_of(document.id)
    options = options_again(None if reader is None else reader.options, services().settings)
    if order.options.password is not None:
        options = replace(options, password=order.options.password)
    return replace(order, operation=RETRY_PAGES, options=options)


def order_with_password(item: QueueItem, said: Mapping[str, object]) -> Order:
    """Order once more what a job could not do without the right password, and all as it was asked for.

    Args:
        item: the failed job.
        said: the ``password``.

    Raises:
        BadRequest: there is no password, or one that is too long.
        Problem: 409 ``no_password_needed``; the job did not fail for want of a password.
    """
    if not is_locked(item):
        raise Problem(409, "This job does not wait for a password.", code="no_password_needed")
    password = parse_order({"password": said.get("password")}).options.password
    if password is None:
        raise BadRequest("Say the password.")
    settings, is_drawing = services().settings, item.operation == IMAGES_OPERATION
    return Order(
        operation=item.operation,
        priority=item.priority,
        queue=item.queue if item.queue in settings.queue_names else None,
        options=replace(options_again(item.options, settings), password=password),
        first_page=services().queries.first_drawn_page(item.id) if is_drawing else 1,
    )


def is_locked(item: QueueItem) -> bool:
    """Say whether a job has failed for want of the right password."""
    return item.status is Status.FAILED and item.error_code in PASSWORD_CODES
