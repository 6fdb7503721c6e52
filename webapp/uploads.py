"""Files on their way in: every byte of a form's file goes straight into a spool of :mod:`jobs.blobs`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO, cast

from flask import Request, request
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import BadRequest

from jobs.blobs import Spool
from jobs.errors import EmptyUpload, UploadTooLarge
from jobs.intake import Accepted, Upload, clean_filename
from webapp.access import current_user
from webapp.services import services
from webapp.wording import human_size

LOWEST_PRIORITY, HIGHEST_PRIORITY = -100, 100


@dataclass(frozen=True, slots=True)
class Refused:
    """A file of a request that was not stored, and why."""

    filename: str
    code: str
    detail: str


class UploadRequest(Request):
    """A request whose files are hashed and counted while they arrive, without a second copy."""

    spools: list[Spool]

    def _get_file_stream(
        self,
        total_content_length: int | None,
        content_type: str | None,
        filename: str | None = None,
        content_length: int | None = None,
    ) -> IO[bytes]:
        del total_content_length, content_type, filename, content_length
        spool = services().intake.new_spool()
        self.__dict__.setdefault("spools", []).append(spool)
        return cast("IO[bytes]", spool)

    def discard_spools(self) -> None:
        """Delete what was not stored; harmless for what was."""
        for spool in self.__dict__.pop("spools", []):
            spool.discard()


def discard_spools(_error: BaseException | None) -> None:
    """Clean up after a request, however it ended."""
    made = request._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001  # werkzeug's own way
    if isinstance(made, UploadRequest):
        made.discard_spools()


def accept_uploads() -> tuple[list[Accepted], list[Refused]]:
    """Store the request's files and queue them.

    Returns:
        What was accepted, at least one, and what was refused.

    Raises:
        EmptyUpload: there is no file, or none has bytes.
        UploadTooLarge: every file is too large, or there are too many.
        UnsupportedOperation: the operation is unknown.
        BadRequest: the priority is not a number between -100 and 100.
    """
    limit = services().settings.max_files_per_upload
    sent = [file for file in request.files.getlist("file") if file.filename or _spool_of(file).size]
    if not sent:
        raise EmptyUpload("The request has no file. Send at least one in the form field “file”.")
    if len(sent) > limit:
        raise UploadTooLarge(f"The request has {len(sent)} files; {limit} at once is the limit.")
    priority = parse_priority(request.form.get("priority"))
    good = [file for file in sent if _refusal(file) is None]
    refused = [refusal for refusal in map(_refusal, sent) if refusal is not None]
    if not good:
        kind = UploadTooLarge if any(one.code == UploadTooLarge.code for one in refused) else EmptyUpload
        raise kind(refused[0].detail)
    accepted = services().intake.accept(
        [Upload(file.filename or "document", _spool_of(file)) for file in good],
        owner=current_user().id,
        operation=request.form.get("operation") or "process",
        priority=priority,
    )
    return accepted, refused


def parse_priority(raw: object) -> int:
    """Read a priority.

    Raises:
        BadRequest: it is not a whole number between -100 and 100.
    """
    if raw is None or raw == "":
        return 0
    try:
        priority = int(str(raw))
    except ValueError:
        priority = HIGHEST_PRIORITY + 1
    if not LOWEST_PRIORITY <= priority <= HIGHEST_PRIORITY:
        raise BadRequest("The priority is a whole number between -100 and 100.")
    return priority


def _spool_of(file: FileStorage) -> Spool:
    return cast("Spool", file.stream)


def _refusal(file: FileStorage) -> Refused | None:
    spool = _spool_of(file)
    name = clean_filename(file.filename or "document")
    if spool.too_large:
        limit = services().settings.max_upload_bytes
        detail = f"The file has {human_size(spool.size)}; the limit is {human_size(limit)}."
        return Refused(name, UploadTooLarge.code, detail)
    if spool.size == 0:
        return Refused(name, EmptyUpload.code, "The file is empty.")
    return None
