"""At every depth of the queue a call reads what it shows and no more; on both databases.

The statements are the program's own, each explained right before it runs. What they cost is measured in
rows and steps, never in seconds: ``make bench-depth`` has those.
"""

from __future__ import annotations

import dataclasses
import random
import shutil
from dataclasses import dataclass

import pytest
import sqlalchemy as sa

from jobs import database, queue_overview
from jobs.model import Completed, Failed, Label, Status
from jobs.queries import COUNTED_TO, SEARCHED_AT_ONCE, Queries
from jobs.queue_service import DocumentQueueService
from jobs.settings import Settings, load_settings
from jobs.tables import queue_items
from jobs.waiting import COUNTED_TO as LINE_COUNTED_TO
from jobs.waiting import Explainer
from tests.support.depth import RARE, Depth, fill
from tests.support.items import add_document
from tests.support.plans import watching

PENDING = ENDED = 50_000
BIG = frozenset({"documents", "queue_items", "events", "attempts", "results"})
SOME = 300
# A page is 50 rows, each with a few others; the sweep takes a thousand at once.
ROWS = 3_500
# What SQLite's machine makes of as many rows; a scan of one table takes half a million.
STEPS = 150_000


@dataclass
class World:
    engine: sa.Engine
    settings: Settings
    depth: Depth
    service: DocumentQueueService
    queries: Queries
    explainer: Explainer

    def serving(self, **changes) -> DocumentQueueService:
        settings = dataclasses.replace(self.settings, **changes)
        return DocumentQueueService(self.engine, settings, random.Random(7))

    def pages(self, read, pages=2):
        """Read the first pages of a list."""
        cursor = None
        for _ in range(pages):
            page = read(cursor)
            cursor = page.next_cursor
            if cursor is None:
                return


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def world(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("depth")
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("_sqlite_template"), folder / "docqueue.db")
        url = f"sqlite:///{folder / 'docqueue.db'}"
    else:
        server = request.getfixturevalue("_postgres_server")
        server.start()
        name = server.create_database(request.getfixturevalue("_postgres_template"))
        url = server.url(name)
    settings = load_settings({"DATABASE_URL": url, "DATA_DIR": str(folder), "BACKOFF_BASE_SECONDS": "5"})
    engine = database.make_engine(settings)
    depth = fill(engine, PENDING, ENDED)
    service = DocumentQueueService(engine, settings, random.Random(7))
    yield World(engine, settings, depth, service, Queries(engine), Explainer(engine, settings))
    engine.dispose()
    if request.param == "postgresql":
        server.drop_database(name)


def hold(watched, rows=ROWS, steps=STEPS):
    """Hold that what was watched neither scanned a big table nor read more than it may."""
    assert watched.plans, "nothing was asked"
    assert watched.scans(BIG) == []
    assert watched.rows <= rows, watched.plans
    assert watched.steps <= steps, watched.plans


def settle_one(world, outcome, **changes):
    service = world.serving(**changes)
    lease = service.claim_next("documents", "w-x")
    assert lease is not None
    service.renew(lease, stage="extract", progress=0.5)
    service.settle(lease, outcome)


def come_due(world):
    """Let some deferred items come due, as time does."""
    first = world.depth.ended + RARE
    ids = [world.depth.item_id(number) for number in range(first, first + SOME)]
    with world.engine.begin() as connection:
        connection.execute(
            sa.update(queue_items)
            .where(queue_items.c.id.in_(ids), queue_items.c.deferred)
            .values(due_at=queue_items.c.created_at)
        )


def purge_some(world):
    with world.engine.begin() as connection:
        middle = world.depth.ended // 2
        # PostgreSQL looks through a small table rather than for hundreds of its rows.
        ids = [world.depth.item_id(number) for number in range(middle, middle + 30)]
        assert world.service.purge_in(connection, ids) == 30


QUEUE_CALLS = {
    "claim_next and settle": lambda world: settle_one(world, Completed()),
    "claim_next of the longest waiting": lambda world: [settle_one(world, Completed()) for _ in range(15)],
    "claim_next and fail": lambda world: settle_one(world, Failed("x", "It broke.", permanent=False)),
    "claim_next beside a busy owner": lambda world: settle_one(world, Completed(), max_running_per_owner=1),
    "claim": lambda world: world.service.claim(world.depth.last_waiting, "w-y"),
    "get_pending_items": lambda world: world.service.get_pending_items(10),
    "mark_suspects": lambda world: world.service.mark_suspects(),
    "rescue": lambda world: world.service.rescue(),
    "due_to_announce": lambda world: world.service.due_to_announce("documents", 1000),
    "mark_announced": lambda world: world.service.mark_announced(
        [world.depth.item_id(world.depth.ended + 2_000 + number) for number in range(SOME)]
    ),
    "purge": purge_some,
    "stage_due": lambda world: world.service.stage_due(),
    "begin_sweep": lambda world: world.service.begin_sweep("sweep", 5.0),
    "fold_counts": lambda world: world.service.fold_counts(),
    "get_queue_stats": lambda world: world.service.get_queue_stats(),
    "report_horse_death": lambda world: world.service.report_horse_death("w-none", "killed"),
    "worker_seen": lambda world: world.service.worker_seen("w-x", "host", 1, "idle"),
    "queue_overview": lambda world: queue_overview.overview(world.engine, world.settings),
}


@pytest.mark.parametrize("call", QUEUE_CALLS)
def test_the_queue_works_as_far_as_it_has_to_look(world, call):
    if call == "stage_due":
        come_due(world)
    if call == "fold_counts" and world.engine.dialect.name == "sqlite":
        return  # There is nothing to fold.
    with watching(world.engine) as watched:
        QUEUE_CALLS[call](world)
    # Lines are counted to ten thousand.
    hold(watched, rows=12_000 if call == "queue_overview" else ROWS)


def test_accepting_a_document_costs_the_same(world):
    document_id = add_document(world.engine, world.settings)
    with watching(world.engine) as watched:
        item = world.service.enqueue(document_id)
        world.service.cancel(item.id, "anna")
        world.service.retry(item.id, "anna")
        world.service.change_priority(item.id, 5, "anna")
    hold(watched)


OWNERS = ("everybody", "big", "small")


def owner_of(world, name):
    return {"everybody": None, "big": world.depth.big, "small": world.depth.small}[name]


@pytest.mark.parametrize("owner", OWNERS)
@pytest.mark.parametrize("label", [None, *Label])
def test_a_page_of_documents_reads_its_rows(world, owner, label):
    known = {"owner": owner_of(world, owner), "label": label}
    with watching(world.engine) as watched:
        world.pages(lambda cursor: world.queries.documents(**known, before=cursor))
    hold(watched)


@pytest.mark.parametrize("owner", OWNERS)
@pytest.mark.parametrize("status", [None, *Status])
def test_a_page_of_items_reads_its_rows(world, owner, status):
    known = {"owner": owner_of(world, owner), "status": status}
    with watching(world.engine) as watched:
        world.pages(lambda cursor: world.queries.items(**known, before=cursor))
    hold(watched)


def test_what_is_rare_is_found_at_once(world):
    listed = world.queries.documents(owner=None, label=Label.QUARANTINED, limit=200)
    # One of the first twenty documents has a newer job.
    assert (len(listed.rows), listed.next_cursor) == (RARE - 1, None)
    listed = world.queries.documents(owner=None, label=Label.SCHEDULED, limit=200)
    assert RARE - 1 <= len(listed.rows) <= RARE
    dues = [row.item.due_at for row in listed.rows]
    assert dues == sorted(dues)


@pytest.mark.parametrize("owner", OWNERS)
def test_counting_stops(world, owner):
    with watching(world.engine) as watched:
        counts = world.queries.counts(owner_of(world, owner))
    hold(watched, rows=(len(Label) + 1) * (COUNTED_TO + 1))
    expected = RARE * 2 if owner == "small" else COUNTED_TO + 1
    assert counts["all"] == expected
    assert counts[Label.COMPLETED] <= COUNTED_TO + 1


@pytest.mark.parametrize("label", [None, Label.FAILED])
def test_a_search_stops_and_can_be_continued(world, label):
    with watching(world.engine) as watched:
        page = world.queries.documents(owner=None, label=label, text="report-50.txt")
    # Every row is looked up and compared.
    hold(watched, rows=3 * SEARCHED_AT_ONCE, steps=100 * SEARCHED_AT_ONCE)
    if label is None:
        assert (page.rows, page.searched) == ([], SEARCHED_AT_ONCE)
    found, tries = [], 0
    while page.next_cursor is not None:
        page = world.queries.documents(owner=None, label=label, text="report-50.txt", before=page.next_cursor)
        found += page.rows
        tries += 1
    assert tries <= (PENDING + ENDED) / SEARCHED_AT_ONCE + 1
    assert [row.document.filename for row in [*found, *page.rows]][:1] in ([], ["report-50.txt"])
    assert label is not None or [row.document.filename for row in found] == ["report-50.txt"]


def test_an_id_or_a_whole_hash_is_looked_up(world):
    document = world.queries.document(world.depth.item_id(30), owner=None)
    for text in (document.id, document.sha256):
        with watching(world.engine) as watched:
            page = world.queries.documents(owner=None, text=text)
        assert [row.document.id for row in page.rows] == [document.id]
        hold(watched)


def test_a_jobs_page_reads_the_job(world):
    waiting = world.depth.last_waiting
    for item_id in (waiting, world.depth.item_id(1), world.depth.item_id(world.depth.total)):
        with watching(world.engine) as watched:
            item = world.queries.item(item_id, owner=None)
            world.queries.document(item.document_id, owner=None)
            world.queries.items_of(item.document_id)
            world.queries.events(item.id)
            world.queries.attempts(item.id)
            world.queries.results(item.document_id)
            world.explainer.explain(item)
        # The line is counted to ten thousand, in an index.
        hold(watched, rows=2 * LINE_COUNTED_TO + 10, steps=60 * LINE_COUNTED_TO)


def test_whole_pages_are_explained_at_once(world):
    items = [row.item for row in world.queries.items(status=Status.PENDING, limit=200).rows]
    with watching(world.engine) as watched:
        assert len(world.explainer.briefly(items)) == 200
    assert len(watched.plans) <= 5
    hold(watched)


def test_the_live_feeds_and_the_workers_read_what_is_new(world):
    with watching(world.engine) as watched:
        last = world.queries.last_event_seq()
        for owner in OWNERS:
            world.queries.recent_event_items(owner=owner_of(world, owner), after=last - 100)
        world.queries.workers()
    hold(watched)
