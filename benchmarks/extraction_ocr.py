"""How well scans are read: words and characters beside human transcriptions, file by file.

The scans lie beside the project (``shared/corpus/truth/ocr``), each with its text in a file of the
same name and ``.gt.txt``. Two scores, both from 0 to 1:

- words: F1 of the bags of words, in small letters; a word is a run of letters and digits. ``spaced``
  is the same with words parted by white space only, so that every sign must be right.
- characters: 1 less the edit distance over the longer length, in small letters and with white space
  made single; it sees the order.

Run ``python -m benchmarks.extraction_ocr --engine rapidocr``; ``make bench-ocr`` reads with each engine
that is installed.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from jobs.extraction import Limits, OcrEngine, OcrSetup, extract

CORPUS = Path(__file__).resolve().parents[1].parent / "shared" / "corpus" / "truth" / "ocr"
LIMITS = Limits(wall_seconds=300, cpu_seconds=300)
_TRUTH = ".gt.txt"


@dataclass(frozen=True, slots=True)
class Score:
    """How one scan was read."""

    name: str
    words: float
    spaced: float
    characters: float
    seconds: float


def word_f1(found: str, truth: str, *, spaced: bool = False) -> float:
    """Return the F1 of the bags of words, 0 to 1.

    Args:
        found: what was read.
        truth: what stands there.
        spaced: whether words are what stands between white space, with every sign.
    """
    pattern = r"\S+" if spaced else r"[^\W_]+"
    one, other = (Counter(re.findall(pattern, text.lower())) for text in (found, truth))
    return 2 * (one & other).total() / max(1, one.total() + other.total())


def character_similarity(found: str, truth: str) -> float:
    """Return 1 less the edit distance over the longer length, but for case and the width of spaces."""
    one, other = (" ".join(text.lower().split()) for text in (found, truth))
    row = list(range(len(other) + 1))
    for number, sign in enumerate(one, 1):
        before, row[0] = row[0], number
        for place, expected in enumerate(other, 1):
            change = before + (sign != expected)
            before = row[place]
            row[place] = min(change, before + 1, row[place - 1] + 1)
    return 1 - row[-1] / max(1, len(one), len(other))


def scans(folder: Path = CORPUS) -> list[Path]:
    """Return the scans that have a transcription, by name."""
    return sorted(path for path in folder.iterdir() if path.with_name(path.name + _TRUTH).is_file())


def score(path: Path, engine: OcrEngine) -> Score:
    """Read one scan in the cage and compare."""
    found = extract(path, filename=path.name, limits=LIMITS, ocr=OcrSetup(engine=engine))
    truth = path.with_name(path.name + _TRUTH).read_text("utf-8", "replace")
    return Score(
        name=path.name,
        words=word_f1(found.text, truth),
        spaced=word_f1(found.text, truth, spaced=True),
        characters=character_similarity(found.text, truth),
        seconds=float(str(found.metadata["extraction_seconds"])),
    )


def table(scores: Iterable[Score]) -> list[str]:
    """Return the scores as a Markdown table, with the means of receipts and of the others."""
    rows = list(scores)
    lines = ["| scan | words | spaced | characters | seconds |", "|---|---|---|---|---|"]
    lines += [_line(row) for row in rows]
    receipts = [row for row in rows if row.name.startswith("sroie")]
    groups = (("receipts", receipts), ("others", [row for row in rows if row not in receipts]))
    return lines + [_line(_mean(f"**{name}, {len(group)}**", group)) for name, group in groups if group]


def _mean(name: str, group: list[Score]) -> Score:
    return Score(
        name,
        mean(row.words for row in group),
        mean(row.spaced for row in group),
        mean(row.characters for row in group),
        mean(row.seconds for row in group),
    )


def _line(row: Score) -> str:
    return f"| {row.name} | {row.words:.3f} | {row.spaced:.3f} | {row.characters:.3f} | {row.seconds:.1f} |"


def main() -> None:
    """Print a table for each engine."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", choices=list(OcrEngine), help="only this one; otherwise all installed")
    parser.add_argument("--folder", type=Path, default=CORPUS, help="scans with transcriptions")
    chosen = parser.parse_args()
    engines = [OcrEngine(chosen.engine)] if chosen.engine else [one for one in OcrEngine if one.is_installed]
    for engine in engines:
        print(f"\n{engine}\n")
        print("\n".join(table(score(path, engine) for path in scans(chosen.folder))), flush=True)


if __name__ == "__main__":
    main()
