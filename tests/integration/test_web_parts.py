"""Tables, chunks and pictures of pages, as the API hands them out and the page shows them."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace

import pytest
from sqlalchemy import select

from jobs.blobs import BlobStore
from jobs.model import Status
from jobs.retention import prune
from jobs.runner import Runner
from jobs.tables import page_images
from tests.integration.test_extraction_documents import pdf
from tests.support.web import uploaded


def ran(engine, settings, job_id):
    # A busy machine may keep a process waiting for longer than the short lease of these tests.
    return Runner(engine, replace(settings, lease_seconds=60), "w-1").run(job_id)


@pytest.fixture
def read(program, engine, settings):
    """Upload a file and let a worker read it; returns the document's path in the API."""

    def upload_and_read(name, content):
        document = uploaded(program, name, content)
        assert ran(engine, settings, document["job_id"]).status is Status.COMPLETED
        return f"/api/v1/documents/{document['id']}"

    return upload_and_read


CSV = b"Item,Price\nTea,-2.50\n=1+1,3\n"


def test_tables_come_as_json_csv_and_xlsx(program, read):
    path = read("prices.csv", CSV)
    (table,) = program.get(f"{path}/tables").json["tables"]
    assert table["rows"] == [["Item", "Price"], ["Tea", "-2.50"], ["=1+1", "3"]]
    assert (table["number"], table["row_count"], table["column_count"]) == (1, 3, 2)
    answer = program.get(table["links"]["csv"], query_string={"download": 1})
    assert list(csv.reader(io.StringIO(answer.text, newline=""))) == [
        ["Item", "Price"],
        ["Tea", "-2.50"],
        ["'=1+1", "3"],
    ]
    assert "prices.table-1.csv" in answer.headers["Content-Disposition"]
    assert answer.headers["Content-Security-Policy"].startswith("sandbox")
    assert program.get(f"{path}/tables.xlsx").data.startswith(b"PK")
    assert program.get(f"{path}/tables.json").json == [{"rows": table["rows"], "page": None, "title": None}]
    assert program.get(f"{path}/tables/2.csv").status_code == 404


def test_a_document_without_tables_says_so(program, read):
    path = read("note.txt", b"No table here.")
    assert program.get(f"{path}/tables").json == {
        "tables": [],
        "detail": "No tables were found in this document.",
    }
    assert program.get(f"{path}/tables/1.csv").json["detail"] == "No tables were found in this document."


def test_chunks_come_in_pages_and_as_lines_and_are_the_text(program, read):
    path = read("long.md", b"".join(b"# Part %d\n\n%s\n\n" % (n, b"Words are here. " * 50) for n in range(5)))
    text = program.get(f"{path}/text").text
    first = program.get(f"{path}/chunks", query_string={"limit": 2}).json
    assert (first["chunk_count"], len(first["chunks"])) == (5, 2)
    found, answer = list(first["chunks"]), first
    while "next" in answer:
        answer = program.get(answer["next"]).json
        found += answer["chunks"]
    assert [chunk["index"] for chunk in found] == list(range(5))
    assert all(text[chunk["start"] : chunk["end"]] == chunk["text"] for chunk in found)
    assert [chunk["headings"] for chunk in found] == [[f"Part {n}"] for n in range(5)]
    lines = program.get(f"{path}/chunks", query_string={"format": "jsonl"}).text.splitlines()
    assert [json.loads(line) for line in lines] == found
    assert program.get(f"{path}/chunks?format=xml").status_code == 400
    assert program.get(f"{path}/chunks?limit=x").status_code == 400


def test_parts_that_are_not_there_yet_name_the_job(program):
    document = uploaded(program)
    for part in ("tables", "tables.json", "tables.xlsx", "tables/1.csv", "chunks"):
        answer = program.get(f"/api/v1/documents/{document['id']}/{part}")
        assert (answer.status_code, answer.json["code"], answer.json["job_id"]) == (
            404,
            "not_ready",
            document["job_id"],
        )


def test_a_page_is_drawn_when_it_is_asked_for(program, member, read, engine, settings):
    path = read("two.pdf", pdf(["Hello", "World"]))
    answer = program.get(f"{path}/pages/2/image?size=thumbnail")
    assert (answer.status_code, answer.json["code"]) == (404, "not_ready")
    assert answer.headers["Retry-After"]
    assert program.get(f"{path}/pages/1/image").json["job_id"] == answer.json["job_id"]
    assert ran(engine, settings, answer.json["job_id"]).status is Status.COMPLETED
    found = {size: program.get(f"{path}/pages/2/image?size={size}") for size in ("thumbnail", "reading")}
    for shown in found.values():
        assert (shown.status_code, shown.content_type) == (200, "image/webp")
        assert shown.headers["Cache-Control"] == "private, max-age=86400"
        assert shown.headers["X-Content-Type-Options"] == "nosniff"
        assert shown.headers["Content-Security-Policy"].startswith("sandbox")
    assert len(found["thumbnail"].data) < len(found["reading"].data)
    tag = found["reading"].headers["ETag"]
    assert program.get(f"{path}/pages/2/image", headers={"If-None-Match": tag}).status_code == 304
    assert program.get(f"{path}/pages/3/image").json["code"] == "no_image"
    assert program.get(f"{path}/pages/1/image?size=huge").status_code == 400


def test_pictures_are_only_for_who_may_see_the_document(program, stranger, read, engine, settings):
    path = read("one.pdf", pdf(["Hello"]))
    ran(engine, settings, program.get(f"{path}/pages/1/image").json["job_id"])
    answer = stranger.get(f"{path}/pages/1/image")
    assert (answer.status_code, answer.headers["Cache-Control"]) == (404, "no-store")
    assert "not_ready" not in answer.text


def test_kinds_without_pages_and_pages_that_cannot_be_drawn_tell_why(program, read, engine, settings):
    path = read("note.txt", b"words")
    answer = program.get(f"{path}/pages/1/image")
    assert (answer.status_code, answer.json["code"]) == (404, "no_image")
    broken = uploaded(program, "broken.pdf", b"%PDF-1.4\nnothing")
    path = f"/api/v1/documents/{broken['id']}"
    assert ran(engine, settings, program.get(f"{path}/pages/1/image").json["job_id"]).status is Status.FAILED
    answer = program.get(f"{path}/pages/1/image")
    assert answer.json["code"] == "no_image"
    assert "damaged" in answer.json["detail"]


def test_drawing_never_stands_for_its_document(program, member, read, engine, settings, service):
    path = read("one.pdf", pdf(["Hello"]))
    job = program.get(path).json["job"]["id"]
    drawing = program.get(f"{path}/pages/1/image").json["job_id"]
    assert program.get(path).json["job"]["id"] == job
    (row,) = program.get("/api/v1/documents").json["documents"]
    assert row["job"]["id"] == job
    ran(engine, settings, drawing)
    with engine.begin() as connection:
        service.purge_in(connection, [job])
    assert program.get(path).json["job"]["id"] == drawing


def test_the_page_shows_pictures_as_soon_as_they_are_there(member, read, program, engine, settings):
    path = read("two.pdf", pdf(["First words", "Second words"])).removeprefix("/api/v1")
    page = member.get(f"{path}?tab=text").text
    assert "The pages wait to be drawn." in page
    assert '<meta http-equiv="refresh"' in page
    ran(engine, settings, re.search(r"pages wait to be drawn\. <a href=\"/jobs/([^\"]+)", page)[1])
    page = member.get(f"{path}?tab=text&page=2").text
    assert "/pages/2/image?size=reading" in page
    assert page.count("size=thumbnail") == 2
    assert "Second words" in page
    assert "First words" not in page
    assert "First words" in member.get(f"{path}?tab=text&page=all").text


def test_searching_in_a_document_leads_to_the_page(member, read):
    path = read("two.pdf", pdf(["First words", "Second <b>words</b>"])).removeprefix("/api/v1")
    page = member.get(f"{path}?tab=text&q=second+%3Cb%3Ewords").text
    assert "<mark>Second &lt;b&gt;words</mark>" in page
    assert "tab=text&amp;page=2" in page
    assert "does not stand in this document" in member.get(f"{path}?tab=text&q=nowhere").text


def test_a_long_text_is_shown_in_parts(member, read):
    path = read("long.txt", b"".join(b"Line %d of it.\n" % n for n in range(20_000))).removeprefix("/api/v1")
    first, last = (member.get(f"{path}?tab=text&part={part}").text for part in (1, 99))
    assert len(first) < 120_000
    assert "Line 0 of it." in first
    assert "Line 19999 of it." in last
    assert "Line 0 of it." not in last
    assert "Part 1 of 6" in first


def test_tables_and_chunks_have_their_tabs(member, read):
    path = read("prices.csv", CSV).removeprefix("/api/v1")
    page = member.get(f"{path}?tab=tables").text
    assert '<th scope="col">Item</th>' in page
    assert '<td class="figure">-2.50</td>' in page
    assert "/tables.xlsx?download=1" in page
    assert "Passages" in member.get(f"{path}?tab=chunks").text


def test_pictures_go_with_their_artifact(service, engine, program, read, settings):
    path = read("one.pdf", pdf(["Hello"]))
    ran(engine, settings, program.get(f"{path}/pages/1/image").json["job_id"])
    with engine.connect() as connection:
        assert len(connection.execute(select(page_images)).all()) == 2
    assert program.delete(path).status_code == 204
    prune(engine, replace(settings, bytes_grace_hours=0), service, BlobStore(settings.data_dir))
    with engine.connect() as connection:
        assert connection.execute(select(page_images)).all() == []


def test_later_pages_are_drawn_when_they_are_asked_for(program, read, engine, settings):
    path = read("many.pdf", pdf([f"Page {number}" for number in range(1, 43)]))
    first = program.get(f"{path}/pages/1/image").json["job_id"]
    assert program.get(f"{path}/pages/42/image").json["job_id"] == first
    ran(engine, settings, first)
    assert program.get(f"{path}/pages/20/image").status_code == 200
    later = program.get(f"{path}/pages/42/image").json
    assert (later["code"], later["job_id"] == first) == ("not_ready", False)
    ran(engine, settings, later["job_id"])
    shown = {page: program.get(f"{path}/pages/{page}/image").status_code for page in (20, 21, 41, 42)}
    assert shown == {20: 200, 21: 404, 41: 200, 42: 200}


def test_a_second_copy_of_a_file_has_the_pictures_of_the_first(program, read, engine, settings):
    first, second = (read(name, pdf(["Hello"])) for name in ("one.pdf", "two.pdf"))
    ran(engine, settings, program.get(f"{first}/pages/1/image").json["job_id"])
    ran(engine, settings, program.get(f"{second}/pages/1/image").json["job_id"])
    assert program.get(f"{second}/pages/1/image").data == program.get(f"{first}/pages/1/image").data
    with engine.connect() as connection:
        assert len(connection.execute(select(page_images)).all()) == 2
