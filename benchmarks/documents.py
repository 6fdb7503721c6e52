"""How many documents are completed in a second? ``make bench-documents``.

Documents of one page, made of real ones and each with bytes of its own so that no result is reused, and large
ones, are queued; then the workers are started. Measured is from the beginning of the first attempt to the end
of the last, so that nobody's start-up counts. Beside this service's own workers stand as many plain
``rq worker`` processes that run the same function, and as many bare loops around
:func:`jobs.extraction.extract`, without a queue or a database, and without the analysis that the others do as
well. The ways take turns.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from benchmarks.page import describe_machine, markdown_table, replace_section
from jobs import accounts, database, extraction
from jobs.blobs import BlobStore
from jobs.delivery import Delivery, web_connection
from jobs.errors import DocQueueError
from jobs.extraction import Limits
from jobs.intake import Intake
from jobs.queue_service import DocumentQueueService
from jobs.settings import Settings, load_settings
from jobs.tables import artifacts, attempts, queue_items, results
from jobs.uploads import Upload
from tests.support.corpus import CORPUS
from tests.support.processes import COMMANDS, ROOT, Service
from tests.support.servers import PostgresServer, ValkeyServer

OURS, RQ, ENGINE = "the service", "stock rq worker", "the bare engine"
DATABASES = ("sqlite", "postgresql")
WAYS = (OURS, RQ, ENGINE)
PROCESSES = 2
ONE_PAGERS = (
    "book-war-and-peace-1p.txt", "habibi.pdf", "korean-text-with-tables.pdf", "textbox.docx",
    "text_document_01.odt", "README.org", "testRTF.rtf", "fake-html-cp1252.html",
)  # fmt: skip
LARGE = ("DA-619p.pdf", "redp5110_sampled.pdf")
_SLOWEST_SECONDS = 7_200.0
_RQ_WORKER = [
    str(Path(sys.executable).with_name("rq")), "worker", "-j", "jobs.delivery.DocumentJob", "-S", "json",
    "--url",
]  # fmt: skip


@dataclass(frozen=True)
class Made:
    """A file to be worked on."""

    name: str
    content: bytes


@dataclass(frozen=True)
class Pace:
    """What one way came to: documents and pages completed in so many seconds, and how many were not."""

    documents: int
    pages: int
    failed: int
    seconds: float

    def rate(self, unit: str) -> float:
        """Return how many ``"documents"`` or ``"pages"`` in a second."""
        return float(getattr(self, unit)) / self.seconds


def make_files(names: tuple[str, ...], count: int, seed: str) -> list[Made]:
    """Make so many files of a few real ones in turn, no two alike.

    Without the corpus they are made of a text.
    """
    sources = [path for name in names if (path := CORPUS / "typical" / name).is_file()]
    originals = [(path.name, path.read_bytes()) for path in sources] or [("page.txt", _TEXT)]
    files = []
    for number in range(count):
        name, content = originals[number % len(originals)]
        files.append(Made(f"{number}-{name}", _with_mark(name, content, f"{seed}-{number}")))
    return files


_TEXT = b"".join(
    b"Paragraph %d of a page that was written for a measurement.\n\n" % line for line in range(40)
)


def _with_mark(name: str, content: bytes, mark: str) -> bytes:
    """Make a file's bytes unlike any other's, where nobody who reads it minds."""
    if content.startswith(b"PK"):
        changed = io.BytesIO(content)
        with zipfile.ZipFile(changed, "a") as archive:
            archive.comment = mark.encode()
        return changed.getvalue()
    if name.endswith(".pdf"):
        return content + f"\n% {mark}\n".encode()
    return content + (f"\n<!-- {mark} -->\n" if name.endswith(".html") else f"\n{mark}\n").encode()


class World:
    """A database, a data folder and the documents in it, for one way."""

    def __init__(self, url: str, redis_url: str, folder: Path) -> None:
        self.folder = folder
        self.environ = {
            "DATABASE_URL": url, "REDIS_URL": redis_url, "DATA_DIR": str(folder / "data"),
            "SECRET_KEY": "benchmark", "WORKERS": str(PROCESSES), "LOG_LEVEL": "ERROR",
            "EXTRACT_TIMEOUT_SECONDS": "590",
        }  # fmt: skip
        self.settings = load_settings(self.environ)
        database.upgrade(self.settings)
        self.engine = database.make_engine(self.settings)

    def fill(self, files: list[Made]) -> None:
        """Take documents in, a hundred at a time, as uploads of many files are."""
        owner = accounts.ensure_admin(self.engine).id
        with web_connection(self.settings) as connection:
            delivery = Delivery(connection, self.settings)
            service = DocumentQueueService(self.engine, self.settings)
            intake = Intake(self.engine, self.settings, BlobStore(self.settings.data_dir), service, delivery)
            for start in range(0, len(files), 100):
                uploads = []
                for file in files[start : start + 100]:
                    spool = intake.new_spool()
                    spool.write(file.content)
                    uploads.append(Upload(file.name, spool))
                intake.accept(uploads, owner=owner)

    def drain(self, count: int) -> None:
        """Wait until so many items have ended.

        Raises:
            RuntimeError: they did not.
        """
        ended = sa.select(sa.func.count()).where(queue_items.c.finished_at.is_not(None))
        give_up_at = time.monotonic() + _SLOWEST_SECONDS
        while time.monotonic() < give_up_at:
            with database.reading(self.engine) as connection:
                if connection.execute(ended).scalar_one() >= count:
                    return
            time.sleep(0.25)
        raise RuntimeError(f"{count} documents did not end within {_SLOWEST_SECONDS:.0f} s.")

    def pace(self) -> Pace:
        """Read what was done from the rows."""
        with database.reading(self.engine) as connection:
            began = connection.execute(sa.select(sa.func.min(attempts.c.started_at))).scalar_one()
            items = connection.execute(sa.select(queue_items.c.status, queue_items.c.finished_at)).all()
            pages = connection.execute(_PAGES).scalars()
            return Pace(
                len(items),
                sum(int(meta.get("page_count") or 1) for meta in pages),
                sum(item.status != "completed" for item in items),
                (max(item.finished_at for item in items) - began).total_seconds(),
            )


def _pages() -> sa.Select[tuple[dict]]:
    return (
        sa.select(artifacts.c.meta)
        .join(results, results.c.artifact_id == artifacts.c.id)
        .where(results.c.stage == "extract")
    )


_PAGES = _pages()


@contextlib.contextmanager
def worlds(kind: str, folder: Path) -> Iterator[World]:
    """Give a world on servers of its own."""
    with contextlib.ExitStack() as stack:
        valkey = stack.enter_context(ValkeyServer())
        if kind == "postgresql":
            server = stack.enter_context(PostgresServer(durable=True))
            url = server.url(server.create_database())
        else:
            url = f"sqlite:///{folder / 'q.db'}"
        world = World(url, valkey.url, folder)
        stack.callback(world.engine.dispose)
        yield world


def run_workers(kind: str, way: str, files: list[Made]) -> Pace:
    """Let this service's workers, or rq's, work everything off."""
    folder = Path(tempfile.mkdtemp(prefix="dq-b-"))
    try:
        with worlds(kind, folder) as world:
            world.fill(files)
            parts = ("worker",) if way == OURS else tuple(f"rq-{number}" for number in range(PROCESSES))
            for part in parts:
                COMMANDS.setdefault(part, [])
            command = [*_RQ_WORKER, world.environ["REDIS_URL"], world.settings.queue_name]
            COMMANDS.update({part: command for part in parts if part != "worker"})
            service = Service(world.environ, folder, parts)
            try:
                service.start()
                world.drain(len(files))
            finally:
                service.close()
            return world.pace()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run_engine(files: list[Made]) -> Pace:
    """Let bare loops read everything."""
    folder = Path(tempfile.mkdtemp(prefix="dq-b-"))
    try:
        for file in files:
            (folder / file.name).write_bytes(file.content)
        loops = [
            subprocess.Popen(
                [sys.executable, "-m", "benchmarks.documents", "--engine-loop", str(folder), str(number)],
                cwd=ROOT, stdout=subprocess.PIPE, text=True,
            )
            for number in range(PROCESSES)
        ]  # fmt: skip
        told = [json.loads(loop.communicate()[0]) for loop in loops]
        return Pace(
            len(files),
            sum(one["pages"] for one in told),
            sum(one["failed"] for one in told),
            max(one["ended"] for one in told) - min(one["began"] for one in told),
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def engine_loop(folder: Path, number: int) -> None:
    """Read files of a folder until none is left, in a process of its own; others take theirs beside it."""
    settings = Settings()
    limits = Limits(wall_seconds=590, cpu_seconds=590, memory_bytes=settings.extract_memory_bytes)
    began, pages, failed = time.monotonic(), 0, 0
    mine = folder / f"taken-{number}"
    mine.mkdir()
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        try:
            taken = path.rename(mine / path.name)
        except FileNotFoundError:
            continue
        try:
            found = extraction.extract(taken, filename=path.name.partition("-")[2], limits=limits)
            pages += found.page_count or 1
        except DocQueueError:
            failed += 1
    json.dump({"began": began, "ended": time.monotonic(), "pages": pages, "failed": failed}, sys.stdout)


def run(kind: str, way: str, files: list[Made]) -> Pace:
    """Let one way work files off."""
    pace = run_engine(files) if way == ENGINE else run_workers(kind, way, files)
    print(f"{kind}, {way}: {pace}", file=sys.stderr, flush=True)
    return pace


def report(found: dict[tuple[str, str, str], list[Pace]], repetitions: int) -> str:
    """Tell what was found, by database, unit and way, as Markdown."""
    rows = []
    for kind, unit in dict.fromkeys((kind, unit) for kind, unit, _ in found):
        rate = {
            way: statistics.median(pace.rate(unit) for pace in found[kind, unit, way])
            for way in WAYS
            if (kind, unit, way) in found
        }
        sample = found[kind, unit, OURS][0]
        failed = sum(pace.failed for way in rate for pace in found[kind, unit, way])
        rows.append(
            [
                f"{kind}, {sample.documents:,} documents of {sample.pages:,} pages, {unit}/s",
                *(f"{rate[way]:,.2f}" if way in rate else "-" for way in WAYS),
                *(f"**{rate[OURS] / rate[way]:.2f}**" if way in rate else "-" for way in (RQ, ENGINE)),
                f"{failed}",
            ]
        )
    heads = ["work", OURS, RQ, ENGINE, "to rq", "to the engine", "failed"]
    return (
        f"{markdown_table(heads, rows)}\n\nMedians of {repetitions} repetitions, taking turns; "
        f"{PROCESSES} workers, or loops, each. {describe_machine()}\n"
    )


def main() -> int:
    """Measure what the command line asks for.

    Returns:
        1 when a document failed.
    """
    parser = argparse.ArgumentParser(prog="make bench-documents", description=__doc__)
    parser.add_argument("--database", choices=(*DATABASES, "both"), default="both")
    parser.add_argument("--documents", type=int, default=2_000, help="how many of one page; 0 for none")
    parser.add_argument("--large", type=int, default=4, help="how many large ones; 0 for none")
    parser.add_argument("--repetitions", type=int, default=1)
    parser.add_argument("--write", type=Path, metavar="PAGE", help="replace the section in this page")
    parser.add_argument("--engine-loop", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.engine_loop:
        engine_loop(Path(asked.engine_loop[0]), int(asked.engine_loop[1]))
        return 0
    found: dict[tuple[str, str, str], list[Pace]] = {}
    for kind in DATABASES if asked.database == "both" else (asked.database,):
        for unit, names, count in (("documents", ONE_PAGERS, asked.documents), ("pages", LARGE, asked.large)):
            for repetition in range(asked.repetitions if count else 0):
                files = make_files(names, count, f"{os.getpid()}-{repetition}")
                for way in WAYS:
                    found.setdefault((kind, unit, way), []).append(run(kind, way, files))
    text = report(found, asked.repetitions)
    print(text)
    if asked.write:
        replace_section(asked.write, "documents", text)
    return int(any(pace.failed for paces in found.values() for pace in paces))


if __name__ == "__main__":
    sys.exit(main())
