"""Every document of the corpus, through the whole service: each ends, with its text or with a reason."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from jobs.extraction import Extraction, Limits
from jobs.queries import Queries
from jobs.tables import attempts, queue_items
from tests.support.client import Client
from tests.support.corpus import files, needs_corpus
from tests.support.servers import wait_until

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(500),
    needs_corpus,
    pytest.mark.parametrize("database_url", ["sqlite"], indirect=True),
]

GIB = 1024**3
PER_DOCUMENT_SECONDS = 60

FAILS_TYPICAL = {
    "testChm.chm": "unsupported_kind",
    "testDJVU.djvu": "unsupported_kind",
    "testEXCEL_4.xls": "unsupported_kind",
    "testPUBLISHER.pub": "unsupported_kind",
    "testVISIO.vsd": "unsupported_kind",
}
WITHOUT_TEXT_TYPICAL = {"bmp_24.bmp"}

FAILS_NASTY = {
    "made_bomb_docx_1g.docx": "limit_output",
    "made_deep.docx": "too_deep",
    "made_huge_50k.png": "too_many_pixels",
    "made_pdf_flate_bomb_1g.pdf": "limit_memory",
    "made_pdfheader_random.pdf": "unreadable",
    "made_random.pdf": "unreadable",
    "made_trunc_half.docx": "unreadable",
    "made_trunc_half.pdf": "unreadable",
    "made_trunc_tail.xlsx": "unreadable",
    "made_wrongext_elf.pdf": "unsupported_kind",
    "poppler-395-0-fuzzed.pdf": "unreadable",
    "poppler-742-0-fuzzed.pdf": "unreadable",
    "r2-user-password.pdf": "encrypted",
    "r4-aes-user-password.pdf": "encrypted",
    "r6-both-passwords.pdf": "encrypted",
    "testChm_oom.chm": "unsupported_kind",
    "testEXCEL_protected_passtika.xlsx": "encrypted",
    "testPPT_protected_passtika.pptx": "encrypted",
    "testPagesPwdProtected.pages": "encrypted",
    "testUnicodePassword.pdf": "encrypted",
    "testWORD_protected_passtika.docx": "encrypted",
    "testWORD_truncated.docx": "unreadable",
    "testZIP_corrupted_oom.zip": "unreadable",
    "testZipEncrypted.zip": "encrypted",
}
WITHOUT_TEXT_NASTY = {"empty.eml", "empty_protected.pdf", "made_laughs.docx"}


@pytest.fixture
def work_off(start_service, environ, engine):
    """Upload a part of the corpus; return what was read by name, once every document has ended."""

    def run(part: str, fails: dict[str, str], without_text: set[str]) -> dict[str, Extraction]:
        service = start_service({**environ, "WORKERS": "2", "LEASE_SECONDS": "60", "HEARTBEAT_SECONDS": "15"})
        jobs = upload_and_wait(Client(service, engine), part)
        # The exact reasons, one attempt each, and no worker harmed.
        assert {name: job["error"]["code"] for name, job in jobs.items() if job["error"]} == fails
        assert {job["status"] for name, job in jobs.items() if name not in fails} == {"completed"}
        assert {(job["attempt"], job["crashes"]) for job in jobs.values()} == {(1, 0)}
        for name in fails:
            message = jobs[name]["error"]["message"]
            assert len(message) > 15, name
            assert "Traceback" not in message, name
        assert "worker_ended" not in service.output("worker")
        assert "horse_died" not in service.output("worker")
        # What was taken out of them is worked on as well.
        wait_until(lambda: count_open(engine) == 0, seconds=120.0, what="all that was taken out")
        assert_inside_the_time(engine)
        return results(engine, {name: job for name, job in jobs.items() if name not in fails}, without_text)

    return run


def upload_and_wait(client: Client, part: str) -> dict[str, dict]:
    # An empty file is refused at once; that has its own test.
    paths = [path for path in files(part) if path.stat().st_size]
    accepted = []
    for start in range(0, len(paths), 20):
        accepted += client.upload(*((path.name, path.read_bytes()) for path in paths[start : start + 20]))
    jobs = client.wait([document["job_id"] for document in accepted], 400)
    found = {document["filename"]: jobs[document["job_id"]] for document in accepted}
    assert len(found) == len(paths)
    return found


def count_open(engine) -> int:
    with engine.connect() as connection:
        still = sa.select(sa.func.count()).where(queue_items.c.finished_at.is_(None))
        return connection.execute(still).scalar_one()


def assert_inside_the_time(engine) -> None:
    with engine.connect() as connection:
        longest = max(
            (row.ended_at - row.started_at).total_seconds() for row in connection.execute(sa.select(attempts))
        )
    assert longest < PER_DOCUMENT_SECONDS


def results(engine, jobs: dict[str, dict], without_text: set[str]) -> dict[str, Extraction]:
    queries = Queries(engine)
    read = {
        name: Extraction.from_json(queries.artifact(job["document_id"], "extract").body)
        for name, job in jobs.items()
    }
    assert {name for name, value in read.items() if not value.text.strip()} == without_text
    for name, value in read.items():
        assert value.metadata["peak_memory_bytes"] < 2 * GIB, name
        assert len(value.text) <= Limits().output_chars, name
    return read


def test_typical_documents(work_off):
    read = work_off("typical", FAILS_TYPICAL, WITHOUT_TEXT_TYPICAL)
    assert read["DA-619p.pdf"].page_count == len(read["DA-619p.pdf"].pages) == 619
    assert read["multi-column-2p.pdf"].markdown.startswith("# Dense Passage Retrieval")
    assert "| Ash, Elm, Maple |" in read["word_sample.docx"].markdown.replace("  ", " ")
    assert "docling bundles pdf" in read["ocr_test_rotated_90.pdf"].text.lower()
    assert read["stanley-cups-utf-16.csv"].markdown.startswith("| Stanley Cups |")
    assert "佐藤太郎" in read["test_mskanji.csv"].text
    assert read["fake-email-utf-16.eml"].metadata["from"] == "Matthew Robinson <mrobinson@unstructured.io>"
    assert "Die schöne Frau" in read["fake-html-cp1252.html"].text
    assert read["testPages2013.pages"].text.startswith("Sample pages document")
    assert "Test running" in read["testKeynote2018.key"].text
    assert len(read["2206.01062.tif"].text) > 8000
    assert read["aif.ru.health.xml"].language == "ru"
    assert read["_ude_euc1.txt"].language == "ko"


def test_nasty_documents(work_off):
    read = work_off("nasty", FAILS_NASTY, WITHOUT_TEXT_NASTY)
    assert read["made_wrongext_docx.pdf"].media_type.endswith("wordprocessingml.document")
    assert read["made_wrongext_pdf.docx"].media_type == "application/pdf"
    assert read["made_wrongext_png.txt"].media_type == "image/png"
    assert read["made_pdf_form_laughs.pdf"].engine == "pypdf"
    assert read["made_pdf_20000_pages.pdf"].warnings == ["Only the first 5,000 of 20,000 pages were read."]
    assert "root:" not in read["made_xxe.docx"].text
    assert not (Path("/tmp/extract")).exists()
