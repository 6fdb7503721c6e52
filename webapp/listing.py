"""The arguments that every list takes: search text, cursor, limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from flask import request, url_for
from werkzeug.exceptions import BadRequest

from jobs.model import JSON
from jobs.paging import Page

DEFAULT_LIMIT, LARGEST_LIMIT = 50, 200
_LONGEST_TEXT = 200


@dataclass(frozen=True, slots=True)
class ListArguments:
    """What a list was asked for.

    Attributes:
        text: to search for, or ``None``.
        cursor: where the page before ended, or ``None`` for the first page.
        limit: how many rows.
    """

    text: str | None
    cursor: str | None
    limit: int

    @classmethod
    def from_request(cls) -> Self:
        """Read the present request's query.

        Raises:
            BadRequest: the limit is not a number between 1 and 200.
        """
        raw = request.args.get("limit", str(DEFAULT_LIMIT))
        if not raw.isdecimal() or not 1 <= int(raw[:6]) <= LARGEST_LIMIT:
            raise BadRequest(f"The limit is a number from 1 to {LARGEST_LIMIT}.")
        text = request.args.get("q", "").strip().replace("\0", "")[:_LONGEST_TEXT]
        return cls(text or None, request.args.get("cursor") or None, int(raw))

    def next_link(self, endpoint: str, page: Page[Any], **values: str) -> dict[str, JSON]:
        """Return where the list goes on, keeping every other argument; ``None`` at its end.

        ``values`` are what the endpoint's path is made of.

        A search that stopped before its page was full tells how many rows it has looked at, in ``searched``.
        """
        if page.next_cursor is None:
            return {"next_cursor": None, "next": None}
        kept = {**request.args.to_dict(), **values, "cursor": page.next_cursor}
        shown: dict[str, JSON] = {
            "next_cursor": page.next_cursor,
            "next": url_for(endpoint, **kept),  # type: ignore[arg-type]  # strings only
        }
        return shown if page.searched is None else {**shown, "searched": page.searched}


def parse_after() -> int:
    """Read the number of the last event that the asker has seen, 0 for none.

    Raises:
        BadRequest: it is not a number.
    """
    raw = request.headers.get("Last-Event-ID") or request.args.get("after") or "0"
    if not raw.isdecimal() or len(raw) > 18:
        raise BadRequest("The number of the last event seen is a whole number.")
    return int(raw)
