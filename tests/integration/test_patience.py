"""No wait for PostgreSQL is without an end, whatever the network does in between."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import psycopg
import pytest
import sqlalchemy as sa

from jobs import database
from jobs import patience as patience_module
from jobs.patience import ANSWERING, WORKING
from tests.support.proxy import FaultyProxy
from tests.support.servers import wait_until

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)

# An answer within this is what a web process promises for a whole request.
PROMISED = 5.0


@pytest.fixture
def proxy(postgres):
    with FaultyProxy(postgres.folder / ".s.PGSQL.5432") as proxy:
        yield proxy


@pytest.fixture
def far_settings(settings, proxy):
    """The same database, seen through the proxy."""
    name = sa.make_url(settings.database_url).database
    url = f"postgresql+psycopg://postgres@127.0.0.1:{proxy.port}/{name}?sslmode=disable"
    return replace(settings, database_url=url)


@pytest.fixture
def make_far_engine(far_settings, monkeypatch):
    # As if some time went by between two requests.
    monkeypatch.setattr(patience_module, "_FRESH_SECONDS", 0.0)
    made = []

    def _make(patience=ANSWERING):
        made.append(database.make_engine(far_settings, patience=patience))
        return made[-1]

    yield _make
    for engine in made:
        engine.dispose()


def ask(engine):
    with engine.connect() as connection:
        return connection.execute(sa.select(1)).scalar_one()


def seconds_until_refused(engine):
    began = time.monotonic()
    with pytest.raises(sa.exc.OperationalError):
        ask(engine)
    return time.monotonic() - began


def test_a_kept_connection_that_went_silent_is_given_up_in_time(make_far_engine, proxy):
    engine = make_far_engine()
    assert ask(engine) == 1
    proxy.swallow()
    # The ping, then a new connection.
    assert seconds_until_refused(engine) < PROMISED
    proxy.heal()
    wait_until(lambda: not refuses(engine), 10, "the database is asked again")


def test_whoever_waited_for_a_silent_database_does_not_wait_as_long_again(make_far_engine, proxy):
    """The error page, which asks who is signed in, comes after the request that failed."""
    engine = make_far_engine()
    ask(engine)
    proxy.swallow()
    began = time.monotonic()
    for _ in range(3):
        seconds_until_refused(engine)
    assert time.monotonic() - began < PROMISED


def test_a_silence_amid_a_statement_ends_it(make_far_engine, proxy):
    engine = make_far_engine()
    with engine.connect() as connection:
        connection.execute(sa.select(1))
        proxy.swallow()
        began = time.monotonic()
        with pytest.raises(sa.exc.OperationalError, match="silent"):
            connection.execute(sa.select(2))
        assert time.monotonic() - began < ANSWERING.silence + 1
        assert connection.invalidated


def test_a_connection_whose_server_was_lost_is_replaced_within_the_same_request(make_far_engine, proxy):
    engine = make_far_engine()
    ask(engine)
    proxy.lose_server()
    assert ask(engine) == 1


def test_a_connection_that_was_closed_or_reset_is_replaced_at_once(make_far_engine, proxy):
    engine = make_far_engine()
    ask(engine)
    proxy.lose_clients()
    assert ask(engine) == 1
    proxy.reset_every(600)
    wait_until(lambda: proxy.open_links == 0)
    proxy.heal()
    assert ask(engine) == 1


def test_a_slow_network_is_not_a_silent_one(make_far_engine, proxy):
    engine = make_far_engine()
    ask(engine)
    proxy.slow_down(0.2)
    for _ in range(3):
        assert ask(engine) == 1


def test_a_long_row_of_quick_answers_uses_no_patience_up(make_far_engine, proxy, monkeypatch):
    """A duty that asks for minutes without a pause goes on as long as every answer comes soon."""
    impatient = replace(ANSWERING, silence=0.6)
    engine = make_far_engine(impatient)
    proxy.slow_down(0.1)
    monkeypatch.setattr(patience_module, "_ENOUGH_TO_CONNECT_SECONDS", 0.0)
    with engine.connect() as connection:
        began = time.monotonic()
        while time.monotonic() - began < 3 * impatient.silence:
            connection.execute(sa.select(1))


def test_a_lock_is_waited_for_as_long_as_was_said_and_the_connection_stays(make_far_engine, engine, service):
    far = make_far_engine()
    with engine.begin() as holder:
        holder.exec_driver_sql("LOCK TABLE documents IN ACCESS EXCLUSIVE MODE")
        with far.connect() as connection:
            with pytest.raises(sa.exc.OperationalError) as caught:
                connection.exec_driver_sql("SELECT count(*) FROM documents")
            assert isinstance(caught.value.orig, psycopg.errors.LockNotAvailable)
            assert not connection.invalidated
    assert ask(far) == 1


def test_a_worker_waits_longer_but_not_for_ever(make_far_engine, proxy):
    engine = make_far_engine(replace(WORKING, silence=2.0, connect=1))
    with engine.connect() as connection:
        connection.execute(sa.select(1))
        proxy.swallow()
        for _ in range(2):
            with pytest.raises(sa.exc.SQLAlchemyError):
                connection.execute(sa.select(2))


def test_the_locks_of_a_client_that_was_lost_are_given_back(make_far_engine, engine, proxy):
    """The server is not told that the client is gone; it ends the transaction that nobody goes on with."""
    far = make_far_engine(replace(ANSWERING, idle_transaction=0.5))
    lost = far.connect()
    lost.exec_driver_sql("LOCK TABLE documents IN ACCESS EXCLUSIVE MODE")
    proxy.lose_clients()
    with engine.begin() as connection:
        connection.exec_driver_sql("SET lock_timeout = '20s'")
        connection.exec_driver_sql("SELECT count(*) FROM documents")
    lost.invalidate()
    lost.close()


def test_reading_takes_one_way_to_the_server_and_back(make_far_engine, proxy, monkeypatch):
    monkeypatch.setattr(patience_module, "_FRESH_SECONDS", 60.0)
    engine = make_far_engine()
    ask(engine)
    before = proxy.questions
    with database.reading(engine) as connection:
        connection.execute(sa.select(1))
    assert proxy.questions == before + 1


def test_a_statement_that_may_take_long_is_let(make_far_engine):
    engine = make_far_engine(replace(ANSWERING, statement=0.1))
    with pytest.raises(sa.exc.OperationalError), database.reading(engine) as connection:
        connection.exec_driver_sql("SELECT pg_sleep(1)")
    with database.reading(engine, statement_seconds=30) as connection:
        connection.exec_driver_sql("SELECT pg_sleep(1)")
    # Only there.
    with pytest.raises(sa.exc.OperationalError), database.reading(engine) as connection:
        connection.exec_driver_sql("SELECT pg_sleep(1)")


def test_a_slow_answer_does_not_cost_the_next_request_its_connection(make_far_engine, proxy):
    engine = make_far_engine()
    proxy.slow_down(0.2)
    for _ in range(4):
        assert ask(engine) == 1
        engine.dispose()


def test_threads_have_patience_of_their_own(make_far_engine, proxy):
    engine = make_far_engine()
    ask(engine)
    proxy.swallow()
    seconds_until_refused(engine)
    proxy.heal()
    answers = []
    thread = threading.Thread(target=lambda: answers.append(ask(engine)))
    thread.start()
    thread.join(10)
    assert answers == [1]


def refuses(engine):
    try:
        ask(engine)
    except sa.exc.OperationalError:
        return True
    return False
