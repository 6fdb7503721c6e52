"""What an upload costs at the least: a Flask view that keeps the same promise and does nothing else.

``gunicorn -c webapp/gunicorn_conf.py 'benchmarks.bare_view:create_app()'``: the file goes to the disk in one
pass with its hash, is fsynced, renamed, its folder fsynced; one row is inserted and committed, by the same
engine with the same durability; then 202. No access check, no queue item, no event, no bell, no log.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import uuid
from pathlib import Path
from typing import IO, cast

import sqlalchemy as sa
from flask import Flask, Request, current_app, jsonify, request

from jobs import database
from jobs.patience import ANSWERING
from jobs.settings import load_settings

uploads = sa.Table(
    "bare_uploads",
    sa.MetaData(),
    sa.Column("id", sa.Uuid(as_uuid=False), primary_key=True),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("size", sa.BigInteger(), nullable=False),
    sa.Column("filename", sa.String(255), nullable=False),
)


# Made once, as the service does it: to build a statement anew costs more than to run it.
_INSERT = sa.insert(uploads)


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
    uploads.metadata.create_all(engine)
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
        sha256, made = file.hash.hexdigest(), str(uuid.uuid4())
        target = folder / sha256[:2]
        target.mkdir(exist_ok=True)
        file.path.rename(target / sha256)
        handle = os.open(target, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)
        with engine.begin() as connection:
            row = {
                "id": made,
                "sha256": sha256,
                "size": file.size,
                "filename": request.files["file"].filename,
            }
            connection.execute(_INSERT, row)
        return jsonify({"documents": [{"id": made, "sha256": sha256, "size": file.size}]}), 202

    return app
