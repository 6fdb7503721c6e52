"""Pages of a document: each may fail alone, and each is there as soon as it is read."""

from __future__ import annotations

import sys

import pytest
import sqlalchemy as sa

from jobs import extraction, heartbeat
from jobs.errors import LeaseLost
from jobs.extraction import Limits, attempts
from jobs.extraction.children import PROJECT_ROOT
from jobs.extraction.page_texts import split
from jobs.heartbeat import Heartbeat
from jobs.model import Failed, PartialResult, Status
from jobs.queries import Queries
from jobs.queue_service import DocumentQueueService
from jobs.runner import Runner
from jobs.tables import partial_results
from tests.support.corpus import CORPUS, needs_corpus
from tests.support.files import pdf
from tests.support.items import add_document

TEXTS = [f"This is page number {number} of the document" for number in range(1, 7)]

# The real child and the real reader; only what is done with a page before it is parsed is our own.
_WILD = """
import os, sys, time
sys.path.insert(0, sys.argv[1])
import liteparse
from jobs.extraction import child, ocr
from jobs.extraction.faults import Fault, FaultCode
from jobs.extraction.readers import pdf, pdf_plain
real = liteparse.LiteParse
class Wild(real):
    def __init__(self, **options):
        super().__init__(**options)
        self.pages = options.get("target_pages")
    def parse(self, data):
        number = int(self.pages or 0)
        %s
        return super().parse(data)
liteparse.LiteParse = Wild
def refuse(source):
    raise Fault(FaultCode.UNREADABLE)
if %s:
    pdf_plain.read = refuse
child.main()
"""


def wild(monkeypatch, trouble, *, has_fallback=False):
    """Let children do as a text of Python says with the page ``number``, 0 for several at once."""
    program = (sys.executable, "-I", "-c", _WILD % (trouble, not has_fallback), str(PROJECT_ROOT))
    monkeypatch.setattr(attempts, "CHILD_PROGRAM", program)
    monkeypatch.setattr(attempts, "is_wanted", lambda: False)


def read(tmp_path, monkeypatch, trouble, limits=None, has_fallback=False, **asked):
    path = tmp_path / "stored"
    path.write_bytes(pdf(TEXTS))
    wild(monkeypatch, trouble, has_fallback=has_fallback)
    return extraction.extract(path, filename="a.pdf", limits=limits or Limits(wall_seconds=30), **asked)


def failures(found):
    return [(one.page, one.code) for one in found.failed_pages]


@pytest.mark.parametrize(
    ("trouble", "code"),
    [
        ("number in (0, 3) and os.abort()", "reader_crashed"),
        ("number in (0, 3) and os.kill(os.getpid(), 9)", "reader_crashed"),
        ("number in (0, 3) and [time.sleep(9) for held in [b'x' * (250 << 20)]]", "limit_memory"),
    ],
)
def test_a_page_that_breaks_its_reader_fails_alone(tmp_path, monkeypatch, trouble, code):
    limits = Limits(wall_seconds=30, memory_bytes=230 << 20)
    found = read(tmp_path, monkeypatch, trouble, limits=limits)
    assert failures(found) == [(3, code)]
    assert found.pages == [*TEXTS[:2], "", *TEXTS[3:]]
    assert (found.page_count, found.engine) == (6, "liteparse")
    assert "1 of 6 pages could not be read: 3." in found.warnings
    assert TEXTS[2] not in found.markdown


def test_a_page_that_hangs_is_given_up_in_its_own_time(tmp_path, monkeypatch):
    monkeypatch.setattr(attempts, "_PAGE_SECONDS", 0.5)
    monkeypatch.setattr(attempts, "_PAGE_SHARE", 0.05)
    monkeypatch.setattr(attempts, "_WHOLE_SHARE", 0.1)
    found = read(
        tmp_path, monkeypatch, "number in (0, 2, 5) and time.sleep(60)", limits=Limits(wall_seconds=25)
    )
    assert failures(found) == [(2, "limit_time"), (5, "limit_time")]
    assert found.pages == [TEXTS[0], "", *TEXTS[2:4], "", TEXTS[5]]


def test_a_page_whose_text_cannot_be_had_is_looked_at_instead(tmp_path, monkeypatch):
    found = read(
        tmp_path,
        monkeypatch,
        "if number in (0, 2): raise liteparse.ParseError('page') if number else os.abort()",
    )
    assert failures(found) == []
    assert "page number 2" in found.pages[1]
    assert found.engine == "liteparse+tesserocr"


def test_a_page_that_breaks_the_first_reader_is_left_to_the_next(tmp_path, monkeypatch):
    found = read(tmp_path, monkeypatch, "number in (0, 3) and os.abort()", has_fallback=True)
    assert (found.pages, failures(found)) == (TEXTS, [])
    assert found.engine == "liteparse+pypdf"
    assert found.warnings == ["Read by the fallback reader, perhaps without headings and tables: page 3."]
    assert split(found.markdown, found.page_starts) == TEXTS


def test_of_a_document_that_breaks_one_reader_after_the_other_what_is_there_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(attempts, "_MOST_BROKEN", 3)
    found = read(tmp_path, monkeypatch, "number != 1 and os.abort()")
    assert found.pages[0] == TEXTS[0]
    assert [one.page for one in found.failed_pages] == [2, 3, 4, 5, 6]
    assert found.warnings[0] == "5 of 6 pages could not be read: 2, 3, 4, 5, 6."


def test_a_document_whose_every_page_breaks_its_reader_goes_to_the_next(tmp_path, monkeypatch):
    found = read(tmp_path, monkeypatch, "os.abort()", has_fallback=True)
    assert (found.engine, found.pages) == ("pypdf", TEXTS)
    assert "Read by the fallback reader because the usual one crashed" in found.warnings[-1]


def test_only_the_pages_that_are_asked_for_are_read(tmp_path, monkeypatch):
    found = read(tmp_path, monkeypatch, "assert number in (2, 5)", only=[2, 5])
    assert found.pages == ["", TEXTS[1], "", "", TEXTS[4]]
    assert (found.page_count, failures(found)) == (6, [])


def test_pages_are_there_while_the_others_are_read(tmp_path, monkeypatch):
    seen = []
    found = read(
        tmp_path,
        monkeypatch,
        "os.abort() if number == 0 else time.sleep(0.7)",
        on_pages=lambda texts, page_count: seen.append((sorted(texts), page_count)),
    )
    assert found.pages == TEXTS
    assert seen
    assert all(pages == list(range(1, len(pages) + 1)) and count == 6 for pages, count in seen)


# Behind the queue


@pytest.fixture
def queries(engine):
    return Queries(engine)


@pytest.fixture
def document_id(engine, settings):
    return add_document(engine, settings, content=pdf(TEXTS), filename="a.pdf")


def worked_off(engine, settings, service, document_id, **asked):
    item = service.enqueue(document_id, **asked)
    return Runner(engine, settings, "w").run(item.id)


def test_failed_pages_are_read_again_and_put_in_their_places(
    engine, settings, service, queries, document_id, monkeypatch
):
    wild(monkeypatch, "number in (0, 2, 5) and os.abort()")
    assert worked_off(engine, settings, service, document_id).status is Status.COMPLETED
    first = queries.artifact(document_id, "extract")
    assert [one["page"] for one in first.body["failed_pages"]] == [2, 5]
    assert first.meta["failed_pages"] == 2
    # Page 5 still breaks whoever reads it; the others must not even be touched.
    wild(monkeypatch, "assert number in (2, 5)\n        number == 5 and os.abort()")
    assert (
        worked_off(engine, settings, service, document_id, operation="retry_pages").status is Status.COMPLETED
    )
    second = queries.artifact(document_id, "extract")
    assert second.body["pages"] == [*TEXTS[:4], "", TEXTS[5]]
    assert second.body["failed_pages"] == [{"page": 5, "code": "reader_crashed"}]
    assert second.body["warnings"] == ["1 of 6 pages could not be read: 5."]
    wild(monkeypatch, "assert number == 5")
    worked_off(engine, settings, service, document_id, operation="retry_pages")
    third = queries.artifact(document_id, "extract")
    assert (third.body["pages"], third.body["failed_pages"], third.body["warnings"]) == (TEXTS, [], [])
    assert third.body["text"] == "\n\n".join(TEXTS)
    assert third.body["markdown"].split("\n\n") == [*TEXTS[:5], TEXTS[5] + "\n"]
    assert queries.artifact(document_id, "analyze").created_at >= third.created_at
    # There is nothing left to mend, and nothing is read.
    wild(monkeypatch, "os.abort()")
    worked_off(engine, settings, service, document_id, operation="retry_pages")
    assert queries.artifact(document_id, "extract").id == third.id


def test_pages_that_fail_again_leave_the_result_as_it_was(
    engine, settings, service, queries, document_id, monkeypatch
):
    wild(monkeypatch, "number in (0, 2) and os.abort()")
    worked_off(engine, settings, service, document_id)
    first = queries.artifact(document_id, "extract")
    assert (
        worked_off(engine, settings, service, document_id, operation="retry_pages").status is Status.COMPLETED
    )
    assert queries.artifact(document_id, "extract").body == first.body


def test_the_pages_of_a_long_reading_are_kept_under_its_fence_and_go_with_its_end(
    engine, settings, service, queries, document_id, monkeypatch
):
    wild(monkeypatch, "os.abort() if number == 0 else time.sleep(0.8)")
    seen = []
    kept = DocumentQueueService.keep_partial

    def keep(self, lease, partial):
        kept(self, lease, partial)
        seen.append(queries.partial_result(lease.item.id))

    monkeypatch.setattr(DocumentQueueService, "keep_partial", keep)
    ended = worked_off(engine, settings, service, document_id, operation="extract")
    assert ended.status is Status.COMPLETED
    assert seen[0].page_count == 6
    assert list(seen[-1].texts.values()) == TEXTS[: seen[-1].page]
    assert rows_of(engine) == 0
    pages = [event.data["page"] for event in queries.events(ended.id) if "page" in event.data]
    assert pages == sorted(pages)
    assert pages[-1] > 1


def test_a_short_document_keeps_no_pages_on_its_way(engine, settings, service, document_id, monkeypatch):
    def refuse(*_args):
        raise AssertionError("nobody waits for this one")

    monkeypatch.setattr(DocumentQueueService, "keep_partial", refuse)
    assert worked_off(engine, settings, service, document_id, operation="extract").status is Status.COMPLETED


def test_only_the_holder_of_an_item_keeps_pages_and_what_is_left_behind_is_swept(
    engine, service, queries, document_id
):
    item = service.enqueue(document_id)
    lease = service.claim(item.id, "w")
    service.keep_partial(lease, PartialResult(1, 6, {1: "one"}))
    service.keep_partial(lease, PartialResult(2, 6, {1: "one", 2: "two"}))
    assert queries.partial_result(item.id) == PartialResult(2, 6, {1: "one", 2: "two"})
    assert service.forget_partial_results() == 0
    service.settle(lease, Failed("x", "It broke.", permanent=False))
    assert queries.partial_result(item.id) is None
    with pytest.raises(LeaseLost):
        service.keep_partial(lease, PartialResult(3, 6, {3: "three"}))
    assert (rows_of(engine), service.forget_partial_results(), rows_of(engine)) == (1, 1, 0)


def test_a_cancel_stops_a_long_document_between_its_pages(
    engine, settings, service, queries, document_id, monkeypatch
):
    wild(monkeypatch, "os.abort() if number == 0 else time.sleep(1.5)")
    monkeypatch.setattr(heartbeat, "_LOOK_SECONDS", 0.1)
    item = service.enqueue(document_id, "extract")
    told = Heartbeat.report

    def report(self, progress, page=0, page_count=0):
        if page and not queries.item(item.id, owner=None).cancel_requested_at:
            service.cancel(item.id, "anna")
        told(self, progress, page, page_count)

    monkeypatch.setattr(Heartbeat, "report", report)
    ended = Runner(engine, settings, "w").run(item.id)
    assert ended.status is Status.CANCELLED
    assert ended.page is not None
    assert ended.page < 5
    assert queries.artifact(document_id, "extract") is None


def rows_of(engine):
    with engine.connect() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(partial_results)).scalar_one()


# Large documents


def test_two_thousand_pages_are_read_in_bounded_memory(engine, settings, service, queries):
    texts = [f"Page {number} of a long document with some words" for number in range(2_000)]
    document_id = add_document(engine, settings, content=pdf(texts), filename="long.pdf")
    ended = worked_off(engine, settings, service, document_id)
    assert ended.status is Status.COMPLETED
    found = queries.artifact(document_id, "extract").body
    assert (found["pages"], found["page_count"], found["failed_pages"]) == (texts, 2_000, [])
    assert 0 < found["metadata"]["peak_memory_bytes"] < 400 << 20
    (attempt,) = queries.attempts(ended.id)
    assert attempt.peak_memory_bytes


@needs_corpus
def test_of_twenty_thousand_pages_as_many_as_the_limit_are_read_and_that_is_told():
    path = CORPUS / "nasty" / "made_pdf_20000_pages.pdf"
    found = extraction.extract(path, filename=path.name, limits=Limits(max_pages=3_000))
    assert found.page_count == 20_000
    assert len(found.pages) == 3_000
    assert "Only the first 3,000 of 20,000 pages were read." in found.warnings
    assert found.metadata["peak_memory_bytes"] < 600 << 20
