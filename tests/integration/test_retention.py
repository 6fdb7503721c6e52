"""What is past its time goes, and nothing else: not what is named again in that very moment."""

from __future__ import annotations

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from jobs.blobs import BlobStore
from jobs.bytes_lock import hold_bytes, try_to_hold_bytes
from jobs.database import Clock
from jobs.delivery import Delivery, web_connection
from jobs.errors import DocumentNotFound, IllegalTransition
from jobs.ids import new_id
from jobs.intake import Intake
from jobs.model import Artifact, Completed, Failed, PageImage, Status
from jobs.queries import Queries
from jobs.retention import PruneStatistics, delete_document, prune
from jobs.retention.rows import RowDuties
from jobs.tables import (
    artifacts,
    attempts,
    documents,
    events,
    idempotency_keys,
    queue_items,
    results,
    sweeps,
    unreferenced_bytes,
)
from jobs.uploads import Upload
from tests.support.items import add_document
from tests.support.servers import wait_until
from tests.support.web import uploaded

DAY = 86_400
only_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@pytest.fixture
def store(settings):
    return BlobStore(settings.data_dir)


@pytest.fixture
def pruned(engine, settings, service, store):
    """Prune with some settings changed: ``pruned(retain_failed_days=3)``; ``seconds`` and ``batch`` too."""

    def run(seconds=30.0, batch=200, **changes):
        return prune(engine, replace(settings, **changes), service, store, seconds=seconds, batch=batch)

    return run


@pytest.fixture
def intake(engine, settings, service, store):
    return Intake(engine, settings, store, service, Delivery(web_connection(settings), settings))


def age(engine, table, column, days, *where):
    """Move an instant of some rows back."""
    at = Clock(engine.dialect.name).after(-days * DAY)
    with engine.begin() as connection:
        connection.execute(sa.update(table).where(*where).values({column: at}))


def count(engine, table, *where):
    with engine.connect() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(table).where(*where)).scalar_one()


def ended_item(engine, settings, service, outcome=None, days=0.0, document_id=None, artifact=None):
    """Work a document off and return its item, which ended so many days ago."""
    item = service.enqueue(document_id or add_document(engine, settings))
    lease = service.claim(item.id, "w")
    if artifact is not None:
        service.checkpoint(lease, artifact.stage, artifact, reused=False)
    service.settle(lease, outcome or Completed())
    age(engine, queue_items, "finished_at", days, queue_items.c.id == item.id)
    return item


def cancelled_item(engine, settings, service, days):
    item = service.enqueue(add_document(engine, settings))
    service.cancel(item.id, "anna")
    age(engine, queue_items, "finished_at", days, queue_items.c.id == item.id)
    return item


def product(cache_key="k" * 64, stage="extract"):
    return Artifact(new_id(), stage, cache_key, "e", "1", {"text": "t"}, {}, datetime.now(UTC))


def sha256_of(engine, document_id):
    with engine.connect() as connection:
        return connection.execute(
            sa.select(documents.c.sha256).where(documents.c.id == document_id)
        ).scalar_one()


@pytest.fixture
def just_before_the_next_write(engine, monkeypatch):
    """Let somebody else act once, right before the next writing transaction begins."""
    begin = engine.begin

    def arrange(action):
        def begin_later():
            monkeypatch.setattr(engine, "begin", begin)
            action()
            return begin()

        monkeypatch.setattr(engine, "begin", begin_later)

    yield arrange
    assert engine.begin is begin or engine.begin == begin, "somebody acted"


def waits_for_a_lock(postgres, number=1):
    """Tell whether so many connections wait for a lock that another holds."""
    with postgres.connect() as connection:
        found = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        ).fetchone()
    return found[0] >= number


# Items.


def test_ended_items_go_each_state_after_its_own_time(engine, settings, service, pruned):
    fail = Failed("x", "x", permanent=True)
    items = {
        (status, days): make(days)
        for days in (1, 3)
        for status, make in {
            "completed": lambda days: ended_item(engine, settings, service, days=days),
            "failed": lambda days: ended_item(engine, settings, service, fail, days=days),
            "cancelled": lambda days: cancelled_item(engine, settings, service, days),
        }.items()
    }
    waiting = service.enqueue(add_document(engine, settings))
    done = pruned(retain_completed_days=2, retain_failed_days=0.5, retain_cancelled_days=0)
    assert done == PruneStatistics(items=3)
    with engine.connect() as connection:
        left = set(connection.execute(sa.select(queue_items.c.id)).scalars())
    gone = {("completed", 3), ("failed", 1), ("failed", 3)}
    assert left == {item.id for key, item in items.items() if key not in gone} | {waiting.id}
    assert count(engine, events, events.c.item_id.not_in(left)) == 0
    assert count(engine, attempts, attempts.c.item_id.not_in(left)) == 0
    stats = service.get_queue_stats()
    assert (stats["accepted"], stats["total"], stats["purged"]) == (7, 4, 3)


def test_nothing_goes_by_itself_with_the_default_settings(engine, settings, service, pruned):
    item = ended_item(engine, settings, service, days=36_500)
    age(engine, documents, "created_at", 36_500)
    assert pruned() == PruneStatistics()
    assert service.retry is not None
    assert count(engine, queue_items, queue_items.c.id == item.id) == 1


def test_a_pass_ends_in_time_and_the_next_goes_on(engine, settings, service, pruned):
    for _ in range(5):
        ended_item(engine, settings, service, days=9)
    assert [pruned(seconds=0, batch=2, retain_completed_days=1).items for _ in range(4)] == [2, 2, 1, 0]
    for _ in range(5):
        ended_item(engine, settings, service, days=9)
    assert pruned(batch=2, retain_completed_days=1).items == 5


def test_an_item_that_is_retried_in_that_moment_stays(
    engine, settings, service, pruned, just_before_the_next_write
):
    item = ended_item(engine, settings, service, Failed("x", "x", permanent=True), days=9)
    just_before_the_next_write(lambda: service.retry(item.id, "anna"))
    assert pruned(retain_failed_days=1).items == 0
    assert Queries(engine).item(item.id, owner=None).status is Status.PENDING
    assert [event.kind for event in Queries(engine).events(item.id)] == [
        "accepted", "started", "failed", "retried",
    ]  # fmt: skip


@only_postgresql
def test_an_item_whose_retry_is_not_committed_yet_stays(engine, settings, service, pruned, postgres):
    item = ended_item(engine, settings, service, Failed("x", "x", permanent=True), days=9)
    with ThreadPoolExecutor() as pool, engine.connect() as connection:
        begun = connection.begin()
        service.retry_in(connection, item.id, "anna")
        pruning = pool.submit(pruned, retain_failed_days=1)
        wait_until(lambda: waits_for_a_lock(postgres), what="the pass waits for the retry")
        begun.commit()
        assert pruning.result(30).items == 0
    assert Queries(engine).item(item.id, owner=None).status is Status.PENDING


def test_a_document_keeps_its_newest_result_when_its_items_go(engine, settings, service, pruned):
    document = add_document(engine, settings)
    old, new = product("a" * 64), product("b" * 64)
    for artifact in (old, new):
        ended_item(engine, settings, service, days=9, document_id=document, artifact=artifact)
    age(engine, artifacts, "created_at", 9)
    done = pruned(retain_completed_days=1)
    assert (done.items, done.artifacts) == (2, 1)
    assert Queries(engine).artifact(document, "extract").id == new.id
    assert Queries(engine).kept_artifact(old.cache_key) is None


# Documents.


def test_old_documents_go_with_all_that_is_known_of_them(engine, settings, service, pruned, store):
    old, young = (add_document(engine, settings, content) for content in (b"old", b"young"))
    for document in (old, young):
        ended_item(engine, settings, service, document_id=document, artifact=product())
    age(engine, documents, "created_at", 9, documents.c.id == old)
    age(engine, artifacts, "created_at", 9)
    sha256 = sha256_of(engine, old)
    done = pruned(retain_documents_days=7)
    assert (done.items, done.documents, done.artifacts, done.bytes_files) == (0, 1, 1, 0)
    with engine.connect() as connection:
        for column in (
            documents.c.id,
            queue_items.c.document_id,
            events.c.document_id,
            results.c.document_id,
        ):
            assert set(connection.execute(sa.select(column)).scalars()) == {young}, column
    assert store.size(sha256) == 3, "its bytes have their grace"
    age(engine, unreferenced_bytes, "since", 2)
    assert pruned(retain_documents_days=7).bytes_files == 1
    assert store.size(sha256) is None
    assert store.size(sha256_of(engine, young)) == 5
    stats = service.get_queue_stats()
    assert (stats["accepted"], stats["total"], stats["purged"]) == (2, 1, 1)


@pytest.mark.parametrize("running", [False, True])
def test_an_old_document_with_something_to_do_stays(engine, settings, service, pruned, running):
    document = add_document(engine, settings)
    ended_item(engine, settings, service, document_id=document, days=9)
    item = service.enqueue(document)
    if running:
        assert service.claim(item.id, "w")
    age(engine, documents, "created_at", 9)
    assert pruned(retain_documents_days=7) == PruneStatistics()
    assert count(engine, queue_items) == 2


def test_a_document_that_is_queued_in_that_moment_stays_whole(
    engine, settings, service, pruned, just_before_the_next_write
):
    document = add_document(engine, settings)
    ended_item(engine, settings, service, document_id=document, artifact=product())
    age(engine, documents, "created_at", 9)
    just_before_the_next_write(lambda: service.enqueue(document))
    assert pruned(retain_documents_days=7) == PruneStatistics()
    assert (count(engine, documents), count(engine, queue_items), count(engine, results)) == (1, 2, 1)


@only_postgresql
def test_somebody_who_queues_a_document_waits_for_its_deletion(engine, settings, service, store, postgres):
    document = add_document(engine, settings)
    deleting = RowDuties(engine, settings, service, store)
    with ThreadPoolExecutor() as pool, engine.connect() as connection:
        begun = connection.begin()
        assert deleting.delete_documents(connection, [document]) == 1
        queueing = pool.submit(service.enqueue, document)
        wait_until(lambda: waits_for_a_lock(postgres), what="the enqueue waits for the deletion")
        begun.commit()
        with pytest.raises(DocumentNotFound):
            queueing.result(30)


@only_postgresql
def test_a_retry_that_is_not_committed_yet_keeps_its_document_whole(
    engine, settings, service, pruned, postgres
):
    document = add_document(engine, settings)
    fail = Failed("x", "x", permanent=True)
    for _ in range(2):
        item = ended_item(engine, settings, service, fail, document_id=document)
    age(engine, documents, "created_at", 9)
    with ThreadPoolExecutor() as pool, engine.connect() as connection:
        begun = connection.begin()
        service.retry_in(connection, item.id, "anna")
        assert pruned(retain_documents_days=7) == PruneStatistics(), "a pass does not wait"
        deleting = pool.submit(delete_document, engine, settings, service, document, "ben")
        wait_until(lambda: waits_for_a_lock(postgres), what="the deletion waits for the retry")
        begun.commit()
        with pytest.raises(IllegalTransition):
            deleting.result(30)
    assert (count(engine, documents), count(engine, queue_items)) == (1, 2)


@only_postgresql
def test_a_pass_does_not_wait_for_somebody_who_queues_a_document(engine, settings, service, pruned):
    old = [add_document(engine, settings) for _ in range(2)]
    age(engine, documents, "created_at", 9)
    with engine.connect() as connection:
        begun = connection.begin()
        service.enqueue_in(connection, old[0], "process", 0)
        assert pruned(retain_documents_days=7).documents == 1
        begun.commit()
    assert count(engine, documents, documents.c.id == old[0]) == 1


def test_a_person_deletes_a_document(engine, settings, service):
    document = add_document(engine, settings)
    ended_item(engine, settings, service, document_id=document, artifact=product())
    item = service.enqueue(document, "analyze")
    with pytest.raises(IllegalTransition, match="not over"):
        delete_document(engine, settings, service, document, "anna")
    assert (count(engine, documents), count(engine, queue_items), count(engine, results)) == (1, 2, 1)
    service.cancel(item.id, "anna")
    delete_document(engine, settings, service, document, "anna")
    assert [count(engine, table) for table in (documents, queue_items, results, events)] == [0, 0, 0, 0]
    for missing in (document, new_id(), "no id"):
        with pytest.raises(DocumentNotFound):
            delete_document(engine, settings, service, missing, "anna")


# Artifacts.


def unnamed_artifact(engine, days=9.0):
    made = product(new_id().replace("-", "") * 2)
    with engine.begin() as connection:
        connection.execute(
            sa.insert(artifacts).values(
                id=made.id, stage=made.stage, cache_key=made.cache_key, engine="e", engine_version="1",
                meta={}, body=b"", created_at=Clock(engine.dialect.name).after(-days * DAY),
            )
        )  # fmt: skip
    return made


def test_artifacts_that_no_result_names_go_after_the_grace(engine, settings, service, pruned):
    named = product()
    ended_item(engine, settings, service, artifact=named)
    age(engine, artifacts, "created_at", 9)
    unnamed, young = unnamed_artifact(engine, 2), unnamed_artifact(engine, 0.5)
    assert pruned().artifacts == 1
    with engine.connect() as connection:
        assert set(connection.execute(sa.select(artifacts.c.id)).scalars()) == {named.id, young.id}
    assert unnamed.id not in {named.id, young.id}
    assert pruned(bytes_grace_hours=0).artifacts == 1


def test_the_walk_over_artifacts_goes_on_in_the_next_pass(engine, settings, service, pruned):
    for number in range(12):
        if number % 4 == 0:
            unnamed_artifact(engine)
        else:
            ended_item(engine, settings, service, artifact=product(f"{number:064}"))
        time.sleep(0.002)  # ids of different milliseconds, as those of real work are
    steps = [pruned(seconds=0, batch=1).artifacts for _ in range(3)]
    assert sum(steps) == 3
    assert max(steps) < 3, "no pass looks at all of them"
    late = unnamed_artifact(engine)
    assert sum(pruned(seconds=0, batch=1).artifacts for _ in range(4)) == 1, "then it begins again"
    assert count(engine, artifacts, artifacts.c.id == late.id) == 0


def test_an_artifact_that_was_pruned_before_its_reuse_is_stored_again(
    engine, settings, service, pruned, just_before_the_next_write
):
    """A runner read it, the pass deleted it, the runner writes the result that names it."""
    kept = unnamed_artifact(engine)
    lease = service.claim(service.enqueue(add_document(engine, settings)).id, "w")
    just_before_the_next_write(pruned)
    service.checkpoint(lease, "extract", kept, reused=True)
    found = Queries(engine).result_of(lease.item.id, "extract")
    assert (found.id, found.cache_key, found.body) == (kept.id, kept.cache_key, kept.body)
    assert service.settle(lease, Completed()).status is Status.COMPLETED


def test_kept_pictures_that_were_pruned_before_their_reuse_are_stored_again(
    engine, settings, service, pruned, just_before_the_next_write
):
    picture = PageImage(1, "reading", 5, 5, "image/webp", b"RIFF")
    kept = replace(unnamed_artifact(engine), stage="images", images=(picture,))
    lease = service.claim(service.enqueue(add_document(engine, settings), "images").id, "w")
    just_before_the_next_write(pruned)
    service.checkpoint(lease, "images", kept, reused=True)
    assert Queries(engine).page_image(lease.item.document_id, 1, "reading") == picture


@only_postgresql
def test_a_reuse_waits_for_the_deletion_of_its_artifact(engine, settings, service, postgres):
    kept = unnamed_artifact(engine)
    lease = service.claim(service.enqueue(add_document(engine, settings)).id, "w")
    with ThreadPoolExecutor() as pool, engine.connect() as connection:
        begun = connection.begin()
        connection.execute(sa.delete(artifacts).where(artifacts.c.id == kept.id))
        keeping = pool.submit(service.checkpoint, lease, "extract", kept, reused=True)
        wait_until(lambda: waits_for_a_lock(postgres), what="the checkpoint waits for the deletion")
        begun.commit()
        keeping.result(30)
    assert Queries(engine).result_of(lease.item.id, "extract").body == kept.body


@only_postgresql
def test_an_artifact_that_an_uncommitted_result_names_stays(engine, settings, service, pruned):
    kept, other = unnamed_artifact(engine), unnamed_artifact(engine)
    item = service.enqueue(add_document(engine, settings))
    naming = sa.insert(results).values(
        item_id=item.id, stage="extract", document_id=item.document_id, artifact_id=kept.id, attempt=1,
        lease_id="x", reused=True, created_at=datetime.now(UTC),
    )  # fmt: skip
    with engine.connect() as connection:
        begun = connection.begin()
        connection.execute(naming)
        assert pruned().artifacts == 1
        begun.commit()
    assert pruned().artifacts == 0
    assert (count(engine, artifacts), count(engine, artifacts, artifacts.c.id == other.id)) == (1, 0)


# Bytes.


def abandoned(store, settings, content):
    """Leave a file in the store as a crash before the commit would."""
    spool = store.new_spool(settings.max_upload_bytes)
    spool.write(content)
    return store.store(spool)


def noted(engine):
    with engine.connect() as connection:
        return set(connection.execute(sa.select(unreferenced_bytes.c.sha256)).scalars())


def note(engine, sha256, days=9.0):
    with engine.begin() as connection:
        connection.execute(
            sa.insert(unreferenced_bytes).values(
                sha256=sha256, since=Clock(engine.dialect.name).after(-days * DAY)
            )
        )


def test_files_that_no_row_ever_named_are_found_and_have_their_grace(engine, settings, store, pruned):
    named = sha256_of(engine, add_document(engine, settings))
    orphan = abandoned(store, settings, b"orphan")
    (store.path(orphan).parent / "not-a-hash").write_bytes(b"")
    assert pruned().bytes_files == 0
    assert noted(engine) == {orphan}
    age(engine, unreferenced_bytes, "since", 0.9)
    assert pruned().bytes_files == 0
    age(engine, unreferenced_bytes, "since", 1.1)
    assert pruned().bytes_files == 1
    assert (store.size(orphan), store.size(named), noted(engine)) == (None, 13, set())


def test_the_walk_over_the_store_takes_a_folder_at_a_time(engine, settings, store, pruned):
    orphans = {abandoned(store, settings, f"orphan {number}".encode()) for number in range(12)}
    folders = {sha256[:2] for sha256 in orphans}
    assert len(folders) > 3
    seen = []
    for _ in folders:
        pruned(seconds=0)
        seen.append({sha256[:2] for sha256 in noted(engine)})
    assert [len(found) for found in seen] == list(range(1, len(folders) + 1))
    assert noted(engine) == orphans
    late = abandoned(store, settings, b"late")
    age(engine, sweeps, "swept_at", 0.9)
    pruned()
    assert late not in noted(engine) or late[:2] not in folders, "a folder is looked through once a day"
    age(engine, sweeps, "swept_at", 1.1)
    pruned()
    assert late in noted(engine)


def test_bytes_that_another_document_names_stay(engine, settings, service, store, pruned):
    first, second = (add_document(engine, settings, b"same") for _ in range(2))
    sha256 = sha256_of(engine, first)
    delete_document(engine, settings, service, first, "anna")
    assert noted(engine) == {sha256}
    assert pruned(bytes_grace_hours=0).bytes_files == 0
    assert (store.size(sha256), noted(engine)) == (4, set())
    delete_document(engine, settings, service, second, "anna")
    assert pruned(bytes_grace_hours=0).bytes_files == 1


def test_the_grace_begins_with_the_last_document(engine, settings, service, store, pruned):
    first, second = (add_document(engine, settings, b"same") for _ in range(2))
    delete_document(engine, settings, service, first, "anna")
    age(engine, unreferenced_bytes, "since", 2)
    delete_document(engine, settings, service, second, "anna")
    assert pruned().bytes_files == 0


def test_a_file_that_cannot_be_deleted_keeps_its_note_and_holds_up_nobody(engine, settings, store, pruned):
    stuck, other = (abandoned(store, settings, content) for content in (b"stuck", b"other"))
    store.path(stuck).unlink()
    store.path(stuck).mkdir()
    for sha256, days in ((stuck, 9), (other, 8)):
        note(engine, sha256, days)
    assert pruned(batch=1).bytes_files == 0, "one of a batch of one"
    assert pruned().bytes_files == 1
    assert noted(engine) == {stuck}
    store.path(stuck).rmdir()
    assert pruned().bytes_files == 0
    assert noted(engine) == set(), "what is gone is gone"


def test_an_upload_takes_the_note_away(engine, settings, store, intake, pruned):
    sha256 = abandoned(store, settings, b"again")
    note(engine, sha256)
    (accepted,) = intake.accept([spooled(intake, b"again")], owner=None)
    assert (accepted.document.sha256, noted(engine)) == (sha256, set())
    assert pruned().bytes_files == 0
    assert store.size(sha256) == 5


def test_bytes_that_are_deleted_between_an_uploads_file_and_its_row_are_stored_again(
    engine, settings, service, pruned
):
    """The pass takes its turn exactly after the rename, and no other upload of the request suffers."""

    class Interrupted(BlobStore):
        def store_all(self, spools):
            hashes = super().store_all(spools)
            if unlucky in hashes and not deleted:
                deleted.append(pruned(bytes_grace_hours=0).bytes_files)
            return hashes

    deleted = []
    unlucky = abandoned(BlobStore(settings.data_dir), settings, b"unlucky")
    note(engine, unlucky)
    store = Interrupted(settings.data_dir)
    intake = Intake(engine, settings, store, service, Delivery(web_connection(settings), settings))
    accepted = intake.accept(
        [spooled(intake, content) for content in (b"before", b"unlucky", b"after")], owner=None
    )
    assert deleted == [3], "the file was really gone (and so were its neighbours', which nobody named yet)"
    for one, content in zip(accepted, (b"before", b"unlucky", b"after"), strict=True):
        with store.open(one.document.sha256) as file:
            assert file.read() == content
    assert list(store.spool_dir.iterdir()) == []


@only_postgresql
def test_an_upload_and_the_deletion_of_its_bytes_exclude_each_other(
    engine, settings, service, store, intake, postgres, pruned
):
    sha256 = abandoned(store, settings, b"contested")
    note(engine, sha256)
    # The upload is first: the pass does not wait, and leaves the bytes alone.
    with engine.begin() as connection:
        hold_bytes(connection, [sha256])
        assert pruned(bytes_grace_hours=0).bytes_files == 0
    assert store.size(sha256) == 9
    # The pass is first: the upload waits, and then finds out.
    deleting = RowDuties(engine, settings, service, store)
    with ThreadPoolExecutor() as pool, engine.connect() as connection:
        begun = connection.begin()
        assert try_to_hold_bytes(connection, sha256)
        uploading = pool.submit(intake.accept, [spooled(intake, b"contested")], owner=None)
        wait_until(lambda: waits_for_a_lock(postgres), what="the upload waits for the deletion")
        assert deleting.delete_bytes(connection, sha256)
        assert store.size(sha256) is None
        begun.commit()
        (accepted,) = uploading.result(30)
    assert accepted.document.sha256 == sha256
    assert store.size(sha256) == 9


@only_postgresql
def test_uploads_of_the_same_files_in_another_order_do_not_lock_each_other_out(engine, postgres):
    hashes = [f"{digit}" * 64 for digit in "1234"]
    with ThreadPoolExecutor() as pool, engine.connect() as first, engine.connect() as second:
        begun, other = first.begin(), second.begin()
        hold_bytes(first, hashes[:1])
        waiting = pool.submit(hold_bytes, second, reversed(hashes))
        wait_until(lambda: waits_for_a_lock(postgres), what="the second waits for the first")
        hold_bytes(first, hashes)
        begun.commit()
        waiting.result(30)
        other.commit()


def test_what_broken_uploads_left_goes_after_a_day(settings, store, pruned):
    old, young = (store.new_spool(100) for _ in range(2))
    os.utime(old.path, (time.time() - DAY - 60,) * 2)
    pruned()
    assert (old.path.exists(), young.path.exists()) == (False, True)
    for spool in (old, young):
        spool.discard()


def spooled(intake, content):
    spool = intake.new_spool()
    spool.write(content)
    return Upload("a.txt", spool)


# Keys.


def test_answers_for_idempotency_keys_are_kept_for_their_hours(engine, settings, pruned, member):
    clock = Clock(engine.dialect.name)

    def keep(key, hours, locked_seconds, body):
        with engine.begin() as connection:
            connection.execute(
                sa.insert(idempotency_keys).values(
                    owner_id=member.user.id, key=key, fingerprint="f" * 64, token="t",
                    locked_until=clock.after(locked_seconds), status=202 if body else None,
                    headers={} if body else sa.null(), body=body or sa.null(),
                    created_at=clock.after(-hours * 3600),
                )
            )  # fmt: skip

    keep("old", 25, -60, {"id": 1})
    keep("died", 25, -60, None)
    keep("in flight", 25, 60, None)
    keep("young", 23, -60, {"id": 2})
    assert pruned(batch=1).keys == 2
    with engine.connect() as connection:
        assert set(connection.execute(sa.select(idempotency_keys.c.key)).scalars()) == {"in flight", "young"}


# From outside.


def test_a_program_deletes_its_document(program, service, engine, stranger):
    made = uploaded(program)
    path = f"/api/v1/documents/{made['id']}"
    assert stranger.client.delete(path).status_code == 400, "no token, no deletion"
    waiting = program.delete(path)
    assert (waiting.status_code, waiting.json["code"]) == (409, "illegal_transition")
    service.cancel(made["job_id"], "mia")
    assert program.delete(path).status_code == 204
    assert program.get(path).status_code == 404
    assert program.delete(path).status_code == 404
    assert count(engine, documents) == 0


def test_nobody_deletes_the_document_of_another(app, admin, program, stranger, service, engine):
    made = uploaded(program)
    service.cancel(made["job_id"], "mia")
    path = f"/api/v1/documents/{made['id']}"
    from tests.support.web import csrf_token

    for person, status in ((stranger, 404), (admin, 204)):
        answer = person.client.delete(path, headers={"X-CSRFToken": csrf_token(person.client)})
        assert answer.status_code == status
        assert count(engine, documents) == (1 if person is stranger else 0)


def test_a_person_is_asked_before_a_document_goes(member, stranger, service, engine, program):
    made = uploaded(program, name="plan.txt")
    path = f"/documents/{made['id']}/delete"
    assert f'href="{path}"' in member.get(f"/documents/{made['id']}").get_data(as_text=True)
    question = member.get(path).get_data(as_text=True)
    assert "Delete plan.txt?" in question
    assert "disabled" in question, "its job is not over"
    refused = member.post(path, follow_redirects=True)
    assert "cancel it first" in refused.get_data(as_text=True)
    service.cancel(made["job_id"], "mia")
    assert "disabled" not in member.get(path).get_data(as_text=True)
    assert stranger.get(path).status_code == 404
    assert stranger.post(path).status_code == 404
    assert member.post(path, token=False).status_code == 400
    assert count(engine, documents) == 1
    assert "The document was deleted." in member.post(path, follow_redirects=True).get_data(as_text=True)
    assert count(engine, documents) == 0


def test_the_command_prunes_and_says_what_went(docqueue, engine, settings, service):
    ended_item(engine, settings, service, days=9)
    printed = docqueue("prune", settings={"RETAIN_COMPLETED_DAYS": "1"}).stdout
    assert json.loads(printed) == {"items": 1, "documents": 0, "artifacts": 0, "bytes_files": 0, "keys": 0}
