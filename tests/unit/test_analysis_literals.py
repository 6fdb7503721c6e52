"""Which patterns need not be searched for."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.analysis.cues import BODY_CUES, HEAD_CUES
from jobs.analysis.literals import required_literals

PATTERNS = [pattern for cues in (HEAD_CUES, BODY_CUES) for rows in cues.values() for _, pattern in rows]


@pytest.mark.parametrize(
    ("pattern", "pieces"),
    [
        ("invoice", {"invoice"}),
        (r"^\W{0,4}(?:tax )?invoice\b", {"invoice"}),
        ("(?:red|blue) car", {" car"}),
        ("(?:rechnung|facture)x?", {"rechnung", "facture"}),
        ("(?:rechnung|f)", set()),
        ("(?:total)+", {"total"}),
        ("(?:total)?", set()),
        (r"\d{1,3}|total", set()),
        ("a.b", set()),
    ],
)
def test_every_match_holds_one_of_the_pieces(pattern, pieces):
    assert required_literals(pattern) == pieces


def test_most_cues_have_pieces_to_look_for_first():
    assert sum(bool(required_literals(pattern)) for pattern in PATTERNS) > 0.8 * len(PATTERNS)


@pytest.mark.parametrize("pattern", PATTERNS)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_no_match_of_a_cue_is_missed(pattern, data):
    text = data.draw(st.from_regex(re.compile(pattern, re.MULTILINE)))
    pieces = required_literals(pattern)
    assert not pieces or any(piece in text for piece in pieces)
