"""Scans of the corpus with human transcriptions are read as well as measured before.

The whole corpus goes through the service in ``tests/e2e/test_corpus.py``.
"""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jobs.errors import Permanent
from jobs.extraction import Extraction, Limits, extract

CORPUS = Path(__file__).parents[2].parent / "shared" / "corpus"

pytestmark = pytest.mark.skipif(
    not CORPUS.is_dir(),
    reason="the corpus of documents is not part of the repository; it lies beside it as shared/corpus",
)


def outcome(path: Path) -> Extraction | Permanent:
    try:
        return extract(path, filename=path.name, limits=Limits())
    except Permanent as error:
        return error


def outcomes(folder: str, pattern: str = "*") -> dict[str, Extraction | Permanent]:
    files = sorted(path for path in (CORPUS / folder).glob(pattern) if path.is_file())
    with ThreadPoolExecutor(2) as pool:
        return dict(zip((path.name for path in files), pool.map(outcome, files), strict=True))


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
