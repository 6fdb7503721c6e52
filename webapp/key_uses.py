"""When an API key was used last: written once a minute at most, after the answer is on its way."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import structlog
from flask import Response, after_this_request, current_app

from jobs.accounts import KEY_USE_SECONDS
from webapp.services import services

log = structlog.get_logger()

_NOTED = "docqueue_key_uses"
_MOST_KEYS = 10_000


def note(key: str) -> None:
    """Remember that a good key was used by this request; nobody's answer waits for it.

    Args:
        key: as it was presented.
    """
    noted: dict[str, float] = current_app.extensions.setdefault(_NOTED, {})
    now = time.monotonic()
    if now - noted.get(key, float("-inf")) < KEY_USE_SECONDS:
        return
    if len(noted) >= _MOST_KEYS:
        noted.clear()
    noted[key] = now
    write = partial(_write, services().accounts.note_api_key_use, key)

    def when_sent(response: Response) -> Response:
        response.call_on_close(write)
        return response

    after_this_request(when_sent)


def _write(note_use: Callable[[str], None], key: str) -> None:
    try:
        note_use(key)
    except Exception as error:  # noqa: BLE001 - the request is answered; the next minute tries again
        log.warning("key_use_not_noted", error=type(error).__name__)
