"""Fuzz one parser for a while, or all of them in turn: ``make fuzz ARGS="--target iwa --seconds 60"``.

Atheris guides the inputs by what they reach in our own modules. What it finds is kept under ``.fuzz``, by
target: ``corpus`` grows from run to run, and a file that begins with ``crash-`` shows a defect.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["jobs"]):
    from tests.fuzz.targets import SEEDS, TARGETS
from tests.support.corpus import CORPUS

FOLDER = Path(__file__).parents[2] / ".fuzz"
_LARGEST_SEED = 100_000


def main() -> int:
    """Run the targets; return 1 when one has found a defect."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--target", choices=list(TARGETS), help="only this one")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.inside:
        return fuzz(asked.target, asked.seconds)
    # A target that is done ends its process.
    names = [asked.target] if asked.target else list(TARGETS)
    found: dict[str, int] = {}
    for name in names:
        command = [sys.executable, "-m", "tests.fuzz.run", "--inside", "--target", name]
        found[name] = subprocess.run([*command, "--seconds", str(asked.seconds)], check=False).returncode
    for name, code in found.items():
        print(f"{name}: {'nothing found' if code == 0 else 'a defect, see .fuzz/' + name}")
    return int(any(found.values()))


def fuzz(name: str, seconds: int) -> int:
    """Fuzz one target in this process, which ends with it."""
    corpus = FOLDER / name / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for part in ("typical", "nasty"):
        for path in sorted((CORPUS / part).glob("*")) if CORPUS.is_dir() else ():
            if path.suffix.lower() in SEEDS.get(name, ()) and path.stat().st_size <= _LARGEST_SEED:
                (corpus / path.name).write_bytes(path.read_bytes())
    target = TARGETS[name]
    arguments = [
        sys.argv[0], str(corpus), f"-max_total_time={seconds}", "-timeout=20", "-rss_limit_mb=3000",
        f"-artifact_prefix={FOLDER / name}/", "-verbosity=0",
    ]  # fmt: skip
    atheris.Setup(arguments, target)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
