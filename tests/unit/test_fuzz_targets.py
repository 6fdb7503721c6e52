"""The fuzz targets hold for a few inputs of every kind, so that none of them rots; ``make fuzz`` goes on."""

from __future__ import annotations

import random

import pytest

from tests.fuzz.targets import SEEDS, TARGETS
from tests.support.corpus import CORPUS, files

_INPUTS = 40
_LONGEST = 3_000
_HINTS = (
    b"PK\x03\x04",
    b"\x00\x00\x00\x00",
    b"From a@b Mon Jan  1 00:00:00 2024\n",
    b"Content-Type: multipart/mixed; boundary=b\n\n--b\n",
    b"| a | b |\n|---|---|\n| 1 | 2 |\n",
    b"D:20240102030405+01'00'",
    b'{"pages": "1-3", "markdown": "x"}',
    b'[1, "text"]\n',
    b"0.5 3 10 4\n",
    b'a,"b\n",c\n',
    b"<title>x</title><p>y",
    b"ustar",
    b"\xff\xfe\x00",
    b"```\n# x\n",
)


def inputs(name: str) -> list[bytes]:
    """Return the same inputs at every run: noise, hints put together, and broken files of the corpus."""
    dice = random.Random(name)
    found = [b"", b"\x00"]
    for _ in range(_INPUTS):
        parts = [dice.choice([dice.choice(_HINTS), dice.randbytes(dice.randrange(60))]) for _ in range(6)]
        found.append(b"".join(parts))
    if CORPUS.is_dir():
        seeds = [path for path in files("typical") if path.suffix in SEEDS.get(name, ())][:3]
        for path in seeds:
            content = bytearray(path.read_bytes()[:_LONGEST])
            for _ in range(10):
                content[dice.randrange(len(content))] = dice.randrange(256)
            found.append(bytes(content))
    return found


@pytest.mark.parametrize("name", list(TARGETS))
def test_a_target_holds_for_inputs_of_every_kind(name):
    for data in inputs(name):
        TARGETS[name](data)


def test_seeds_belong_to_targets():
    assert SEEDS.keys() <= TARGETS.keys()
