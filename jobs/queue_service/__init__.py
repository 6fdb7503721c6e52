"""The durable queue: every write of queue state, each one guarded UPDATE that says whether it landed.

An attempt's right to change its item is a :class:`jobs.model.Lease`; its token
``(item, attempt, lease_id)`` stands in the WHERE clause of every settling statement, so that
a worker that was taken for dead can change nothing any more (:class:`jobs.errors.LeaseLost`).

Its parts: :mod:`~jobs.queue_service.base` (token, guarded UPDATE, event) under
:mod:`~jobs.queue_service.claiming` (who is next, and how many at once),
:mod:`~jobs.queue_service.attempts` (up to the settlement), :mod:`~jobs.queue_service.operating` (cancel,
retry, priority, clear), :mod:`~jobs.queue_service.control` (pause, counts),
:mod:`~jobs.queue_service.enqueuing` (new documents, many at once) and
:mod:`~jobs.queue_service.recovery` (rescue, announcements, workers);
:mod:`~jobs.queue_service.service` puts them together under the names of the user's document.
"""

from jobs.queue_service.enqueuing import NewItem
from jobs.queue_service.service import DocumentQueueService

__all__ = ["DocumentQueueService", "NewItem"]
