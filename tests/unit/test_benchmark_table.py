"""The table of the benchmark: medians, ratios, and what was not measured."""

from __future__ import annotations

from benchmarks.queues import report
from benchmarks.queues.measuring import Latency, percentile
from benchmarks.queues.peers import BASE, PEERS, Peer
from benchmarks.queues.run import Drain, Plan
from benchmarks.queues.table import Figures, make_notes, make_table, summarise

BASE_PEER = Peer("rq", "rq_program.py", (), note="as shipped")
FAST = Peer("fast", "fast_program.py", (), own_rows=True, supervised="yes", note="quick")
GONE = Peer("gone", "gone_program.py", (), note="elsewhere")
RESULTS = [
    summarise(GONE, Figures(missing="needs Python 3.12")),
    summarise(
        BASE_PEER, Figures(noop=[50, 70, 60], row=[8, 8, 9], latency=[Latency(20, 40, 21)], single=[2000])
    ),
    summarise(FAST, Figures(row=[12_000, 16_000, 10_000], bulk=[40_000])),
]


def cells():
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in make_table(RESULTS, "rq").split("\n")
    ]
    return rows[0], rows[2:]


def test_medians_stand_beside_their_ratios_to_the_base_the_fastest_first():
    head, rows = cells()
    assert [row[0] for row in rows] == ["fast (own rows)", "rq", "gone"]
    assert all(len(row) == len(head) for row in rows)
    assert rows[0][1:5] == ["12,000", "200x", "12,000", "1,500x"]
    assert rows[1][1:8] == ["60.0", "1.00x", "8.00", "1.00x", "20.0", "40.0", "2,000"]


def test_what_was_not_measured_is_a_dash_and_says_why():
    _, rows = cells()
    assert set(rows[2][1:9]) == {"-"}
    assert "gone: not measured: needs Python 3.12; elsewhere." in make_notes(RESULTS)


def test_without_the_base_there_are_no_ratios():
    assert "x |" not in make_table(RESULTS[2:], "rq")


def test_the_section_shows_the_plot_with_the_same_in_words():
    text = report.make_text(RESULTS, "PostgreSQL 15", machine="A machine.", repetitions=3, minutes=20)
    assert f"![{report.describe_plot(RESULTS)}]({report.PLOT})" in text
    assert "fast 12,000; rq 8." in report.describe_plot(RESULTS)
    assert "gone" not in report.make_plot(RESULTS)


def test_a_percentile_is_the_value_that_so_many_do_not_exceed():
    assert percentile([float(n) for n in range(300, 0, -1)], 99) == 297
    assert percentile([5.0], 99) == 5.0


def test_a_drain_that_was_over_at_once_is_made_again_with_more_jobs():
    plan = Plan()
    peer = Peer("p", "p.py", (), row_jobs=100)
    assert plan.grow(peer, "row", Drain(100, 0.5))
    assert plan.jobs(peer, "row") == 800
    assert not plan.grow(peer, "row", Drain(800, 4.0))
    assert plan.jobs(peer, "row") == 800


def test_every_peer_has_its_program_and_its_list_of_exact_packages():
    for peer in PEERS:
        assert (report.environments.ROOT / "benchmarks" / "queues" / "programs" / peer.program).exists()
        if peer.environment:
            assert report.environments.version(peer), peer.name
            listed = (report.environments.REQUIREMENTS / f"{peer.environment}.txt").read_text().splitlines()
            assert all("==" in line for line in listed[1:]), peer.name
    assert BASE in {peer.name for peer in PEERS}
    assert len({peer.name for peer in PEERS}) == len(PEERS)
