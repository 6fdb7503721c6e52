"""What the documents of a chaos run say: each tells the worker what to do, and no two are alike."""

from __future__ import annotations

import random
from dataclasses import dataclass

POISON = "poison"
QUIET = "quiet"
WORK = "work"

POISON_SHARE = 0.005
LONG_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Task:
    """One document.

    Attributes:
        key: its name, unique in a run; its result has to repeat it.
        verb: ``work`` (reports progress), ``quiet`` (reports none) or ``poison`` (segfaults).
        milliseconds: how long it works.
    """

    key: str
    verb: str
    milliseconds: int = 0

    @property
    def content(self) -> bytes:
        """The document's bytes."""
        return f"key {self.key}\n{self.verb} {self.milliseconds} ms\n".encode()

    @classmethod
    def read(cls, content: bytes) -> Task:
        """Parse the bytes of a document."""
        first, second = content.decode().splitlines()
        verb, milliseconds, _ = second.split()
        return cls(first.removeprefix("key "), verb, int(milliseconds))


def make_tasks(count: int, longest_seconds: float, rng: random.Random) -> list[Task]:
    """Make the documents of a run: 1 to 50 ms of work, one in twenty much longer, some poison.

    Args:
        count: how many.
        longest_seconds: the longest work of a long one; the shortest is a third of that.
        rng: decides which are which.
    """
    poisonous = set(rng.sample(range(count), max(1, round(count * POISON_SHARE))))
    tasks = []
    for number in range(count):
        key = f"{number:05}"
        if number in poisonous:
            tasks.append(Task(key, POISON, rng.randint(1, 20)))
        elif rng.random() < LONG_SHARE:
            tasks.append(Task(key, WORK, round(1000 * rng.uniform(longest_seconds / 3, longest_seconds))))
        else:
            tasks.append(Task(key, WORK, rng.randint(1, 50)))
    return tasks
