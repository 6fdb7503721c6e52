"""What an upload or a reprocess asks for: operation, priority, queue, when, and options of the reading."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from werkzeug.exceptions import BadRequest

from jobs.extraction import ReadOptions
from jobs.read_options import OPTION_FIELDS, parse_options
from jobs.uploads import Order, require_upload_operation
from webapp.bodies import priority_of
from webapp.services import services

LONGEST_DELAY_SECONDS = 31_536_000
ORDER_FIELDS = ("operation", "priority", "queue", "delay_seconds", "due_at", *OPTION_FIELDS)


def parse_order(said: Mapping[str, object]) -> Order:
    """Read an order; what is missing or empty is as usual.

    Args:
        said: the request's members, texts or JSON values, under the names of :data:`ORDER_FIELDS`.

    Raises:
        BadRequest: the priority, the delay, the instant or an option of the reading cannot be meant.
        UnsupportedOperation: only a document's own actions order this operation, or there is none.
    """
    given = {name: said[name] for name in ORDER_FIELDS if said.get(name) not in (None, "")}
    if "delay_seconds" in given and "due_at" in given:
        raise BadRequest("Say delay_seconds or due_at, not both.")
    operation = str(given.get("operation", "process"))
    require_upload_operation(operation)
    return Order(
        operation=operation,
        priority=priority_of(given) if "priority" in given else 0,
        queue=str(given["queue"]) if "queue" in given else None,
        delay_seconds=_delay(given.get("delay_seconds", 0)),
        due_at=_instant(str(given["due_at"])) if "due_at" in given else None,
        options=_options(given),
    )


def _options(given: Mapping[str, object]) -> ReadOptions:
    try:
        return parse_options(given, services().presets)
    except ValueError as error:
        raise BadRequest(f"{str(error)[:1].upper()}{str(error)[1:]}.") from error


def _delay(raw: object) -> float:
    try:
        delay = math.nan if isinstance(raw, bool) else float(str(raw))
    except ValueError:
        delay = math.nan
    # Comparisons with "not a number" are false.
    if not 0 <= delay <= LONGEST_DELAY_SECONDS:
        raise BadRequest(f"The delay is a number of seconds from 0 to {LONGEST_DELAY_SECONDS}.")
    return delay


def _instant(raw: str) -> datetime:
    try:
        said = datetime.fromisoformat(raw)
        at = None if said.tzinfo is None else said.astimezone(UTC)
    except (ValueError, OverflowError):
        at = None
    if at is None:
        raise BadRequest("due_at is an instant with its zone, as in 2030-01-31T18:00:00Z.")
    # How far away it is within that, the database's clock says.
    if at > datetime.now(UTC) + timedelta(seconds=LONGEST_DELAY_SECONDS):
        raise BadRequest("due_at is at most a year ahead.")
    return at
