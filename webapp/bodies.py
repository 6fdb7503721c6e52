"""What small requests say: the members of a JSON object or of a form."""

from __future__ import annotations

from collections.abc import Mapping

from flask import request
from werkzeug.exceptions import BadRequest, NotFound

from jobs.bulk import clean_text
from jobs.model import HIGHEST_PRIORITY, LOWEST_PRIORITY
from webapp.services import services

LONGEST_REASON = 500


def members(*known: str) -> dict[str, object]:
    """Return what the request's body says; nothing at all is fine too.

    Args:
        known: what it may say.

    Raises:
        BadRequest: it is no object, or says something that nobody asked for.
    """
    given: dict[str, object] = dict(request.form)
    given.pop("csrf_token", None)
    if request.is_json and request.get_data():
        body = request.get_json()
        if not isinstance(body, dict):
            raise BadRequest("The body is a JSON object.")
        given = body
    for name in given.keys() - set(known):
        raise BadRequest(f"The body may say {', '.join(known) or 'nothing'}; it says {name!r}.")
    return given


def reason_of(said: Mapping[str, object], *, required: bool = False) -> str:
    """Read why something is done.

    Args:
        said: the request's members.
        required: whether it must be said.

    Raises:
        BadRequest: it is missing, no text, or longer than 500 characters.
    """
    raw = said.get("reason")
    cleaned = clean_text(raw) if isinstance(raw, str) else ""
    if (raw is not None and not isinstance(raw, str)) or len(cleaned) > LONGEST_REASON:
        raise BadRequest(f"The reason is text of at most {LONGEST_REASON} characters.")
    if required and not cleaned:
        raise BadRequest("Say why: the reason is shown to everybody who waits.")
    return cleaned


def priority_of(said: Mapping[str, object]) -> int:
    """Read a priority, a number or its digits.

    Raises:
        BadRequest: it is not a whole number between -100 and 100.
    """
    raw = said.get("priority")
    digits = raw.strip() if isinstance(raw, str) else ""
    if isinstance(raw, int) and not isinstance(raw, bool):
        priority = raw
    elif digits.lstrip("+-").isdecimal() and len(digits) <= 4:
        priority = int(digits)
    else:
        priority = HIGHEST_PRIORITY + 1
    if not LOWEST_PRIORITY <= priority <= HIGHEST_PRIORITY:
        raise BadRequest(f"The priority is a whole number between {LOWEST_PRIORITY} and {HIGHEST_PRIORITY}.")
    return priority


def known_queue(name: str) -> str:
    """Check the name of a queue in an address.

    Raises:
        NotFound: no such queue is set up.
    """
    if name not in services().settings.queue_names:
        raise NotFound("There is no such queue.")
    return name
