"""Answers that hand out what was found in a foreign file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from urllib.parse import quote

from flask import Response, request

from jobs.model import Document
from webapp.security import FOREIGN_FILE_POLICY


def download(
    document: Document,
    body: str | bytes,
    content_type: str,
    extension: str,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Make the answer with a part of a document's result; ``?download=1`` names it for saving.

    Args:
        document: whose.
        body: the text, or the file.
        content_type: of the body.
        extension: put behind the stem of the document's file name, such as ``.tables.xlsx``.
        headers: what else is told.
    """
    response = Response(body, content_type=content_type, headers=dict(headers or {}))
    # The text of a foreign file: no browser may take it for a page.
    response.headers["Content-Security-Policy"] = FOREIGN_FILE_POLICY
    if request.args.get("download"):
        name = PurePath(document.filename).stem + extension
        # RFC 6266: the plain name for old readers, the exact one percent-encoded beside it.
        plain = "".join(char if char.isascii() and char not in '"\\' else "_" for char in name)
        response.headers["Content-Disposition"] = (
            f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
        )
    response.add_etag()
    response.make_conditional(request)
    return response
