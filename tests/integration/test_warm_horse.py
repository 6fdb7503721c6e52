"""The horse that stays has the engines loaded before a document comes, and works without them as well."""

from __future__ import annotations

import contextlib
import sys
import threading
from pathlib import Path

import pytest
import structlog

from jobs import warm_horse
from jobs.extraction import children, warm
from jobs.horse_link import IDLE, SETTLED, HorseLink
from jobs.warm_horse import WarmHorse
from tests.support.items import add_document, raw_item
from tests.support.servers import wait_until

pytestmark = [
    pytest.mark.parametrize("database_url", ["sqlite"], indirect=True),
    pytest.mark.skipif(sys.platform != "linux", reason="the fork server is for Linux only"),
]

ENGINES = ("xberg", "_liteparse", "libpdfium", "tesserocr", "_imaging", "fasttext")


@pytest.fixture
def horse(settings, engine):
    """A horse in a thread of this process; what it is given is the worker's end of the link."""
    del engine
    warm.stop()
    link = HorseLink()
    living = threading.Thread(target=WarmHorse(settings, "w-1", "documents", link).run, name="horse")
    living.start()
    yield link
    link.close()
    living.join(20)
    assert not living.is_alive()
    link.close_horses_end()
    warm.stop()


@pytest.fixture
def cold_starts(monkeypatch):
    """Counts the children that are started as programs."""
    counted = []

    class Counted(children.ColdChild):
        def __init__(self, *arguments):
            counted.append(arguments)
            super().__init__(*arguments)

    monkeypatch.setattr("jobs.extraction.cage.ColdChild", Counted)
    return counted


def work_off(link, engine, settings, service, count):
    """Let the horse extract so many documents."""
    items = [
        service.enqueue(add_document(engine, settings, b"Some words, %d." % number), "extract")
        for number in range(count)
    ]
    link.share = count
    assert link.ring()
    said = []
    wait_until(lambda: said.extend(link.wait(0.1) or []) or any(one.word == IDLE for one in said))
    assert sum(len(one.job_ids) for one in said if one.word == SETTLED) == count
    assert {raw_item(engine, item.id)["status"] for item in items} == {"completed"}


def mapped(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/maps").read_text()
    return ""


def test_the_engines_are_loaded_before_the_first_document_and_read_it(
    horse, engine, settings, service, cold_starts
):
    wait_until(lambda: warm._owner._current is not None, what="a fork server")
    server = warm._owner._current
    wait_until(lambda: all(name in mapped(server.pid) for name in ENGINES), what="the engines")
    assert server.fork_count == 1  # that it is there was asked; nothing was read
    work_off(horse, engine, settings, service, 3)
    assert warm._owner._current is server
    assert server.fork_count == 1 + 3
    assert cold_starts == []


@pytest.fixture
def no_fork_server(monkeypatch):
    monkeypatch.setattr(warm, "PROGRAM", ("/nonexistent/program",))
    with structlog.testing.capture_logs() as logs:
        yield logs


def test_a_horse_whose_engines_cannot_be_loaded_says_so_and_reads_all_the_same(
    no_fork_server, horse, engine, settings, service, cold_starts
):
    work_off(horse, engine, settings, service, 3)
    assert "engines_not_loaded" in {line["event"] for line in no_fork_server}
    assert len(cold_starts) == 3


@pytest.fixture(params=[("_MOST_SECONDS", 0.0), ("_MOST_GROWTH_BYTES", -1)], ids=["age", "growth"])
def worn_out(request, monkeypatch):
    monkeypatch.setattr(warm_horse, *request.param)


def test_a_horse_that_is_old_or_has_grown_finishes_its_batch_and_ends(
    worn_out, horse, engine, settings, service
):
    work_off(horse, engine, settings, service, 1)
    wait_until(lambda: "horse" not in {thread.name for thread in threading.enumerate()})


def test_a_horse_that_is_neither_stays(horse, engine, settings, service):
    work_off(horse, engine, settings, service, 2)
    work_off(horse, engine, settings, service, 2)
    assert "horse" in {thread.name for thread in threading.enumerate()}
