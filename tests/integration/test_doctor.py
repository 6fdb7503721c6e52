"""Every look of the doctor finds what it is for; each fault is brought about for real."""

from __future__ import annotations

import json
import os
import re
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from jobs.blobs import BlobStore
from jobs.database import Clock
from jobs.delivery import Delivery, web_connection
from jobs.doctor import Level, examine
from jobs.doctor.servers import judge_sqlite
from jobs.doctor.storage import FAST_ROWS, judge_disk
from jobs.ids import new_id
from jobs.model import Completed
from jobs.tables import attempts, documents, events, queue_items, sweeps, unreferenced_bytes
from tests.support.items import add_document, expire_lease

DAY = 86_400
OPERATIONS_PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
only_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
only_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def store(settings):
    return BlobStore(settings.data_dir)


@pytest.fixture
def delivery(settings):
    made = Delivery(web_connection(settings), settings)
    yield made
    made.connection.close()


@pytest.fixture
def report(engine, settings, store, delivery):
    def run(fast=False, **changes):
        return examine(replace(settings, **changes), engine, delivery, store, fast=fast)

    return run


@pytest.fixture
def environ(environ):
    # What runs has to stay well while a few commands start one after another.
    return {**environ, "LEASE_SECONDS": "60", "HEARTBEAT_SECONDS": "15"}


@pytest.fixture
def well(engine, settings, service, delivery):
    """A service at work: a worker, a sweep a moment ago, jobs in every state that is no trouble."""
    service.worker_seen("w", "host", 1, "idle")
    service.begin_sweep("sweep", 0)
    items = {}
    for name in ("completed", "running", "waiting", "cancelled", "purged"):
        items[name] = service.enqueue(add_document(engine, settings, name.encode()))
    service.settle(service.claim(items["completed"].id, "w"), Completed())
    service.cancel(items["purged"].id, "anna")
    service.clear_ended(0, "anna")
    service.cancel(items["cancelled"].id, "anna")
    items["completed"] = service.enqueue(add_document(engine, settings, b"completed"))
    service.settle(service.claim(items["completed"].id, "w"), Completed())
    service.claim(items["running"].id, "w")
    delivery.announce([items["waiting"]])
    return items


def found(report, name):
    """Return how one look ended, and that of no other is as bad (but for the test server's own fault)."""
    others = [
        finding.name
        for finding in report.findings
        if finding.level is not Level.OK and finding.name not in {name, "postgresql"}
    ]
    assert others == []
    return report.finding(name)


def change(engine, statement, *arguments):
    with engine.begin() as connection:
        connection.execute(statement, *arguments)


def in_the_past(engine, seconds):
    return Clock(engine.dialect.name).after(-seconds)


def test_a_service_that_is_well(report, engine, well):
    whole = report()
    expected = {"fsync", "full_page_writes"} if engine.dialect.name == "postgresql" else set()
    for finding in whole.findings:
        if finding.name == "postgresql":
            # The tests' server runs without fsync, and this is the look that has to say so.
            assert finding.level is Level.FAIL
            assert {name for name, value in finding.figures.items() if value == "off"} == expected
        else:
            assert finding.level is Level.OK, finding
    assert whole.finding("ledger").figures == {
        "accepted": 6, "completed": 1, "failed": 0, "waiting": 1, "running": 1, "cancelled": 1, "purged": 2,
    }  # fmt: skip
    assert "6 accepted = 1 completed" in whole.finding("ledger").message
    assert whole.exit_code == (2 if expected else 0)


def test_the_looks_change_nothing(report, engine, well):
    def everything():
        with engine.connect() as connection:
            return {
                name: connection.execute(sa.text(f"SELECT * FROM {name}")).all()
                for name in sorted(sa.inspect(engine).get_table_names())
            }

    before = everything()
    report()
    assert everything() == before


# The ledger.


def stop_counting(engine):
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("ALTER TABLE queue_items DISABLE TRIGGER USER")
            return []
        kept = connection.exec_driver_sql(
            "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'queue_items'"
        ).all()
        for name, _ in kept:
            connection.exec_driver_sql(f"DROP TRIGGER {name}")
        return [sql for _, sql in kept]


def count_again(engine, kept):
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("ALTER TABLE queue_items ENABLE TRIGGER USER")
        for sql in kept:
            connection.exec_driver_sql(sql)


@pytest.fixture
def uncounted(engine):
    """Change rows behind the back of the counting triggers."""

    def run(*statements):
        kept = stop_counting(engine)
        for statement in statements:
            change(engine, statement)
        count_again(engine, kept)

    return run


def test_a_lost_row_is_missed(report, engine, well, uncounted):
    uncounted(sa.delete(queue_items).where(queue_items.c.id == well["waiting"].id))
    report_now = report()
    finding = report_now.finding("ledger")
    assert finding.level is Level.FAIL
    assert "waiting is counted 1 and is 0" in finding.message
    assert "1 accepted are missing" in finding.message
    assert report_now.exit_code == 2


def test_a_row_that_is_in_another_state_than_it_is_counted_in(report, engine, well, uncounted):
    item = queue_items.c.id == well["cancelled"].id
    uncounted(sa.update(queue_items).where(item).values(status="failed"))
    finding = found(report(), "ledger")
    assert "cancelled is counted 1 and is 0; failed is counted 0 and is 1" in finding.message
    assert "missing" not in finding.message


def test_the_counts_are_made_anew_as_the_page_says(report, engine, well, uncounted):
    uncounted(
        sa.update(queue_items).where(queue_items.c.id == well["cancelled"].id).values(status="failed"),
        sa.delete(queue_items).where(queue_items.c.id == well["waiting"].id),
    )
    script = re.search(r"```sql\n(.*?)```", OPERATIONS_PAGE.read_text(), re.DOTALL)[1]
    statements = [one for one in script.split(";") if one.strip() and one.strip() not in {"BEGIN", "COMMIT"}]
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    figures = report().finding("ledger").figures
    assert report().finding("ledger").level is Level.OK
    assert (figures["accepted"], figures["failed"], figures["waiting"], figures["purged"]) == (5, 1, 0, 2)


def test_missing_triggers(report, engine, well):
    stop_counting(engine)
    finding = found(report(), "triggers")
    assert finding.level is Level.FAIL
    assert "docqueue_count_delete, docqueue_count_insert, docqueue_count_update" in finding.message


def test_a_running_job_without_its_attempt(report, engine, well):
    change(engine, sa.delete(attempts).where(attempts.c.item_id == well["running"].id))
    finding = found(report(), "attempts")
    assert (finding.level, finding.figures["running_without_attempt"]) == (Level.FAIL, 1)


def test_an_open_attempt_of_a_job_that_does_not_run(report, engine, well):
    change(
        engine,
        sa.update(attempts)
        .where(attempts.c.item_id == well["completed"].id)
        .values(ended_at=None, outcome=None),
    )
    finding = found(report(), "attempts")
    assert (finding.level, finding.figures["open_attempts_of_others"]) == (Level.FAIL, 1)


@only_postgresql
def test_events_of_another_server(report, engine, well):
    change(
        engine,
        sa.insert(events).values(
            item_id=well["waiting"].id, document_id=well["waiting"].document_id, kind="accepted", attempt=0,
            at=in_the_past(engine, 9), data={}, tx=2**40,
        ),
    )  # fmt: skip
    assert found(report(), "feed").level is Level.FAIL
    change(engine, sa.update(events).values(tx=0))
    assert report().finding("feed").level is Level.OK, "the remedy that it tells"


# What should move.


def test_a_lease_that_nobody_takes_back(report, engine, well):
    expire_lease(engine, well["running"].id, 1.0)
    assert report().finding("leases").level is Level.OK, "within a heartbeat and two sweeps"
    expire_lease(engine, well["running"].id, 100.0)
    finding = found(report(), "leases")
    assert (finding.level, finding.figures["overdue"]) == (Level.FAIL, 1)


def test_a_lease_of_before_the_reboot(report, engine, well):
    item = queue_items.c.id == well["running"].id
    change(engine, sa.update(queue_items).where(item).values(lease_boot="another"))
    assert report().finding("leases").level is Level.OK
    change(engine, sa.update(queue_items).where(item).values(updated_at=in_the_past(engine, 60)))
    assert found(report(), "leases").level is Level.FAIL


@pytest.mark.parametrize("deferred", [False, True])
def test_a_due_job_beside_an_idle_worker(report, engine, service, well, deferred):
    item = queue_items.c.id == well["waiting"].id
    change(
        engine,
        sa.update(queue_items).where(item).values(due_at=in_the_past(engine, 120), deferred=deferred),
    )
    finding = found(report(), "lines")
    assert finding.level is Level.FAIL
    assert 119 < finding.figures["oldest_due_seconds"] < 200
    assert report(max_running_per_owner=1).finding("lines").level is Level.WARN, "the owner may have enough"
    service.worker_seen("w", "host", 1, "busy")
    assert report().finding("lines").level is Level.OK, "a busy worker explains it"
    service.worker_seen("w", "host", 1, "idle")
    service.pause_queue("documents", "anna", "repairs")
    assert report().finding("lines").level is Level.OK, "so does a pause"


def test_a_job_in_a_queue_that_is_not_set_up(report, engine, well):
    change(engine, sa.update(queue_items).where(queue_items.c.id == well["waiting"].id).values(queue="old"))
    finding = found(report(), "lines")
    assert (finding.level, finding.figures["in_unknown_queues"]) == (Level.FAIL, 1)


def test_no_worker(report, service, well):
    service.worker_gone("w")
    assert found(report(), "workers").level is Level.WARN


def test_a_queue_without_a_worker_of_its_own(report, service, well):
    finding = found(report(more_queues="ocr"), "workers")
    assert (finding.level, finding.figures) == (Level.WARN, {"documents": 1, "ocr": 0})


def test_a_paused_queue(report, service, well):
    service.pause_queue("documents", "anna", "repairs")
    finding = found(report(), "workers")
    assert finding.level is Level.WARN
    assert "documents (by anna)" in finding.message


def test_a_sweep_that_stopped(report, engine, well):
    change(engine, sa.update(sweeps).values(swept_at=in_the_past(engine, 3600)))
    finding = found(report(), "sweep")
    assert (finding.level, 3599 < finding.figures["age_seconds"] < 3700) == (Level.FAIL, True)
    change(engine, sa.delete(sweeps))
    assert found(report(), "sweep").level is Level.WARN


# Bytes.


def sha256_of(engine, item):
    with engine.connect() as connection:
        statement = sa.select(documents.c.sha256).where(documents.c.id == item.document_id)
        return connection.execute(statement).scalar_one()


def test_a_document_whose_file_is_gone(report, engine, store, well):
    store.path(sha256_of(engine, well["completed"])).unlink()
    finding = found(report(), "rows_without_bytes")
    assert (finding.level, finding.figures["missing"]) == (Level.FAIL, 2)
    assert well["completed"].document_id in finding.figures["examples"]


def test_a_document_whose_file_was_cut(report, engine, store, well):
    with store.path(sha256_of(engine, well["waiting"])).open("r+b") as file:
        file.truncate(3)
    finding = found(report(), "rows_without_bytes")
    assert (finding.level, finding.figures["missing"], finding.figures["damaged"]) == (Level.FAIL, 0, 1)


def test_a_fast_look_at_the_newest_documents(report, engine, settings, store, well):
    lost, stored = (sha256_of(engine, well[name]) for name in ("waiting", "running"))
    with engine.begin() as connection:
        connection.execute(sa.update(documents).values(created_at=in_the_past(engine, DAY)))
        connection.execute(
            sa.insert(documents),
            [
                {
                    "id": new_id(), "size": 7, "filename": "x", "media_type": "text/plain",
                    "sha256": stored, "created_at": datetime.now(UTC),
                }
                for _ in range(FAST_ROWS)
            ],
        )  # fmt: skip
    store.path(lost).unlink()
    assert report(fast=True).finding("rows_without_bytes").level is Level.OK
    finding = report().finding("rows_without_bytes")
    assert (finding.level, finding.figures["missing"]) == (Level.FAIL, 1)


def orphan(store, days):
    spool = store.new_spool(100)
    spool.write(f"orphan {days}".encode())
    sha256 = store.store(spool)
    os.utime(store.path(sha256), (time.time() - days * DAY,) * 2)
    return sha256


def test_a_file_that_was_forgotten(report, engine, store, well):
    orphan(store, 1)
    assert report().finding("bytes_without_rows").level is Level.OK, "the daily walk has time to find it"
    forgotten = orphan(store, 3)
    finding = found(report(), "bytes_without_rows")
    assert (finding.level, finding.figures["not_noted"]) == (Level.WARN, 1)
    change(engine, sa.insert(unreferenced_bytes).values(sha256=forgotten, since=in_the_past(engine, 2 * DAY)))
    assert report().finding("bytes_without_rows").level is Level.OK, "it has its grace"
    change(engine, sa.update(unreferenced_bytes).values(since=in_the_past(engine, 4 * DAY)))
    finding = found(report(), "bytes_without_rows")
    assert (finding.level, finding.figures["overdue"]) == (Level.WARN, 1)


def test_a_full_disk(report, well):
    finding = found(report(min_free_bytes=2**62), "disk")
    assert finding.level is Level.FAIL
    assert judge_disk(9, 100, 9).level is Level.WARN
    assert judge_disk(10, 100, 9).level is Level.OK


# Servers.


def test_redis_away(report, valkey, well):
    valkey.stop()
    report_now = report()
    assert found(report_now, "redis").level is Level.WARN
    with pytest.raises(KeyError):
        report_now.finding("drift")


def test_a_line_without_a_bell(report, engine, valkey, well):
    valkey.flush()
    assert report().finding("drift").level is Level.OK, "the sweep may be about to ring"
    item = queue_items.c.id == well["waiting"].id
    change(engine, sa.update(queue_items).where(item).values(due_at=in_the_past(engine, 10)))
    finding = found(report(), "drift")
    assert (finding.level, finding.figures) == (
        Level.WARN, {"documents": {"bells": 0, "due_for_long": 1}},
    )  # fmt: skip


def test_bells_for_jobs_that_nobody_knows(report, service, delivery, valkey, engine, settings, well):
    gone = service.enqueue(add_document(engine, settings, b"gone"))
    delivery.announce([gone])
    service.cancel(gone.id, "anna")
    assert report().finding("unknown_bells").level is Level.OK
    service.clear_ended(0, "anna")
    with valkey.client() as client:
        client.rpush(delivery.queue.key, "sweep", "somebody-elses-job")
    finding = found(report(), "unknown_bells")
    assert (finding.level, finding.figures) == (Level.WARN, {"looked_at": 4, "unknown": 2})


def test_no_database(report, engine, settings, request, well):
    engine.dispose()
    if engine.dialect.name == "sqlite":
        Path(settings.database_url.removeprefix("sqlite:///")).unlink()
    else:
        request.getfixturevalue("postgres").stop()
    report_now = report()
    assert [finding.name for finding in report_now.findings] == ["disk", "cage", "database"]
    assert report_now.finding("database").level is Level.FAIL


def test_another_schema(report, engine, well):
    change(engine, sa.text("UPDATE alembic_version SET version_num = '0001'"))
    finding = found(report(), "migrations")
    assert finding.level is Level.FAIL
    with pytest.raises(KeyError):
        report().finding("ledger")


@only_sqlite
def test_a_damaged_file(report, engine, settings, well):
    with engine.connect() as connection:
        size = connection.exec_driver_sql("PRAGMA page_size").scalar_one()
        page = connection.exec_driver_sql(
            "SELECT rootpage FROM sqlite_master WHERE name = 'ix_events_owner_id_seq'"
        ).scalar_one()
        connection.exec_driver_sql("COMMIT")
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").all()
    engine.dispose()
    with Path(settings.database_url.removeprefix("sqlite:///")).open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xa5" * size)
    finding = report().finding("sqlite")
    assert (finding.level, finding.message) == (Level.FAIL, "The database file is damaged.")
    assert report(fast=True).finding("sqlite").level is Level.OK, "a fast look does not read the file"


@pytest.mark.parametrize(
    ("version", "journal", "verdict", "level"),
    [
        ((3, 51, 3), "wal", "ok", Level.OK),
        ((3, 40, 1), "wal", "ok", Level.FAIL),
        ((3, 52, 0), "wal", "ok", Level.FAIL),
        ((3, 51, 3), "delete", "ok", Level.FAIL),
        ((3, 51, 3), "wal", "row 3 missing from index", Level.FAIL),
    ],
)
def test_what_a_sqlite_library_is_worth(version, journal, verdict, level):
    assert judge_sqlite(version, journal, verdict, checked=True).level is level


@only_postgresql
def test_commits_that_do_not_wait_for_the_disk(report, engine, well):
    with engine.begin() as connection:
        name = connection.exec_driver_sql("SELECT current_database()").scalar_one()
        connection.exec_driver_sql(f"ALTER DATABASE {name} SET synchronous_commit = off")
    engine.dispose()
    finding = report().finding("postgresql")
    assert finding.level is Level.FAIL
    assert "synchronous_commit" in finding.message


@only_postgresql
@pytest.mark.parametrize("shift", ["-1 hour", "1 hour"])
def test_a_server_with_another_time(report, engine, well, shift):
    with engine.begin() as connection:
        name = connection.exec_driver_sql("SELECT current_database()").scalar_one()
        connection.exec_driver_sql("CREATE SCHEMA shifted")
        connection.exec_driver_sql(
            "CREATE FUNCTION shifted.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS "
            f"$$ SELECT pg_catalog.clock_timestamp() + interval '{shift}' $$"
        )
        connection.exec_driver_sql(f"ALTER DATABASE {name} SET search_path = shifted, pg_catalog, public")
    engine.dispose()
    finding = report().finding("clocks")
    assert finding.level is Level.WARN
    assert finding.figures["skew_seconds"] == pytest.approx(3600, abs=30)


def test_a_clock_that_was_set_back(report, engine, well):
    change(
        engine,
        sa.update(events)
        .where(events.c.seq == sa.select(sa.func.max(events.c.seq)).scalar_subquery())
        .values(at=in_the_past(engine, -600)),
    )
    finding = found(report(), "clocks")
    assert finding.level is Level.WARN
    assert "was set back" in finding.message


# From outside.


def test_the_command_tells_by_its_exit_code(docqueue, engine, service, well):
    always = {"postgresql"} if engine.dialect.name == "postgresql" else set()
    answer = docqueue("doctor", check=False)
    assert answer.returncode == (2 if always else 0), answer.stdout
    assert re.search(r"^OK +ledger +6 accepted = ", answer.stdout, re.MULTILINE)
    service.worker_gone("w")
    answer = docqueue("doctor", "--json", "--fast", check=False)
    told = json.loads(answer.stdout)
    bad = {finding["name"]: finding["level"] for finding in told["findings"] if finding["level"] != "ok"}
    assert bad.pop("workers") == "warn"
    assert set(bad) == always
    assert (answer.returncode, told["level"]) == ((2, "fail") if always else (1, "warn"))
    expire_lease(engine, well["running"].id)
    assert docqueue("doctor", check=False).returncode == 2


def test_the_command_does_not_repair_what_it_looks_at(docqueue, engine, well):
    change(engine, sa.text("UPDATE alembic_version SET version_num = '0001'"))
    answer = docqueue("doctor", check=False)
    assert answer.returncode == 2
    assert re.search(r"^FAIL +migrations ", answer.stdout, re.MULTILINE)


def test_the_system_page_shows_every_look_and_what_to_do(admin, member, service, well):
    service.worker_gone("w")
    assert member.get("/admin/system").status_code == 403
    for path in ("/admin/system", "/admin/system?full=1"):
        page = admin.get(path).get_data(as_text=True)
        assert "6 accepted = 1 completed" in page
        assert "No worker listens on documents" in page
        assert "python worker.py" in page
    assert 'href="/admin/system"' in admin.get("/").get_data(as_text=True)


def test_the_page_on_operations_knows_every_look(report, well):
    table = set(re.findall(r"^\| `([a-z_]+)` \|", OPERATIONS_PAGE.read_text(), re.MULTILINE))
    names = {finding.name for finding in report().findings}
    assert names <= table
    assert table - names <= {"sqlite", "postgresql"}
