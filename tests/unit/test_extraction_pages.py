"""A document as its pages: joined, taken apart, mended; and what a child may tell of them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.extraction import Extraction, Limits, Table
from jobs.extraction.harvest import Harvest
from jobs.extraction.page_log import PAGES_NAME
from jobs.extraction.page_texts import failure_sentence, join, merge, split
from jobs.extraction.progress import Progress
from jobs.extraction.result import FailedPage
from jobs.extraction.resume import Resume

TEXT = st.text("ab# \n", max_size=12)


@given(st.lists(TEXT, max_size=8))
def test_what_is_joined_is_taken_apart_again(texts):
    markdown, starts = join(texts)
    assert split(markdown, starts) == [text.strip() for text in texts]


def extraction(texts, failed=(), **known):
    markdown, starts = join(texts)
    failed = [FailedPage(page, "reader_crashed") for page in failed]
    warnings = [failure_sentence(failed, len(texts))] if failed else []
    plain = {
        "text": "\n\n".join(text for text in texts if text), "markdown": markdown, "title": None,
        "page_count": len(texts), "language": None, "metadata": {}, "media_type": "application/pdf",
        "engine": "liteparse", "engine_version": "1", "warnings": warnings, "pages": list(texts),
        "page_starts": starts, "failed_pages": failed,
    }  # fmt: skip
    return Extraction(**{**plain, **known})


@given(st.lists(st.text("xyz", min_size=1, max_size=5), min_size=1, max_size=8), st.data())
def test_a_document_that_is_mended_is_as_if_nothing_had_failed(texts, data):
    pages = range(1, len(texts) + 1)
    failed = sorted(data.draw(st.sets(st.sampled_from(pages))))
    again = sorted(data.draw(st.sets(st.sampled_from(failed)))) if failed else []
    base = extraction(["" if page in failed else texts[page - 1] for page in pages], failed)
    more = extraction([texts[page - 1] if page in set(failed) - set(again) else "" for page in pages], again)
    wanted = extraction(["" if page in again else texts[page - 1] for page in pages], again)
    found = merge(base, more, failed)
    assert (found.text, found.markdown, found.pages) == (wanted.text, wanted.markdown, wanted.pages)
    assert (found.page_starts, found.failed_pages) == (wanted.page_starts, wanted.failed_pages)
    assert found.warnings == wanted.warnings


def test_what_is_known_is_kept_and_what_was_missing_is_added():
    base = extraction(["a", ""], [2], language="en", metadata={"author": "A"}, tables=[Table([["1"]], 1)])
    more = extraction(["", "b c"], engine="pypdf", language="de", title="T", tables=[Table([["2"]], 2)])
    found = merge(base, more, [2])
    assert (found.language, found.title, found.engine) == ("en", "T", "liteparse+pypdf")
    assert found.metadata == {"author": "A", "char_count": 6, "word_count": 3}
    assert [table.page for table in found.tables] == [1, 2]


def test_failed_pages_are_told_in_words():
    def sentence(pages, page_count):
        return failure_sentence([FailedPage(page, "x") for page in pages], page_count)

    assert sentence([4, 17, 18], 48) == "3 of 48 pages could not be read: 4, 17, 18."
    assert sentence([4], None) == "1 page could not be read: 4."
    assert sentence(range(1, 31), 2_000).endswith("19, 20 and 10 more.")


@pytest.mark.parametrize(
    "value",
    [{"page": 0, "code": "x"}, {"page": "1", "code": "x"}, {"page": 1, "code": "<b>"}, {"page": 1}, None, []],
)
def test_a_failed_page_that_cannot_be_is_refused(value):
    with pytest.raises(ValueError, match=r"failed page|count"):
        FailedPage.from_json(value)


@pytest.mark.parametrize("starts", [[0], [3, 0], [0, 99], [-1, 0], [0, "1"], "no", None])
def test_places_of_pages_that_cannot_be_are_dropped(starts):
    told = extraction(["a", "b"]).to_json() | {"page_starts": starts}
    if isinstance(starts, list):
        assert Extraction.from_json(told).page_starts == []
    else:
        with pytest.raises(ValueError, match="page_starts"):
            Extraction.from_json(told)


def test_an_extraction_survives_its_own_json():
    whole = extraction(["a", "", "c"], [2], tables=[Table([["1"]], 1)])
    assert Extraction.from_json(json.loads(json.dumps(whole.to_json()))) == whole
    resume = Resume({1: "a"}, {2: "limit_time"}, careful=True, finish="x", only=frozenset({3}))
    assert Resume.from_json(json.loads(json.dumps(resume.to_json()))) == resume


def test_a_progress_line_is_read_back_and_a_bare_share_as_well():
    at = Progress(0.25, 12, 48, 13)
    assert Progress.from_line(at.to_line()) == at
    assert Progress.from_line(b"0.5") == Progress(0.5)
    for line in (b"", b"x", b"nan", b"2", b"0.5 1", b"0.5 5 4 0", b"0.5 0 4 -1", b"0.5 0 9999999 0"):
        with pytest.raises(ValueError, match=r"\w"):
            Progress.from_line(line)


def test_pages_from_a_child_are_checked_bounded_and_taken_once(tmp_path):
    told = []
    harvest = Harvest(Limits(max_pages=9, result_bytes=400), lambda texts, count: told.append(dict(texts)))
    path = tmp_path / PAGES_NAME
    wrong = (
        "x",
        "[1]",
        "[0, 'a']",
        '[99, "a"]',
        '[true, "a"]',
        '{"a": 1}',
        "[1, 2]",
        '["1", "a"]',
        "[" * 50,
        "1",
        "null",
        '"ab"',
    )
    path.write_text("\n".join([*wrong, '[2, "two"]', '[3, "thr']))
    harvest.collect(tmp_path)
    harvest.collect(tmp_path)
    assert told == [{2: "two"}]
    with path.open("a") as file:
        file.write('ee"]\n[4, "' + "x" * 500 + '"]\n')
    harvest.collect(tmp_path)
    assert harvest.texts == {2: "two", 3: "three"}
    path.unlink()
    path.symlink_to("/etc/passwd")
    harvest.begin()
    harvest.collect(tmp_path)
    assert len(harvest.texts) == 2
