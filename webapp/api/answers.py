"""Having a document worked on once more, and the answer to it."""

from __future__ import annotations

from flask import url_for

from jobs.idempotency import Answer
from jobs.model import QueueItem
from jobs.uploads import Order
from jobs.waiting import Waiting
from webapp.idempotency import current_turn
from webapp.presenters import job_json, retry_after, waiting_of
from webapp.services import services


def queued_again(document_id: str, order: Order, *, fresh: bool) -> Answer:
    """Queue a document again in the turn of the request's Idempotency-Key; answer with the new job.

    Args:
        document_id: as of :meth:`jobs.intake.Intake.reprocess`, also in what is raised.
        order: what is to be done with it.
        fresh: compute the operation's stages anew even where their results are kept.
    """
    turn = current_turn()
    item = services().intake.reprocess(document_id, order, fresh=fresh, turn=turn, answer=_job_answer)
    # A kept answer is made before the job stands in its line, and must be the one that is sent.
    return _job_answer(item, None if turn else waiting_of(item))


def _job_answer(item: QueueItem, waiting: Waiting | None = None) -> Answer:
    headers = {"Location": url_for("api.job", item_id=item.id), "Retry-After": retry_after(item) or "2"}
    return Answer(202, headers, job_json(item, item.updated_at, waiting))
