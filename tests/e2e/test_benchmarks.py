"""The benchmarks run, and what they count is true; how fast this machine is just now is nobody's business."""

from __future__ import annotations

import pytest

from benchmarks import bloat, documents, upload

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


def test_a_queue_that_items_pass_through_does_not_grow():
    """Ten waves, each purged by the next: the tables are as large after the last as after the second."""
    sizes, hot = bloat.measure(10_000, 1_000, vacuum=True)
    assert len(sizes) == 10
    assert sizes[-1]["queue_items"] < 1.5 * sizes[1]["queue_items"]
    assert hot > 0.3
    assert "| queue_items |" in bloat.table(sizes, 10_000, 1_000, hot)
