"""The short chaos run: a thousand documents and a hundred faults of all kinds on each database.

`make chaos` is the long one.
"""

from __future__ import annotations

import pytest

from tests.chaos.plan import SHORT
from tests.chaos.storm import run_storm
from tests.chaos.table import render

SEED = 20261122
# It takes a minute or so on two idle processors; the rest is for a machine that has other things to do.
BUDGET_SECONDS = 300


@pytest.mark.chaos
@pytest.mark.e2e
@pytest.mark.timeout(600)
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a_storm_of_faults_loses_doubles_and_burns_nothing(database):
    report, evidence = run_storm(database, SHORT, seed=SEED, budget_seconds=BUDGET_SECONDS)
    print(render([report]))
    assert not report.findings.violations, evidence
    assert report.documents == SHORT.documents
    assert report.faults == SHORT.faults
