"""Tables and chunks of whole documents, as the child hands them out."""

import pytest

from jobs.extraction import Extraction, ReadOptions, Table
from jobs.extraction.completion import complete
from jobs.extraction.reading import Reading, Source
from tests.integration.test_extraction_documents import LIMITS, pdf, read

HTML = b"""<html><body><h2>Prices</h2><table><tr><th>Item</th><th>Price</th></tr>
<tr><td>Tea &amp; cake</td><td>2,50</td></tr></table></body></html>"""
CSV = b'a;b\n"two\nlines";1\n'


@pytest.mark.parametrize(
    ("name", "data", "table"),
    [
        ("a.html", HTML, Table([["Item", "Price"], ["Tea & cake", "2,50"]], title="Prices")),
        ("a.csv", CSV, Table([["a", "b"], ["two\nlines", "1"]])),
        ("a.md", b"| a | b |\n|---|---|\n| 1 | 2 |\n", Table([["a", "b"], ["1", "2"]])),
    ],
)
def test_tables_of_a_document_are_rows_unless_none_are_wanted(tmp_path, name, data, table):
    assert read(tmp_path, name, data).tables == [table]
    assert read(tmp_path, name, data, options=ReadOptions(tables=False)).tables == []


def test_a_table_that_is_too_large_is_told(tmp_path):
    found = read(tmp_path, "a.csv", b"x,y,z,u\n" * 60_000)
    assert len(found.tables[0].rows) == 50_000
    assert found.warnings == ["Only the first 200,000 cells of the tables were kept; the text has the rest."]


def test_chunks_know_their_pages_and_the_markdown_where_they_begin(tmp_path):
    found = read(tmp_path, "a.pdf", pdf(["First page", "", "Third page"]))
    assert [found.text[one.start : one.end] for one in found.chunks] == ["First page\n\nThird page"]
    assert (found.chunks[0].page_first, found.chunks[0].page_last) == (1, 3)
    assert [found.markdown[start:].split("\n")[0] for start in found.markdown_pages] == [
        "First page", "Third page", "Third page",
    ]  # fmt: skip


def test_offsets_hold_where_a_text_has_characters_that_no_database_keeps(tmp_path):
    text = "be\x00fore\n\n" + "Some words. " * 200
    source = Source(tmp_path, "a.txt", "text/plain", LIMITS, 0.0, lambda _: None, ReadOptions())
    found = Extraction.from_json(complete(Reading(text, "e", text=text), source).to_json())
    assert found.text.startswith("before")
    assert found.text[found.chunks[0].start :].startswith("before")
    assert all(found.text[one.start : one.end].startswith(("before", "Some")) for one in found.chunks)
    assert found.chunks[-1].end == len(found.text.rstrip())
