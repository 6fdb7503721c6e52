"""The shared corpus of real documents, beside the project; never copied into it."""

from __future__ import annotations

from pathlib import Path

import pytest

CORPUS = Path(__file__).resolve().parents[2].parent / "shared" / "corpus"
needs_corpus = pytest.mark.skipif(
    not CORPUS.is_dir(), reason="the corpus of real documents lies beside the project, and is not there"
)


def files(part: str) -> list[Path]:
    """Return the files of ``typical`` or ``nasty`` by name."""
    return sorted(path for path in (CORPUS / part).iterdir() if path.is_file())
