import gzip
import io
import random
import subprocess
import sys
import zipfile
from pathlib import Path

import pypdf
import pytest
from PIL import Image, ImageDraw, ImageFont

from jobs.errors import Permanent, Transient
from jobs.extraction import Limits, OcrSetup, attempts, cage, engine_version, extract
from jobs.extraction.children import PROJECT_ROOT
from tests.support.files import pdf

LIMITS = Limits(wall_seconds=30)


def read(folder, name, data, **options):
    path = folder / "stored"  # stored files have no extension
    path.write_bytes(data)
    return extract(path, filename=name, **{"limits": LIMITS, **options})


def picture(text, kind="PNG", frames=1):
    images = []
    for _ in range(frames):
        image = Image.new("RGB", (900, 200), "white")
        ImageDraw.Draw(image).text((40, 60), text, fill="black", font=ImageFont.load_default(size=64))
        images.append(image)
    out = io.BytesIO()
    images[0].save(out, kind, save_all=frames > 1, append_images=images[1:]) if frames > 1 else images[
        0
    ].save(out, kind)
    return out.getvalue()


def test_a_pdf_gives_text_pages_title_author_and_date(tmp_path):
    shares = []
    found = read(tmp_path, "a.pdf", pdf(["Hello first page", "Hello second page"]), on_progress=shares.append)
    assert found.pages == ["Hello first page", "Hello second page"]
    assert (found.title, found.page_count, found.media_type) == ("Quarterly report", 2, "application/pdf")
    assert found.metadata["author"] == "A. Writer"
    assert found.metadata["created_at"] == "2024-01-02T03:04:05+00:00"
    assert found.metadata["word_count"] == 6
    assert (found.engine, found.engine_version, found.warnings) == (
        "liteparse",
        engine_version(OcrSetup()),
        [],
    )
    assert shares == sorted(shares)
    assert (shares[-1].page, shares[-1].page_count) == (2, 2)


def test_pages_beyond_the_limit_are_told(tmp_path):
    found = read(tmp_path, "a.pdf", pdf(["one", "two", "three"]), limits=Limits(max_pages=2))
    assert (len(found.pages), found.page_count) == (2, 3)
    assert found.warnings == ["Only the first 2 of 3 pages were read."]


def test_text_beyond_the_limit_is_told(tmp_path):
    found = read(tmp_path, "a.txt", b"0123456789" * 10, limits=Limits(output_chars=50))
    assert found.text == "0123456789" * 5
    assert found.warnings == ["Only the first 50 characters were kept."]


def test_blank_pages_are_no_work_for_ocr(tmp_path):
    found = read(tmp_path, "a.pdf", pdf(["Some words", "", ""]), limits=Limits(ocr_max_pages=1))
    assert (found.text, found.engine, found.warnings) == ("Some words", "liteparse", [])


def test_a_scanned_pdf_is_read_by_ocr_up_to_the_limit(tmp_path):
    scan = io.BytesIO()
    images = [Image.open(io.BytesIO(picture(f"Invoice {number}"))) for number in (1, 2, 3)]
    images[0].save(scan, "PDF", save_all=True, append_images=images[1:])
    found = read(tmp_path, "scan.pdf", scan.getvalue(), limits=Limits(ocr_max_pages=2))
    assert [page.lower() for page in found.pages] == ["invoice 1", "invoice 2", ""]
    assert found.engine == "liteparse+tesserocr"
    assert found.metadata["ocr_confidence"] > 60
    assert found.warnings == ["Only the first 2 of 3 pages to be read by OCR were read."]


def test_pictures_of_many_pages_are_read_and_empty_ones_complete(tmp_path):
    found = read(tmp_path, "fax.tif", picture("Total 42", "TIFF", frames=2))
    assert found.pages == ["Total 42", "Total 42"]
    empty = io.BytesIO()
    Image.new("L", (200, 200), 255).save(empty, "PNG")
    found = read(tmp_path, "empty.png", empty.getvalue())
    assert (found.text, found.warnings) == ("", ["No text was found in this document."])


def test_a_table_becomes_markdown(tmp_path):
    found = read(tmp_path, "a.csv", "Stadt;Größe\nKöln;405\n".encode("cp1252"))
    assert found.markdown == "| Stadt | Größe |\n| --- | --- |\n| Köln | 405 |\n"
    assert found.metadata["row_count"] == 1


def test_mail_headers_are_metadata_and_head_the_text(tmp_path):
    mail = (
        b"From: Ann <ann@example.org>\nTo: bob@example.org\nSubject: Lunch\n"
        b"Date: Fri, 16 Dec 2022 17:04:16 -0500\n\nAt noon?\n"
    )
    found = read(tmp_path, "a.eml", mail)
    assert found.metadata["from"] == "Ann <ann@example.org>"
    assert found.metadata["to"] == ["bob@example.org"]
    assert found.metadata["date"] == "2022-12-16T17:04:16-05:00"
    assert found.title == "Lunch"
    assert found.text.index("Subject: Lunch") < found.text.index("At noon?")


def test_source_code_is_a_fenced_block_and_html_is_structured(tmp_path):
    found = read(tmp_path, "a.py", b"# a comment\nprint('hi')\n")
    assert found.markdown == "```python\n# a comment\nprint('hi')\n```\n"
    assert (found.title, found.text) == (None, "# a comment\nprint('hi')\n")
    page = "<html><head><title>My page</title></head><body><h1>Head</h1><p>Füße <b>bold</b></p>".encode(
        "cp1252"
    )
    found = read(tmp_path, "a.html", page)
    assert found.title == "My page"
    assert found.markdown.startswith("# Head\n\nFüße **bold**")


def test_a_pdf_that_the_first_reader_cannot_survive_goes_to_the_second(tmp_path, monkeypatch):
    readers = iter(["no_such_reader", "pdf_plain"])
    monkeypatch.setattr(attempts, "readers_for", lambda kind: tuple(readers))
    found = read(tmp_path, "a.pdf", pdf(["Hello world"]))
    assert (found.text, found.engine) == ("Hello world", "pypdf")
    assert found.warnings[-1].startswith("Read by the fallback reader because")


@pytest.mark.parametrize(
    ("name", "data", "code"),
    [
        ("a.docx", b"", "empty"),
        ("a.pdf", random.Random(1).randbytes(64), "unreadable"),
        ("a.pdf", b"%PDF-1.4\n" + bytes(200), "unreadable"),
        ("a.docx", b"PK\x03\x04" + bytes(100), "unreadable"),
        ("a.exe", b"MZ\x90\x00" + bytes(60), "unsupported_kind"),
        ("a.bin", b"\x00\x01\x02\xff" * 16, "unsupported_kind"),
        ("a.png", b"\x89PNG\r\n\x1a\n" + bytes(50), "unreadable"),
    ],
    ids=["empty", "noise.pdf", "header.pdf", "header.docx", "header.exe", "noise.bin", "header.png"],
)
def test_what_cannot_be_read_ends_in_a_clear_permanent_error(tmp_path, name, data, code):
    with pytest.raises(Permanent) as caught:
        read(tmp_path, name, data)
    assert caught.value.code == code
    assert str(tmp_path) not in caught.value.public_message
    assert caught.value.__cause__ is None or "Fault" not in type(caught.value.__cause__).__name__


def test_a_protected_pdf_asks_for_a_copy_without_the_password(tmp_path):
    writer = pypdf.PdfWriter(clone_from=pypdf.PdfReader(io.BytesIO(pdf(["secret words"]))))
    writer.encrypt("password", algorithm="RC4-128")
    out = io.BytesIO()
    writer.write(out)
    with pytest.raises(Permanent, match="protected with a password") as caught:
        read(tmp_path, "a.pdf", out.getvalue())
    assert caught.value.code == "encrypted"


def test_a_picture_with_too_many_pixels_is_refused(tmp_path):
    with pytest.raises(Permanent) as caught:
        read(tmp_path, "a.png", picture("words"), limits=Limits(image_pixels=1000))
    assert caught.value.code == "too_many_pixels"


def test_limits_reach_the_real_child(tmp_path):
    with pytest.raises(Permanent) as caught:
        read(tmp_path, "a.pdf", pdf(["x"] * 300), limits=Limits(memory_bytes=20 * 1024**2))
    assert caught.value.code == "limit_memory"
    with pytest.raises(Permanent) as caught:
        read(tmp_path, "a.txt", b"x", limits=Limits(wall_seconds=0.0001))
    assert caught.value.code == "limit_time"


def test_a_file_that_is_gone_is_the_machine_s_fault(tmp_path):
    with pytest.raises(Transient):
        extract(tmp_path / "gone", filename="a.pdf", limits=LIMITS)


def test_no_engine_is_imported_by_the_parent():
    heavy = (
        "liteparse xberg tesserocr pypdfium2 pypdf PIL pillow_heif fasttext numpy charset_normalizer "
        "sqlalchemy redis rq flask structlog"
    )
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import jobs.extraction; "
        f"sys.exit(' '.join(set({heavy!r}.split()) & set(sys.modules)) or 0)"
    )
    command = [sys.executable, "-I", "-c", code, str(PROJECT_ROOT)]
    assert subprocess.run(command, check=False, capture_output=True).stderr == b""


def test_an_archive_lists_its_files_and_shows_their_text(tmp_path):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("notes/a.txt", "the words inside")
    found = read(tmp_path, "a.zip", out.getvalue())
    assert "notes/a.txt" in found.text
    assert "the words inside" in found.text
    found = read(tmp_path, "a.txt.gz", gzip.compress(b"packed words"))
    assert "packed words" in found.text


def test_nothing_is_left_in_the_temporary_folder(tmp_path, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(cage.tempfile, "tempdir", str(scratch))
    read(tmp_path, "a.txt", b"Some words.")
    assert list(scratch.iterdir()) == []
    assert Path("/proc/self/task").exists()
