"""How much slower is a full queue than an empty one? ``make bench-depth``.

Three databases stand beside each other, and every call is timed on each in turn, so that whatever else the
machine does meets all alike. What counts is the ratio of the medians: full to empty. What shows rows is
compared with a queue that has a page of them, because a list of nothing shows nothing; there the ratio tells
depth from length. The run fails when one of them is above :data:`WORST_ALLOWED`.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import math
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import sqlalchemy as sa
import structlog

from jobs import database, sweep
from jobs.delivery import Delivery, web_connection
from jobs.model import Completed, Label, Status
from jobs.queries import Queries
from jobs.queue_overview import overview
from jobs.queue_service import DocumentQueueService
from jobs.settings import Settings, load_settings
from jobs.waiting import Explainer
from tests.support.depth import Depth, fill
from tests.support.items import add_document
from tests.support.servers import PostgresServer, ValkeyServer

WORST_ALLOWED = 3.0
_WARM_UP = 5
_ONE_PAGE = 2_500
_SIZES = {"sqlite": 100_000, "postgresql": 1_000_000}


@dataclass
class World:
    """One database and everything that reads it."""

    engine: sa.Engine
    settings: Settings
    depth: Depth
    delivery: Delivery
    service: DocumentQueueService
    queries: Queries
    explainer: Explainer

    @property
    def shown(self) -> str:
        """The id of a waiting item that many go before."""
        return self.depth.last_waiting

    @classmethod
    def make(cls, url: str, redis_url: str, folder: Path, pending: int, ended: int) -> World:
        """Make a database with so many items."""
        environ = {"DATABASE_URL": url, "REDIS_URL": redis_url, "DATA_DIR": str(folder), "SECRET_KEY": "x"}
        settings = load_settings(environ)
        database.upgrade(settings)
        engine = database.make_engine(settings)
        depth = fill(engine, pending, ended)
        return cls(
            engine,
            settings,
            depth,
            Delivery(web_connection(settings), settings),
            DocumentQueueService(engine, settings),
            Queries(engine),
            Explainer(engine, settings),
        )

    def accept(self) -> str:
        """Put one more document into the queue."""
        return self.service.enqueue(add_document(self.engine, self.settings), priority=100).id

    def owner(self, name: str) -> str | None:
        """Return the id of an owner of the filled data; ``None`` for everybody."""
        return {"everybody": None, "a big owner": self.depth.big, "a small owner": self.depth.small}[name]


OWNERS = ("everybody", "a big owner", "a small owner")


def claim_and_settle(world: World) -> None:
    """Work off what was put in before."""
    lease = world.service.claim_next("documents", "bench")
    assert lease is not None
    world.service.settle(lease, Completed())


def sweep_once(world: World) -> None:
    """Do what is done every few seconds."""
    sweep.run(world.settings, world.engine, world.delivery, force=True)


def show_job(world: World) -> None:
    """Read what the page of a waiting job shows."""
    item = world.queries.item(world.shown, owner=None)
    world.queries.document(item.document_id, owner=None)
    world.queries.events(item.id)
    world.queries.attempts(item.id)
    world.explainer.explain(item)


def count_documents(world: World, owner: str) -> None:
    """Count what the segments of a list of documents show."""
    world.queries.counts(world.owner(owner))


def show_documents(world: World, owner: str, label: str | None) -> None:
    """Read the first page of a list of documents, as its page shows it."""
    page = world.queries.documents(owner=world.owner(owner), label=label)
    world.explainer.briefly(row.item for row in page.rows if row.item is not None)


def show_items(world: World, owner: str, status: str | None) -> None:
    """Read the first page of a list of items, as its page shows it."""
    page = world.queries.items(owner=world.owner(owner), status=status)
    world.explainer.briefly(row.item for row in page.rows)


@dataclass(frozen=True)
class Call:
    """What is timed.

    Attributes:
        shows_rows: whether it shows a page of rows, or a row; it is compared with a queue that has them.
    """

    run: Callable[[World], object]
    shows_rows: bool = True


def calls() -> dict[str, Call]:
    """Return what is timed, by its name."""
    found = {
        "claim and settle": Call(claim_and_settle, shows_rows=False),
        "sweep": Call(sweep_once, shows_rows=False),
        "get_queue_stats": Call(lambda world: world.service.get_queue_stats(), shows_rows=False),
        "queue overview": Call(lambda world: overview(world.engine, world.settings), shows_rows=False),
        "workers": Call(lambda world: world.queries.workers(), shows_rows=False),
        "why is it waiting": Call(lambda world: world.explainer.explain(world.shown)),
        "a job's page": Call(show_job),
    }
    for owner in OWNERS:
        found[f"counts of {owner}"] = Call(partial(count_documents, owner=owner), shows_rows=False)
        for label in (None, *Label):
            call = partial(show_documents, owner=owner, label=label)
            found[f"documents of {owner}, {label or 'all'}"] = Call(call)
        for status in (None, *Status):
            call = partial(show_items, owner=owner, status=status)
            found[f"jobs of {owner}, {status or 'all'}"] = Call(call)
    return found


@dataclass(frozen=True)
class Medians:
    """Of one call, in seconds: on nothing, on a page of everything, on everything."""

    empty: float
    page: float
    full: float
    shows_rows: bool

    @property
    def ratio(self) -> float:
        """How many times slower it is at depth."""
        return self.full / (self.page if self.shows_rows else self.empty)


def measure(worlds: tuple[World, World, World], rounds: int) -> dict[str, Medians]:
    """Time every call on each of the worlds in turn.

    Args:
        worlds: empty, a page, full.
        rounds: how often.
    """
    timed: dict[str, list[list[float]]] = {name: [[], [], []] for name in calls()}
    for number in range(_WARM_UP + rounds):
        for name, call in calls().items():
            for world, seconds in zip(worlds, timed[name], strict=True):
                if call.shows_rows and not world.depth.total:
                    seconds.append(math.nan)
                    continue
                if name == "claim and settle":
                    world.accept()
                begin = time.perf_counter()
                call.run(world)
                spent = time.perf_counter() - begin
                if number >= _WARM_UP:
                    seconds.append(spent)
    return {
        name: Medians(*map(statistics.median, timed[name]), shows_rows=call.shows_rows)
        for name, call in calls().items()
    }


def report(medians: dict[str, Medians]) -> float:
    """Print the table, the worst first.

    Returns:
        The worst ratio.
    """
    print("| call | empty (ms) | one page (ms) | full (ms) | ratio |\n|---|---|---|---|---|")
    ranked = sorted(medians.items(), key=lambda one: -one[1].ratio)
    for name, one in ranked:
        empty = "-" if one.shows_rows else f"{one.empty * 1000:.2f}"
        print(f"| {name} | {empty} | {one.page * 1000:.2f} | {one.full * 1000:.2f} | {one.ratio:.2f} |")
    name, worst = ranked[0]
    print(f"\nThe worst: {worst.ratio:.2f} ({name}); allowed: {WORST_ALLOWED}.\n", flush=True)
    return worst.ratio


@contextlib.contextmanager
def databases(kind: str, folder: Path, count: int) -> Iterator[list[str]]:
    """Give the addresses of databases on a server of our own."""
    if kind == "sqlite":
        yield [f"sqlite:///{folder / f'{number}.db'}" for number in range(count)]
        return
    with PostgresServer() as server:
        yield [server.url(server.create_database()) for _ in range(count)]


def run(kind: str, pending: int, ended: int, rounds: int) -> float:
    """Measure one database.

    Returns:
        The worst ratio.
    """
    folder = Path(tempfile.mkdtemp(prefix="dq-b-"))
    sizes = ((0, 0), (_ONE_PAGE, _ONE_PAGE), (pending, ended))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        urls = stack.enter_context(databases(kind, folder, len(sizes)))
        began = time.perf_counter()
        worlds = []
        for url, size in zip(urls, sizes, strict=True):
            valkey = stack.enter_context(ValkeyServer())
            world = World.make(url, valkey.url, folder, *size)
            stack.callback(world.engine.dispose)
            worlds.append(world)
        with worlds[0].engine.connect() as connection:
            question = "SELECT sqlite_version()" if kind == "sqlite" else "SHOW server_version"
            version = connection.exec_driver_sql(question).scalar_one()
        print(
            f"### {kind} {version}, {pending:,} pending and {ended:,} ended\n\n"
            f"Filled in {time.perf_counter() - began:.0f} s; {rounds} rounds; "
            f"{os.cpu_count()} processors; Python {platform.python_version()}.\n",
            flush=True,
        )
        return report(measure((worlds[0], worlds[1], worlds[2]), rounds))


def main() -> int:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", choices=(*_SIZES, "both"), default="both")
    parser.add_argument("--pending", type=int, help="instead of 1,000,000 (PostgreSQL) and 100,000 (SQLite)")
    parser.add_argument("--ended", type=int, help="as many")
    parser.add_argument("--rounds", type=int, default=20, help="how often each call is timed")
    asked = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    kinds = tuple(_SIZES) if asked.database == "both" else (asked.database,)
    worst = [
        run(kind, asked.pending or _SIZES[kind], asked.ended or _SIZES[kind], asked.rounds) for kind in kinds
    ]
    return int(max(worst) > WORST_ALLOWED)


if __name__ == "__main__":
    sys.exit(main())
