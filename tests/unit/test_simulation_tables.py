"""The published figures this library was designed by come out of the simulator.

The figures, and what they are of, are in ``benchmarks/published.py``; ``python -m benchmarks
published`` prints all of them beside ours. Here runs are short: what is published to differ
clearly must differ the same way, and some figures are compared as such.
"""

import re
from fractions import Fraction
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancers import Endpoint
from balancers.simulation import Batch, Run, fifo
from balancers.simulation.bulletin import bulletin, filled
from balancers.simulation.cells import play
from balancers.simulation.storytelling import make_cells
from balancers.simulation.suite import chapters, run_cells
from benchmarks import published, simulator
from benchmarks.__main__ import main
from benchmarks.published import (
    BULLETINS,
    LATENCIES,
    PERIODS,
    SERVICE,
    bulletin_cell,
    cell,
    figure,
)

CLEARLY = 1.5
COSTLY = ("Random", "oracle")  # to simulate; the table has them


@pytest.mark.parametrize(
    ("clients", "wanted"),
    [
        (1, None),
        (10, ("half at half speed", "a quarter 10× slower", "1 fails in 1 ms")),
        (100, ("half at half speed", "a quarter 10× slower", "1 fails in 1 ms")),
    ],
    ids=["1 client", "10 clients", "100 clients"],
)
def test_policies_stand_in_the_published_order(clients, wanted):
    """A p99 published as half above another is above it, one that only grows above all others;
    so are errors, where they are half more and half a percent.

    Runs of a second, one fixed seed: 6,400 requests each.
    """  # noqa: D205
    rows = {name: row for name, row in LATENCIES[clients].items() if name not in COSTLY}
    compared = 0
    for column in wanted or next(iter(rows.values())):
        ours = {name: figure(play(cell(clients, name, column, 1.0, 1))) for name in rows}
        for low, high in permutations(rows, 2):
            less, more = rows[low][column], rows[high][column]
            if less.p99 and more.p99 and CLEARLY * less.p99 < more.p99:
                compared += 1
                assert ours[low].p99 < ours[high].p99, (column, low, high)
            least = max(CLEARLY * less.errors, less.errors + 0.5) if less.errors is not None else 99
            if more.errors is not None and least < more.errors:
                compared += 1
                assert (ours[low].errors or 0.0) < ours[high].errors, (column, low, high)
    assert compared >= 10


@pytest.mark.parametrize("column", ["equal servers", "half at half speed", "1 fails in 1 ms"])
def test_figures_are_those_published(column):
    """p50 within 9 % and p99 within 15 %, errors within 10 %: three times what seeds differ by.

    Runs of 3 s where the study took a minute with three seeds.
    """
    for name in ("LeastConnections", "PowerOfTwoChoices", "PeakEwma", "Adaptive"):
        expected = LATENCIES[1][name][column]
        found = figure(play(cell(1, name, column, 3.0, 1)))
        assert found.p50 == pytest.approx(expected.p50, rel=0.09), name
        assert found.p99 == pytest.approx(expected.p99, rel=0.15), name
        errors = expected.errors or 0.0
        assert (found.errors or 0.0) == pytest.approx(errors, rel=0.1, abs=0.05), name


@pytest.mark.parametrize("period", [0.1, 1.0, 4.0])
def test_bulletins_spoil_as_published(period):
    """Mean responses within 20 % of the published, which differ tenfold; and in their order."""
    expected = {rule: means[PERIODS.index(period)] for rule, means in BULLETINS.items()}
    ours = {
        rule: play(bulletin_cell(rule, period, 20.0))["measures"]["mean"] / SERVICE
        for rule in expected
        if rule != "Random"
    }
    for rule, mean in ours.items():
        assert mean == pytest.approx(expected[rule], rel=0.2), rule
    assert sorted(ours, key=ours.get) == sorted(ours, key=expected.get)


def test_the_tables_are_printed(monkeypatch, capsys):
    """Published figures stand beside ours, in the same form; speed and memory have their tables."""
    names = ("equal servers", "1 hangs 5 s")
    rows = {"RoundRobin": {name: LATENCIES[1]["RoundRobin"][name] for name in names}}
    monkeypatch.setattr(published, "LATENCIES", {1: rows})
    monkeypatch.setattr(published, "COLUMNS", {name: published.COLUMNS[name] for name in names})
    monkeypatch.setattr(published, "BULLETINS", {"Random": BULLETINS["Random"]})
    main(["published", "--seconds", "0.2", "--jobs", "1"])
    monkeypatch.setattr(simulator, "default_policies", lambda: ["RoundRobin"])
    monkeypatch.setattr(simulator, "LENGTHS", (100,))
    main(["simulator", "--requests", "200", "--rounds", "1"])
    out = capsys.readouterr().out

    assert re.search(r"\| RoundRobin +\| 10\.4/53 → \d+\.\d/\d+ \| 5\.00 % → [45]\.\d\d % \|", out)
    assert len(re.findall(r"9\.30 → \d", out)) == len(PERIODS)
    assert re.search(r"\| RoundRobin \| +\d[\d,]+ \|", out)
    assert re.search(r"\| +100 \| +[\d,]{7,} \|", out)


def test_bulletins_have_their_readers_beside_the_policies():
    """Where bulletins appear, the report has a row for each way to read them, and no other has."""
    layers = [{"traffic": {"requests": 300}}]
    cells = make_cells(["RoundRobin"], ["shared-bulletins", "steady"], [0], layers)
    first, second = chapters(cells, run_cells(cells))

    assert {row.policy for row in first.rows if row.kind == "bulletin"} == {*BULLETINS} - {"Random"}
    assert {row.kind for row in second.rows} == {"policy", "oracle", "bound"}


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(1, 9)), min_size=1, max_size=12),
    st.integers(1, 200),
)
def test_water_finds_its_level(rows, coming):
    """All that comes is shared out; who gets some is level with the others, nobody else below."""
    queues = [Fraction(queue) for queue, _ in rows]
    speeds = [Fraction(speed) for _, speed in rows]
    parts = filled(queues, speeds, Fraction(coming))
    levels = {(q + part) / s for q, s, part in zip(queues, speeds, parts, strict=True) if part > 0}

    assert sum(parts) == coming
    assert len(levels) == 1
    (level,) = levels
    assert all(
        q / s >= level for q, s, part in zip(queues, speeds, parts, strict=True) if part == 0
    )


def test_between_bulletins_nobody_knows_more():
    """All go to the queue that was shorter at the last bulletin, until the next one."""
    who = bulletin("bulletin, least", 10.0)
    run = Run(who.build, (Endpoint("a"), Endpoint("b")), fifo(), keyed=who.keyed)
    times = [1.0] + [11.0] * 6 + [21.0] * 3
    run.feed(Batch(times, [None] * 10, [1000.0] * 10))

    # One of them gets the first, so the other all of the next, so the first one the last three.
    assert sorted(run.total("picks").values()) == [4.0, 6.0]
    run.update([Endpoint("b")])
    assert run.balancer.pick().endpoint.id == "b"
    with pytest.raises(ValueError, match="publishes bulletins"):
        bulletin("bulletin, least", 0.0)
