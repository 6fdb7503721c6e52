"""A request that is sent twice under one Idempotency-Key acts once, whatever happens in between."""

from __future__ import annotations

import os
import re
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import sqlalchemy as sa

from jobs import accounts
from jobs.database import Clock, make_engine
from jobs.errors import KeyInFlight, KeyReused
from jobs.idempotency import Answer, IdempotencyKeys, Turn
from jobs.model import Completed
from jobs.tables import documents, idempotency_keys, queue_items
from tests.support.items import add_document
from tests.support.servers import wait_until
from tests.support.web import claimed, upload, uploaded
from tests.support.web_program import web_program

FINGERPRINT, OTHER = "f" * 64, "0" * 64
ANSWER = Answer(202, {"Location": "/there"}, {"b": 1, "a": [None, 1.5, "ü"]})
REPLAYED = "Idempotency-Replayed"


@pytest.fixture
def keys(engine, settings):
    return IdempotencyKeys(engine, settings)


@pytest.fixture
def owner(engine):
    return accounts.ensure_admin(engine).id


def sent(client, key="k", *files, **fields):
    """Upload under a key."""
    client.environ_base["HTTP_IDEMPOTENCY_KEY"] = key
    try:
        return upload(client, *(files or [("a.txt", b"Some text.")]), **fields)
    finally:
        del client.environ_base["HTTP_IDEMPOTENCY_KEY"]


def amount(engine, table=documents):
    with engine.connect() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()


def move_back(engine, column, seconds):
    """Let time pass for the keys."""
    with engine.begin() as connection:
        connection.execute(
            sa.update(idempotency_keys).values({column: Clock(engine.dialect.name).after(-seconds)})
        )


def answered(engine, keys, turn, answer=ANSWER):
    with engine.begin() as connection:
        keys.answer_in(connection, turn, answer)


def waits_for_a_lock(engine):
    """Tell whether somebody waits for a lock; on a connection of its own, which sees the present."""
    statement = sa.text(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    with engine.connect() as connection:
        return connection.execute(statement).scalar_one() > 0


def at_once(count, step):
    """Call a step from several threads that begin together; return what each came to."""
    barrier = threading.Barrier(count)

    def run(number):
        barrier.wait(30)
        try:
            return step(number)
        except KeyInFlight as error:
            return error

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


# The table of keys.


def test_one_of_many_takes_the_turn(keys, owner):
    for round_ in range(5):
        found = at_once(8, lambda _, key=f"k{round_}": keys.begin(owner, key, FINGERPRINT))
        assert [type(one) for one in found].count(Turn) == 1
        assert [type(one) for one in found].count(KeyInFlight) == 7


def test_one_of_many_takes_over_from_a_request_that_died(engine, keys, owner):
    dead = keys.begin(owner, "k", FINGERPRINT)
    with pytest.raises(KeyInFlight):
        keys.begin(owner, "k", FINGERPRINT)
    move_back(engine, "locked_until", 0)
    found = at_once(8, lambda _: keys.begin(owner, "k", FINGERPRINT))
    (turn,) = [one for one in found if isinstance(one, Turn)]
    assert turn.token != dead.token
    # It was not dead, only slow: what it did is taken back.
    with pytest.raises(KeyInFlight), engine.begin() as connection:
        connection.execute(sa.delete(idempotency_keys))
        keys.answer_in(connection, dead, Answer(202, {}, {"from": "the slow one"}))
    keys._give_back(dead)
    answered(engine, keys, turn)
    assert keys.begin(owner, "k", FINGERPRINT) == ANSWER


def test_of_two_that_take_over_the_one_that_waited_finds_the_turn_taken(engine, settings, keys, owner):
    keys.begin(owner, "k", FINGERPRINT)
    move_back(engine, "locked_until", 0)
    other = make_engine(settings)
    holding, go = threading.Event(), threading.Event()

    @sa.event.listens_for(other, "commit")
    def _hold(_connection):
        holding.set()
        assert go.wait(30)

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(IdempotencyKeys(other, settings).begin, owner, "k", FINGERPRINT)
        assert holding.wait(30)
        second = pool.submit(keys.begin, owner, "k", FINGERPRINT)
        if engine.dialect.name == "postgresql":
            wait_until(lambda: waits_for_a_lock(engine), what="the second waits for the row")
        go.set()
        assert isinstance(first.result(30), Turn)
        with pytest.raises(KeyInFlight):
            second.result(30)
    other.dispose()


def test_an_answer_that_comes_while_somebody_takes_over_wins(engine, keys, owner):
    slow = keys.begin(owner, "k", FINGERPRINT)
    move_back(engine, "locked_until", 0)
    with ThreadPoolExecutor(1) as pool:
        with engine.begin() as connection:
            keys.answer_in(connection, slow, ANSWER)
            second = pool.submit(keys.begin, owner, "k", FINGERPRINT)
            # It waits for the row, or on SQLite for the only write transaction.
            if engine.dialect.name == "postgresql":
                wait_until(lambda: waits_for_a_lock(engine), what="the second waits")
            assert not second.done()
        try:
            assert second.result(30) == ANSWER
        except KeyInFlight:
            assert keys.begin(owner, "k", FINGERPRINT) == ANSWER


def test_an_answer_is_kept_for_its_time_and_then_forgotten(engine, settings, owner):
    keys = IdempotencyKeys(engine, replace(settings, idempotency_hours=24.0))
    answered(engine, keys, keys.begin(owner, "k", FINGERPRINT))
    move_back(engine, "created_at", 23.9 * 3600)
    assert keys.begin(owner, "k", FINGERPRINT) == ANSWER
    with pytest.raises(KeyReused):
        keys.begin(owner, "k", OTHER)
    move_back(engine, "created_at", 24.1 * 3600)
    again = keys.begin(owner, "k", OTHER)
    assert isinstance(again, Turn)
    with pytest.raises(KeyInFlight):
        keys.begin(owner, "k", OTHER)
    answered(engine, keys, again, Answer(202, {}, {"second": True}))
    assert keys.begin(owner, "k", OTHER).body == {"second": True}


def test_no_answer_is_kept_for_no_time_but_one_is_still_made_at_a_time(engine, settings, owner):
    keys = IdempotencyKeys(engine, replace(settings, idempotency_hours=0.0))
    turn = keys.begin(owner, "k", FINGERPRINT)
    with pytest.raises(KeyInFlight):
        keys.begin(owner, "k", FINGERPRINT)
    answered(engine, keys, turn)
    assert isinstance(keys.begin(owner, "k", FINGERPRINT), Turn)


def test_a_turn_is_given_back_by_what_raises_unless_the_database_may_have_committed(engine, keys, owner):
    with pytest.raises(RuntimeError), keys.held(keys.begin(owner, "k", FINGERPRINT)):
        raise RuntimeError
    turn = keys.begin(owner, "k", FINGERPRINT)
    lost = sa.exc.OperationalError("COMMIT", None, Exception("the connection broke"))
    with pytest.raises(sa.exc.OperationalError), keys.held(turn):
        raise lost
    with pytest.raises(KeyInFlight):
        keys.begin(owner, "k", FINGERPRINT)
    answered(engine, keys, turn)
    with pytest.raises(RuntimeError), keys.held(turn):
        raise RuntimeError
    assert keys.begin(owner, "k", FINGERPRINT) == ANSWER


# Uploading under a key.


def test_a_repeat_is_answered_exactly_as_the_first_time(program, engine, service, app):
    files = [("a.txt", b"One."), ("b.txt", b"Two."), ("empty.txt", b"")]
    first = sent(program, "k", *files)
    assert first.status_code == 202
    assert REPLAYED not in first.headers
    # What it tells of has gone on since.
    service.settle(claimed(service, first.json["documents"][0]["job_id"]), Completed())
    bells = app.extensions["docqueue"].delivery.queue_length()
    second = sent(program, "k", *files)
    assert second.headers[REPLAYED] == "true"
    assert (second.status_code, second.data) == (first.status_code, first.data)
    for name in ("Location", "Retry-After", "Content-Type"):
        assert second.headers[name] == first.headers[name]
    assert amount(engine) == amount(engine, queue_items) == 2
    assert app.extensions["docqueue"].delivery.queue_length() == bells


@pytest.mark.parametrize(
    ("files", "fields"),
    [
        ([("a.txt", b"Other text.")], {}),
        ([("b.txt", b"Some text.")], {}),
        ([("a.txt", b"Some text."), ("b.txt", b"More.")], {}),
        ([("a.txt", b"Some text.")], {"priority": "1"}),
        ([("a.txt", b"Some text.")], {"path": "/api/v1/documents?priority=1"}),
    ],
    ids=["bytes", "name", "one more", "field", "query"],
)
def test_a_key_is_for_one_request_only(program, engine, files, fields):
    sent(program, "k", ("a.txt", b"Some text."))
    other = sent(program, "k", *files, **fields)
    assert (other.status_code, other.json["code"]) == (422, "idempotency_key_reused")
    assert other.content_type == "application/problem+json"
    assert amount(engine) == 1
    assert sent(program, "another", *files, **fields).status_code == 202


def test_another_users_key_is_unrelated(program, stranger, engine):
    mine = sent(program, "k")
    theirs_headers = {
        "Authorization": f"Bearer {accounts.create_api_key(engine, stranger.user.id, 't')}",
        "Idempotency-Key": "k",
    }
    theirs = stranger.client.application.test_client()
    theirs.environ_base["HTTP_AUTHORIZATION"] = theirs_headers["Authorization"]
    answer = sent(theirs, "k")
    assert answer.status_code == 202
    assert REPLAYED not in answer.headers
    assert answer.json["documents"][0]["id"] != mine.json["documents"][0]["id"]
    assert sent(theirs, "k", ("else.txt", b"Else.")).status_code == 422


@pytest.mark.parametrize("key", ["", "with space", "x" * 256, "umlaut-\xfc", "tab\t-"])
def test_what_is_no_key_is_refused(program, engine, key):
    answer = sent(program, key)
    assert (answer.status_code, answer.json["code"]) == (400, "bad_request")
    assert amount(engine) == amount(engine, idempotency_keys) == 0


def test_the_longest_key_is_a_key(program, engine):
    key = "".join(chr(33 + number % 94) for number in range(255))
    sent(program, key)
    assert sent(program, key).headers[REPLAYED] == "true"
    assert amount(engine) == 1


def test_a_refusal_changes_nothing_and_frees_the_key(program, engine):
    for wrong in ({"operation": "explode"}, {"priority": "9999"}, {"queue": "nowhere"}):
        assert sent(program, "k", **wrong).status_code == 400
        assert amount(engine, idempotency_keys) == 0
    assert sent(program, "k", ("empty.txt", b"")).status_code == 400
    corrected = sent(program, "k")
    assert corrected.status_code == 202
    assert REPLAYED not in corrected.headers
    assert amount(engine) == 1


def test_while_the_first_is_answered_a_repeat_is_told_to_wait(app, program, key_headers, engine, settings):
    store = app.extensions["docqueue"].blobs.store_all
    storing, go = threading.Event(), threading.Event()

    def slow(spools):
        storing.set()
        assert go.wait(30)
        return store(spools)

    app.extensions["docqueue"].intake._blobs.store_all = slow
    first = app.test_client()
    first.environ_base["HTTP_AUTHORIZATION"] = key_headers["Authorization"]
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(sent, first)
        assert storing.wait(30)
        repeat = sent(program)
        assert (repeat.status_code, repeat.json["code"]) == (409, "idempotency_key_in_flight")
        assert int(repeat.headers["Retry-After"]) >= 1
        assert sent(program, "k", ("a.txt", b"Other.")).json["code"] == "idempotency_key_reused"
        go.set()
        assert answer.result(30).status_code == 202
    assert sent(program).data == answer.result().data
    assert amount(engine) == 1
    assert list((settings.data_dir / "spool").iterdir()) == []


def test_the_same_request_many_times_at_once_makes_one_document(app, key_headers, engine):
    def send(_):
        client = app.test_client()
        client.environ_base["HTTP_AUTHORIZATION"] = key_headers["Authorization"]
        return sent(client)

    answers = at_once(8, send)
    assert {answer.status_code for answer in answers} <= {202, 409}
    accepted = [answer.data for answer in answers if answer.status_code == 202]
    assert len(set(accepted)) == 1
    assert amount(engine) == amount(engine, queue_items) == 1
    assert send(0).data == accepted[0]


def test_a_request_that_lost_its_turn_leaves_nothing(app, program, engine):
    """It was so slow that a repeat did the work: of the two, one document."""
    service = app.extensions["docqueue"].intake._service
    enqueue_many_in = service.enqueue_many_in

    def overtaken(connection, *arguments, **options):
        service.enqueue_many_in = enqueue_many_in
        # The repeat is under way: its turn is committed; only its work waits for this transaction.
        connection.execute(sa.update(idempotency_keys).values(token="t" * 32))
        return enqueue_many_in(connection, *arguments, **options)

    service.enqueue_many_in = overtaken
    answer = sent(program)
    assert (answer.status_code, answer.json["code"]) == (409, "idempotency_key_in_flight")
    assert amount(engine) == amount(engine, queue_items) == 0


# Reprocessing under a key.


def test_reprocess_is_done_once_and_answered_twice(program, engine, member, settings):
    document = add_document(engine, settings, owner_id=member.user.id)
    url = f"/api/v1/documents/{document}/reprocess"
    headers = {"Idempotency-Key": "k"}
    first = program.post(url, json={"priority": 3, "operation": "extract"}, headers=headers)
    assert first.status_code == 202
    # The members say the same in any order.
    second = program.post(url, json={"operation": "extract", "priority": 3}, headers=headers)
    assert second.headers[REPLAYED] == "true"
    assert (second.status_code, second.data) == (202, first.data)
    for name in ("Location", "Retry-After"):
        assert second.headers[name] == first.headers[name]
    assert amount(engine, queue_items) == 1
    assert program.post(url, json={"priority": 4}, headers=headers).status_code == 422
    elsewhere = f"/api/v1/documents/{add_document(engine, settings, owner_id=member.user.id)}/reprocess"
    assert program.post(elsewhere, json={"priority": 3}, headers=headers).status_code == 422
    # Without the key, and under another, it is another request.
    assert program.post(url, json={"operation": "extract"}).json["code"] == "already_queued"
    other = {"Idempotency-Key": "k2"}
    assert program.post(url, json={"operation": "extract"}, headers=other).status_code == 409
    assert program.post(url, json={"operation": "analyze"}, headers=other).status_code == 202


def test_reprocessing_many_times_at_once_makes_one_job(app, key_headers, engine, member, settings):
    url = f"/api/v1/documents/{add_document(engine, settings, owner_id=member.user.id)}/reprocess"

    def send(_):
        return app.test_client().post(url, json={}, headers={**key_headers, "Idempotency-Key": "k"})

    answers = at_once(8, send)
    assert {answer.status_code for answer in answers} <= {202, 409}
    assert len({answer.data for answer in answers if answer.status_code == 202}) == 1
    assert amount(engine, queue_items) == 1


# Dying in the middle.


@pytest.fixture
def api_key(engine, owner):
    return accounts.create_api_key(engine, owner, "t")


UPLOAD = {"upload": 100, "seed": "a", "key": "k"}


def test_a_process_that_dies_before_the_commit_leaves_the_key_to_a_repeat(environ, engine, api_key):
    with web_program(environ, api_key) as web:
        web.ask(die="before_commit")
        assert web.ask(**UPLOAD) is None
    assert amount(engine) == amount(engine, queue_items) == 0
    assert amount(engine, idempotency_keys) == 1
    with web_program(environ, api_key) as web:
        early = web.ask(**UPLOAD)
        assert (early["status"], early["body"]["code"]) == (409, "idempotency_key_in_flight")
        assert "Retry-After" in early["headers"]
        move_back(engine, "locked_until", 0)
        late = web.ask(**UPLOAD)
        assert late["status"] == 202
        assert REPLAYED not in late["headers"]
        assert web.ask(**UPLOAD)["body"] == late["body"]
    assert amount(engine) == amount(engine, queue_items) == 1


def test_a_process_that_dies_before_it_answers_is_answered_for(environ, engine, api_key):
    with web_program(environ, api_key) as web:
        web.ask(die="after_commit")
        assert web.ask(**UPLOAD) is None
    assert amount(engine) == amount(engine, queue_items) == 1
    with web_program(environ, api_key) as web:
        repeat = web.ask(**UPLOAD)
        assert (repeat["status"], repeat["headers"][REPLAYED]) == (202, "true")
        with engine.connect() as connection:
            known = connection.execute(sa.select(documents.c.id)).scalar_one()
        assert [one["id"] for one in repeat["body"]["documents"]] == [known]
    assert amount(engine) == 1


# The order.


def test_bytes_then_rows_and_answer_together_then_the_bell_then_the_answer(app, program, engine, monkeypatch):
    steps = []
    web_engine = app.extensions["docqueue"].queries._engine
    written = set()
    of_interest = {"documents", "queue_items", "events", "idempotency_keys"}

    def fsync(handle, original=os.fsync):
        original(handle)
        steps.append("fsync folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "fsync file")

    def rename(source, target, original=os.rename):
        original(source, target)
        steps.append("rename")

    @sa.event.listens_for(web_engine, "before_cursor_execute")
    def _statement(_connection, _cursor, statement, *_):
        written.update(re.findall(r"\b(?:INSERT INTO|UPDATE) (?!api_keys\b)(\w+)", statement))

    def commit(connection, original=web_engine.dialect.do_commit):
        original(connection)
        if written:
            steps.append("commit " + " ".join(sorted(written & of_interest)))
            written.clear()

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", rename)
    monkeypatch.setattr(web_engine.dialect, "do_commit", commit)
    delivery = app.extensions["docqueue"].intake._delivery
    monkeypatch.setattr(delivery, "announce", lambda _: steps.append("bell"))

    def wsgi(environ, start_response, original=app.wsgi_app):
        def start(status, headers, exc_info=None):
            steps.append(f"answer {status[:3]}")
            return start_response(status, headers, exc_info)

        return original(environ, start)

    monkeypatch.setattr(app, "wsgi_app", wsgi)
    assert sent(program).status_code == 202
    assert steps == [
        "commit idempotency_keys",
        "fsync file", "rename", "fsync folder", "fsync folder",
        "commit documents events idempotency_keys queue_items",
        "bell",
        "answer 202",
    ]  # fmt: skip
    steps.clear()
    assert sent(program).status_code == 202
    assert [step for step in steps if not step.startswith("commit")] == ["answer 202"]


def test_without_a_key_nothing_is_kept(program, engine):
    uploaded(program)
    uploaded(program)
    assert amount(engine) == 2
    assert amount(engine, idempotency_keys) == 0
