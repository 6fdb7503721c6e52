"""Files on their way in: every byte of a form's file goes straight into a spool of :mod:`jobs.blobs`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, cast

from flask import Request, request
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import BadRequest

from jobs.blobs import Spool
from jobs.duplicates import Dedupe
from jobs.errors import DuplicateDocument, EmptyUpload, UploadTooLarge
from jobs.idempotency import Answer
from jobs.uploads import Accepted, Duplicate, Taken, Upload, clean_filename
from webapp.access import current_user
from webapp.idempotency import current_turn
from webapp.multipart import StreamingFormParser
from webapp.orders import ORDER_FIELDS, parse_order
from webapp.services import services
from webapp.wording import human_size, relative


@dataclass(frozen=True, slots=True)
class Refused:
    """A file of a request that was not stored, and why.

    Attributes:
        document_id: the document that has the same bytes, for a duplicate.
    """

    filename: str
    code: str
    detail: str
    document_id: str | None = None


Outcome = tuple[list[Accepted], list[Refused]]


class UploadRequest(Request):
    """A request whose files are hashed and counted while they arrive, without a second copy."""

    form_data_parser_class = StreamingFormParser
    spools: list[Spool]

    def _get_file_stream(
        self,
        total_content_length: int | None,
        content_type: str | None,
        filename: str | None = None,
        content_length: int | None = None,
    ) -> IO[bytes]:
        del content_type, filename, content_length
        intake = services().intake
        if "spools" not in self.__dict__:
            # The whole request is bounded by what the disk can take, before its first file is begun.
            intake.require_space(total_content_length or 0)
            self.spools = []
        spool = intake.new_spool()
        self.spools.append(spool)
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


def accept_uploads(answer: Callable[[Outcome], Answer] | None = None) -> Outcome:
    """Store the request's files and queue them.

    Args:
        answer: makes the answer that is kept for the request's Idempotency-Key.

    Returns:
        What was accepted, at least one, and what was refused.

    Raises:
        EmptyUpload: there is no file, or none has bytes.
        UploadTooLarge: every file is too large, or there are too many.
        DuplicateDocument: every file was sent before, and is to be refused then.
        UnsupportedOperation: the operation is unknown.
        UnknownQueue: no such queue is set up.
        StorageFull: a disk is full, or nearly.
        BadRequest: a field cannot be meant.
    """
    limit = services().settings.max_files_per_upload
    sent = [file for file in request.files.getlist("file") if file.filename or _spool_of(file).size]
    if not sent:
        raise EmptyUpload("The request has no file. Send at least one in the form field “file”.")
    if len(sent) > limit:
        raise UploadTooLarge(f"The request has {len(sent)} files; {limit} at once is the limit.")
    order = parse_order({name: _field(name) for name in ORDER_FIELDS})
    good = [file for file in sent if _refusal(file) is None]
    refused = [refusal for refusal in map(_refusal, sent) if refusal is not None]
    if not good:
        kind = UploadTooLarge if any(one.code == UploadTooLarge.code for one in refused) else EmptyUpload
        raise kind(refused[0].detail)

    def outcome(taken: Taken) -> Outcome:
        return taken.accepted, refused + [_refused_duplicate(one) for one in taken.duplicates]

    taken = services().intake.take(
        [Upload(file.filename or "document", _spool_of(file)) for file in good],
        order,
        owner=current_user().id,
        dedupe=_dedupe(),
        turn=current_turn(),
        answer=None if answer is None else lambda taken: answer(outcome(taken)),
    )
    return outcome(taken)


def duplicate_words(one: Accepted) -> str | None:
    """Say what became of a file that was sent before; ``None`` for a new one."""
    if one.duplicate_of is None:
        return None
    fate = "Its result is used." if one.reused else "It is worked on again."
    return f"Same file, sent {relative(one.document.created_at)}. {fate}"


def _field(name: str) -> str | None:
    """Return what the form says, or else the address's query."""
    return request.form.get(name) or request.args.get(name)


def _dedupe() -> Dedupe:
    raw = _field("dedupe") or Dedupe.NONE
    if raw not in set(Dedupe):
        raise BadRequest(f"dedupe is one of {', '.join(Dedupe)}.")
    return Dedupe(raw)


def _refused_duplicate(one: Duplicate) -> Refused:
    detail = f"The same file was sent {relative(one.document.created_at)}."
    return Refused(one.filename, DuplicateDocument.code, detail, one.document.id)


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
