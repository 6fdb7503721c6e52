"""What pages and API share of an operator's work: bulk operations, and ringing at once."""

from __future__ import annotations

import structlog

from jobs.bulk import BulkKind, BulkOperation
from jobs.model import UserId
from webapp.access import current_user
from webapp.services import services

log = structlog.get_logger()


def start_bulk(
    kind: object, chosen: object, arguments: object, reason: object, owner: UserId | None
) -> BulkOperation:
    """Start a bulk operation and work its first slice off; the sweep does the rest.

    Args:
        kind: one of :class:`jobs.bulk.BulkKind`.
        chosen: the filter.
        arguments: the kind's arguments.
        reason: for the events.
        owner: whose jobs may be touched; everybody's when ``None``.

    Raises:
        InvalidBulk: something of it cannot be meant.
    """
    bulk = services().bulk
    operation = bulk.start(kind, chosen, arguments, reason, current_user().name, owner)
    log.info("bulk_asked", operation_id=operation.id, user_id=current_user().id)
    operation = bulk.advance(operation.id)
    if operation.kind is BulkKind.RETRY and operation.done:
        services().sweep()
    return operation


def stop_bulk(operation_id: str, owner: UserId | None) -> BulkOperation:
    """Stop a bulk operation, and leave a trace of who did.

    Args:
        operation_id: the operation.
        owner: whose operations the asker may see; everybody's when ``None``.

    Raises:
        ItemNotFound: there is no such operation for this owner.
        IllegalTransition: it has ended.
    """
    operation = services().bulk.cancel(operation_id, current_user().name, owner)
    log.info("bulk_stop_asked", operation_id=operation.id, user_id=current_user().id)
    return operation


def pause_queue(name: str, reason: str) -> None:
    """Pause a queue, and leave a trace of it."""
    services().service.pause_queue(name, current_user().name, reason)
    log.info("queue_paused", queue=name, user_id=current_user().id)


def resume_queue(name: str) -> None:
    """Resume a queue, leave a trace of it, and ring for what waits there."""
    services().service.resume_queue(name, current_user().name)
    log.info("queue_resumed", queue=name, user_id=current_user().id)
    services().sweep()
