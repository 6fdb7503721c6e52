"""Whether every document has its bytes, every file its document, and the disk room."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from itertools import islice

import sqlalchemy as sa

from jobs.database import reading
from jobs.doctor.report import Finding, Level, Subject, times
from jobs.model import JSON
from jobs.tables import documents, unreferenced_bytes

FAST_ROWS = 1_000
# A day for the walk that finds a file, and one to spare; the same for deleting it after the grace.
NOTICED_SECONDS = 2 * 86_400.0
_AT_ONCE = 500
_EXAMPLES = 5
_LOW_SHARE = 0.10


def check_rows_without_bytes(subject: Subject) -> Finding:
    """Look whether every document's bytes are in the store, whole."""
    looked = 0
    missing: list[str] = []
    damaged: list[str] = []
    for document_id, sha256, size in _documents(subject):
        looked += 1
        stored = subject.blobs.size(sha256)
        if stored is None:
            missing.append(document_id)
        elif stored != size:
            damaged.append(document_id)
    missing = _still_there(subject, missing)
    examples: list[JSON] = [*missing[:_EXAMPLES], *damaged[:_EXAMPLES]]
    figures: dict[str, JSON] = {
        "documents": looked,
        "missing": len(missing),
        "damaged": len(damaged),
        "examples": examples,
    }
    if missing or damaged:
        return Finding(
            "rows_without_bytes",
            Level.FAIL,
            f"Of {times(looked, 'document')} {len(missing)} have no file, "
            f"{len(damaged)} a file of another size.",
            "Restore DATA_DIR/blobs from a backup; a file's name is its content's SHA-256. What cannot be "
            "restored can be uploaded again: the same bytes fill the gap.",
            figures,
        )
    return Finding(
        "rows_without_bytes", Level.OK, f"{times(looked, 'document')} looked at, all with their bytes.",
        figures=figures,
    )  # fmt: skip


def check_bytes_without_rows(subject: Subject) -> Finding:
    """Look whether every file is named by a document, or noted to be deleted after the grace."""
    looked = forgotten = overdue = 0
    grace = subject.settings.bytes_grace_hours * 3600
    late = subject.clock.after(-grace - NOTICED_SECONDS)
    files: Iterator[str] = (
        sha256 for folder in subject.blobs.folders() for sha256 in subject.blobs.hashes_in(folder)
    )
    if subject.fast:
        files = islice(files, FAST_ROWS)
    while some := list(islice(files, _AT_ONCE)):
        looked += len(some)
        named = sa.select(documents.c.sha256).where(documents.c.sha256.in_(some))
        noted = sa.select(
            unreferenced_bytes.c.sha256, (unreferenced_bytes.c.since < late).label("late")
        ).where(unreferenced_bytes.c.sha256.in_(some))
        with reading(subject.engine) as connection:
            unnamed = set(some) - set(connection.execute(named).scalars())
            notes = {row.sha256: row.late for row in connection.execute(noted)}
        overdue += sum(bool(notes.get(sha256)) for sha256 in unnamed)
        forgotten += sum(_is_forgotten(subject, sha256) for sha256 in unnamed - notes.keys())
    figures: dict[str, JSON] = {"files": looked, "not_noted": forgotten, "overdue": overdue}
    if forgotten or overdue:
        return Finding(
            "bytes_without_rows",
            Level.WARN,
            f"Of {times(looked, 'file')} {forgotten} belong to no document and are not noted; "
            f"{overdue} should have been deleted.",
            "The sweep notes and deletes them bit by bit: look whether it runs, or run `docqueue prune`. "
            "Nothing is lost: a crash during an upload leaves such files.",
            figures,
        )
    return Finding(
        "bytes_without_rows", Level.OK, f"{times(looked, 'file')} looked at, none forgotten.", figures=figures
    )


def check_disk(subject: Subject) -> Finding:
    """Look how much room the data folder's disk has."""
    usage = shutil.disk_usage(subject.settings.data_dir)
    return judge_disk(usage.free, usage.total, subject.settings.min_free_bytes)


def judge_disk(free: int, total: int, floor: int) -> Finding:
    """Say what so much room is worth.

    Args:
        free: bytes that may be written.
        total: the disk's size in bytes.
        floor: below this many free bytes uploads are refused.
    """
    figures: dict[str, JSON] = {"free_bytes": free, "total_bytes": total, "min_free_bytes": floor}
    share = free / total if total else 0.0
    told = f"{free / 1024**3:,.1f} GiB free, {share:.0%} of the disk."
    remedy = "Delete what is not needed, set RETAIN_…_DAYS, or give DATA_DIR a larger disk."
    if free < floor:
        return Finding("disk", Level.FAIL, f"Uploads are refused: {told}", remedy, figures)
    if share < _LOW_SHARE:
        return Finding("disk", Level.WARN, f"The disk is nearly full: {told}", remedy, figures)
    return Finding("disk", Level.OK, told, figures=figures)


def _is_forgotten(subject: Subject, sha256: str) -> bool:
    """Tell whether a file is older than an upload under way, and than the daily walk over the store."""
    try:
        written_at = subject.blobs.path(sha256).stat().st_mtime
    except FileNotFoundError:
        return False
    return time.time() - written_at > NOTICED_SECONDS


def _still_there(subject: Subject, ids: list[str]) -> list[str]:
    """Return those of the documents that were not deleted while their files were looked for."""
    found: list[str] = []
    with reading(subject.engine) as connection:
        for first in range(0, len(ids), _AT_ONCE):
            some = sa.select(documents.c.id).where(documents.c.id.in_(ids[first : first + _AT_ONCE]))
            found += connection.execute(some).scalars()
    return found


def _documents(subject: Subject) -> Iterator[tuple[str, str, int]]:
    """Yield id, hash and size of documents, newest first, in pages: no transaction stays open for long."""
    columns = (documents.c.id, documents.c.sha256, documents.c.size, documents.c.created_at)
    order = (documents.c.created_at.desc(), documents.c.id.desc())
    statement = sa.select(*columns).order_by(*order).limit(_AT_ONCE)
    seen = 0
    page = statement
    while True:
        with reading(subject.engine) as connection:
            rows = connection.execute(page).all()
        for row in rows:
            yield row.id, row.sha256, row.size
        seen += len(rows)
        if len(rows) < _AT_ONCE or (subject.fast and seen >= FAST_ROWS):
            return
        last = rows[-1]
        page = statement.where(
            sa.tuple_(documents.c.created_at, documents.c.id)
            < sa.tuple_(
                sa.literal(last.created_at, documents.c.created_at.type),
                sa.literal(last.id, documents.c.id.type),
            )
        )
