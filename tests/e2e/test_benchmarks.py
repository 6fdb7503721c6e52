"""The benchmarks run, and what they count is true; how fast this machine is just now is nobody's business."""

from __future__ import annotations

import pytest

from benchmarks import documents, report, upload

databases = pytest.mark.parametrize("kind", upload.DATABASES)
pytestmark = pytest.mark.e2e


@databases
def test_every_acknowledged_upload_is_kept_and_memory_is_bounded(kind):
    """Fifty uploads of 10 MB at once are 500 MB; the threads that receive them hold a few MB each."""
    found = upload.run(kind, upload.QUICK)
    assert found.acknowledged >= 150
    assert found.missing == 0
    peaks = [memory.peak - memory.before for _, memory in found.memory]
    assert all(peak < 150 * upload.MB for peak in peaks)
    first, again = (memory.peak for _, memory in found.memory[1:])
    assert again < first + 30 * upload.MB
    text = upload.report({kind: found}, upload.QUICK)
    assert f"{kind}, 8 at once, 10 kB" in text
    assert "0 missing" in text


@databases
def test_every_way_works_every_document_off(kind):
    files = documents.make_files(documents.ONE_PAGERS[:4], 4, "test")
    assert len({file.content for file in files}) == 4
    found = {(kind, "documents", way): [documents.run(kind, way, files)] for way in documents.WAYS}
    for (pace,) in found.values():
        assert (pace.documents, pace.failed) == (4, 0)
        assert pace.pages >= 4
        assert pace.seconds > 0
    assert f"{kind}, 4 documents" in documents.report(found, 1)


def test_a_section_of_a_page_is_replaced_and_nothing_else(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A\n<!-- one -->\nold\n<!-- /one -->\nB\n<!-- two -->\n<!-- /two -->\n")
    report.write_section(page, "one", "new \\1")
    report.write_section(page, "one", "newer \\1")
    assert (
        page.read_text()
        == "# A\n<!-- one -->\n\nnewer \\1\n\n<!-- /one -->\nB\n<!-- two -->\n<!-- /two -->\n"
    )
    with pytest.raises(ValueError, match="three"):
        report.write_section(page, "three", "x")
