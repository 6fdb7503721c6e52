"""The ``Idempotency-Key`` header: a request that is sent twice acts once and is answered the same.

A view under :func:`idempotent` hands :func:`current_turn` to what it does, which keeps the answer in its
transaction, and answers with :func:`respond`.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import json
import re
from collections.abc import Callable
from typing import ParamSpec, cast

from flask import Response, current_app, g, jsonify, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import BadRequest

from jobs.blobs import Spool
from jobs.idempotency import Answer, Turn
from webapp.access import current_user
from webapp.security import SMALL_BODY_BYTES
from webapp.services import services

P = ParamSpec("P")

_KEY = re.compile(r"[\x21-\x7e]{1,255}")
REPLAYED = "Idempotency-Replayed"


def idempotent(view: Callable[P, ResponseReturnValue]) -> Callable[P, ResponseReturnValue]:
    """Let a view's requests carry an Idempotency-Key; without one nothing changes.

    Raises:
        BadRequest: the key is not 1 to 255 visible ASCII characters.
        KeyInFlight: the same request is being answered just now.
        KeyReused: the key was used for another request.
    """

    @functools.wraps(view)
    def once(*args: P.args, **kwargs: P.kwargs) -> ResponseReturnValue:
        key = request.headers.get("Idempotency-Key")
        if key is None:
            return view(*args, **kwargs)
        if not _KEY.fullmatch(key):
            raise BadRequest("An Idempotency-Key has 1 to 255 visible ASCII characters.")
        keys = services().intake.keys
        found = keys.begin(current_user().id, key, _fingerprint())
        if isinstance(found, Answer):
            replay = respond(found)
            replay.headers[REPLAYED] = "true"
            return replay
        g.idempotency_turn = found
        with keys.held(found):
            return view(*args, **kwargs)

    return once


def current_turn() -> Turn | None:
    """Return this request's turn at its key, or ``None`` when it has no key."""
    found: Turn | None = g.get("idempotency_turn")
    return found


def respond(answer: Answer) -> Response:
    """Send an answer, the first time and every other."""
    response = jsonify(answer.body)
    response.status_code = answer.status
    response.headers.update(answer.headers)
    return response


def _fingerprint() -> str:
    """Return a keyed SHA-256 of all that the request says; files by their names and their bytes' hashes.

    With a key, since a password is among what may be said.
    """
    body: object = None
    # Where files are taken, a body of another kind may be as large as they are; no view reads it.
    small = request.content_length is not None and request.content_length <= SMALL_BODY_BYTES
    if small and request.is_json and request.get_data():
        body = request.get_json()
    said = [
        request.method,
        request.path,
        current_user().id,
        sorted(request.args.items(multi=True)),
        sorted(pair for pair in request.form.items(multi=True) if pair[0] != "csrf_token"),
        body,
        [
            [field, file.filename, spool.size, spool.sha256]
            for field, file in request.files.items(multi=True)
            for spool in (cast("Spool", file.stream),)
        ],
    ]
    key = str(current_app.config["SECRET_KEY"]).encode()
    return hmac.new(key, json.dumps(said, sort_keys=True).encode(), hashlib.sha256).hexdigest()
