"""What a text must contain for a pattern to be found in it, so that most need not be searched for."""

from __future__ import annotations

from re import _constants as ops  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

# Shorter pieces are in every text.
_SHORTEST = 2


def required_literals(pattern: str) -> frozenset[str]:
    """Return pieces of text of which every match of a pattern holds at least one.

    Args:
        pattern: a regular expression that minds upper and lower case.

    Returns:
        The pieces; empty when there are none that every match needs.
    """
    return _of_sequence(parser.parse(pattern)) or frozenset()


def _of_sequence(sequence: Any) -> frozenset[str] | None:
    """Return the most telling pieces of parts that stand one after the other, ``None`` without any."""
    found: list[frozenset[str]] = []
    run = ""
    for kind, value in [*sequence, (None, None)]:
        if kind is ops.LITERAL:
            run += chr(value)
            continue
        if len(run) >= _SHORTEST:
            found.append(frozenset({run}))
        run = ""
        pieces = _of_part(kind, value)
        if pieces is not None:
            found.append(pieces)
    return max(found, key=lambda pieces: (min(map(len, pieces)), -len(pieces)), default=None)


def _of_part(kind: Any, value: Any) -> frozenset[str] | None:
    """Return the pieces that one part of a pattern needs, ``None`` when it can do without."""
    if kind is ops.SUBPATTERN:
        return _of_sequence(value[-1])
    if kind is ops.BRANCH:
        branches = [_of_sequence(branch) for branch in value[1]]
        known = [pieces for pieces in branches if pieces is not None]
        return frozenset().union(*known) if len(known) == len(branches) else None
    if kind in {ops.MAX_REPEAT, ops.MIN_REPEAT, ops.POSSESSIVE_REPEAT} and value[0] > 0:
        return _of_sequence(value[2])
    return None
