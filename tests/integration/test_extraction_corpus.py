"""Every file of the corpus ends with text or with a clear permanent error, inside the limits."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jobs.errors import Permanent
from jobs.extraction import Extraction, Limits, extract

CORPUS = Path(__file__).parents[2].parent / "shared" / "corpus"
GIB = 1024**3

pytestmark = pytest.mark.skipif(
    not CORPUS.is_dir(),
    reason="the corpus of documents is not part of the repository; it lies beside it as shared/corpus",
)

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
    "made_zero.docx": "empty",
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


def outcome(path: Path) -> Extraction | Permanent:
    try:
        return extract(path, filename=path.name, limits=Limits())
    except Permanent as error:
        return error


def outcomes(folder: str, pattern: str = "*") -> dict[str, Extraction | Permanent]:
    files = sorted(path for path in (CORPUS / folder).glob(pattern) if path.is_file())
    with ThreadPoolExecutor(2) as pool:
        return dict(zip((path.name for path in files), pool.map(outcome, files), strict=True))


def check(found, fails, without_text):
    codes = {name: error.code for name, error in found.items() if isinstance(error, Permanent)}
    assert codes == {name: code for name, code in fails.items() if name in found}
    read = {name: value for name, value in found.items() if isinstance(value, Extraction)}
    assert {name for name, value in read.items() if not value.text.strip()} == without_text & set(found)
    for name, value in read.items():
        assert value.metadata["extraction_seconds"] < 60, name
        assert value.metadata["peak_memory_bytes"] < 2 * GIB, name
        assert len(value.text) <= Limits().output_chars, name
    return read


def test_typical_documents():
    read = check(outcomes("typical"), FAILS_TYPICAL, WITHOUT_TEXT_TYPICAL)
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


def test_nasty_documents():
    read = check(outcomes("nasty"), FAILS_NASTY, WITHOUT_TEXT_NASTY)
    assert read["made_wrongext_docx.pdf"].media_type.endswith("wordprocessingml.document")
    assert read["made_wrongext_pdf.docx"].media_type == "application/pdf"
    assert read["made_wrongext_png.txt"].media_type == "image/png"
    assert read["made_pdf_form_laughs.pdf"].engine == "pypdf"
    assert read["made_pdf_20000_pages.pdf"].warnings == ["Only the first 5,000 of 20,000 pages were read."]
    assert "root:" not in read["made_xxe.docx"].text
    assert not (Path("/tmp/extract")).exists()


def test_pictures_are_read_as_well_as_measured_before():
    read = outcomes("truth/ocr", "*.[jt][pi][gf]")
    scores = {
        name: words_in_common(
            value.text, (CORPUS / "truth" / "ocr" / f"{name}.gt.txt").read_text("utf-8", "replace")
        )
        for name, value in read.items()
    }
    receipts = [score for name, score in scores.items() if name.startswith("sroie")]
    assert sum(receipts) / len(receipts) > 0.70
    assert scores["phototestrot.tif"] > 0.99


def words_in_common(found: str, truth: str) -> float:
    """Return the F1 of the bags of words."""
    one, other = Counter(found.lower().split()), Counter(truth.lower().split())
    return 2 * sum((one & other).values()) / max(1, sum(one.values()) + sum(other.values()))
