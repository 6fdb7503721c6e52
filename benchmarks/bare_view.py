"""What an upload costs at the least: a Flask view that keeps the same promise and does nothing else.

``gunicorn -c webapp/gunicorn_conf.py 'benchmarks.bare_view:create_app()'``: the file goes to the disk in one
pass with its hash, is fsynced, renamed, its folder fsynced; the same three rows are inserted and committed,
by the same engine with the same durability; then 202. No access check, no place in line, no bell, no log.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, cast

import sqlalchemy as sa
from flask import Flask, Request, current_app, jsonify, request

from jobs import database
from jobs.patience import ANSWERING
from jobs.settings import load_settings
from jobs.tables import documents, events, queue_items

# Made once, as the service does it: to build a statement anew costs more than to run it.
_INSERTS = tuple(sa.insert(table) for table in (documents, queue_items, events))


def rows_of(sha256: str, size: int, filename: str) -> tuple[dict[str, object], ...]:
    """Make the three rows that an upload leaves: the document, its queue item, the item's first event."""
    document_id, item_id, now = str(uuid.uuid4()), str(uuid.uuid4()), datetime.now(UTC)
    document = {
        "id": document_id, "sha256": sha256, "size": size, "filename": filename, "media_type": "text/plain",
        "created_at": now,
    }  # fmt: skip
    item = {
        "id": item_id, "document_id": document_id, "operation": "process", "status": "pending", "priority": 0,
        "fresh": False, "due_at": now, "created_at": now, "updated_at": now, "announced_at": now,
        "attempt": 0, "failures": 0,
        "crashes": 0, "max_failures": 5, "progress": 0.0, "queue": "documents", "turn": 0,
    }  # fmt: skip
    event = {
        "item_id": item_id, "document_id": document_id, "kind": "accepted", "attempt": 0, "at": now,
        "data": {"status": "pending", "operation": "process"},
    }  # fmt: skip
    return document, item, event


class Arriving:
    """A file on its way to the disk."""

    def __init__(self, folder: Path) -> None:
        handle, name = tempfile.mkstemp(dir=folder)
        self.path = Path(name)
        self.file = os.fdopen(handle, "w+b")
        self.hash = hashlib.sha256()
        self.size = 0

    def write(self, chunk: bytes) -> int:
        self.hash.update(chunk)
        self.size += len(chunk)
        return self.file.write(chunk)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.file.seek(offset, whence)

    def close(self) -> None:
        self.file.close()


class StreamingRequest(Request):
    """A request whose file is hashed while it arrives."""

    def _get_file_stream(self, *_: object, **__: object) -> IO[bytes]:
        return cast("IO[bytes]", Arriving(current_app.extensions["folder"]))


def create_app() -> Flask:
    """Make the application."""
    settings = load_settings()
    folder = settings.data_dir / "bare"
    folder.mkdir(parents=True, exist_ok=True)
    engine = database.make_engine(settings, patience=ANSWERING)
    app = Flask(__name__)
    app.request_class = StreamingRequest
    app.extensions["folder"] = folder

    @app.get("/healthz")
    def healthz():
        return "ok"

    @app.post("/api/v1/documents")
    def upload():
        file = cast("Arriving", request.files["file"].stream)
        file.file.flush()
        os.fsync(file.file.fileno())
        sha256 = file.hash.hexdigest()
        target = folder / sha256[:2]
        target.mkdir(exist_ok=True)
        file.path.rename(target / sha256)
        handle = os.open(target, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)
        rows = rows_of(sha256, file.size, request.files["file"].filename or "")
        with engine.begin() as connection:
            for insert, row in zip(_INSERTS, rows, strict=True):
                connection.execute(insert, row)
        return jsonify({"documents": [{"id": rows[0]["id"], "sha256": sha256, "size": file.size}]}), 202

    return app
