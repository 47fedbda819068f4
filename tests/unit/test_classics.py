"""The benchmark of classic policies: published order on a small run, and the table it prints.

Seed 1, three simulated seconds (19,200 requests) a policy: runs are deterministic, so that nothing
here can fail by chance.
"""

import importlib
import sys
from types import ModuleType

import pytest
from source_tree import ROOT


@pytest.fixture(scope="module")
def classics() -> ModuleType:
    """Import benchmarks.classics: the root is not on the path of the tests."""
    sys.path.insert(0, str(ROOT))
    try:
        return importlib.import_module("benchmarks.classics")
    finally:
        sys.path.remove(str(ROOT))


def test_medians_are_in_the_published_order(classics: ModuleType):
    """On equal servers: least connections, two choices, peak EWMA, round robin, random."""
    order = ["LeastConnections", "PowerOfTwoChoices", "PeakEwma", "RoundRobin", "Random"]
    found = [classics.figures(policy, "homogeneous", 1, 3.0).p50 for policy in order]

    assert found == sorted(found)
    for policy, p50 in zip(order, found, strict=True):
        published = float(classics.PUBLISHED[1][policy][0].partition("/")[0]) / 1000.0
        assert p50 == pytest.approx(published, rel=0.06)


def test_a_heavy_tail_hurts_peak_latency(classics: ModuleType):
    """Under log-normal work the peak rule takes slow requests for slow servers, as published."""
    least, peak = (
        classics.figures(policy, "lognormal", 1, 3.0).p50
        for policy in ("LeastConnections", "PeakEwma")
    )

    assert 1.3 * least < peak < 2.0 * least  # 3.6 and 6.5 ms in the notes


def test_who_falls_for_a_fast_failure(classics: ModuleType):
    """Least connections, two choices, round robin; a penalty for errors keeps peak EWMA away."""
    found = [
        classics.figures(policy, "fast fail", 1, 3.0).errors
        for policy in ("LeastConnections", "PowerOfTwoChoices", "RoundRobin", "PeakEwma")
    ]

    assert found == pytest.approx([0.2745, 0.0951, 0.05, 0.0], rel=0.06, abs=0.001)


def test_stability_on_uneven_fleets(classics: ModuleType):
    """Where a quarter is ten times slower two choices are unstable, the whole view is not."""
    assert classics.figures("PowerOfTwoChoices", "het 10x", 1, 3.0).unstable
    assert not classics.figures("LeastResponseTime", "het 10x", 1, 3.0).unstable


def test_every_published_row_fits_the_columns(classics: ModuleType):
    """Each row of published figures has one for every condition."""
    for rows in classics.PUBLISHED.values():
        assert set(rows) <= set(classics.POLICIES)
        assert all(len(row) == len(classics.CONDITIONS) for row in rows.values())


def test_the_table(classics: ModuleType, capsys: pytest.CaptureFixture[str]):
    """The command prints a table with a row for each policy, the published figure in brackets."""
    import argparse

    parser = argparse.ArgumentParser()
    classics.add_arguments(parser)
    classics.run(
        parser.parse_args(
            ["--seconds", "0.2", "--clients", "1", "10", "--conditions", "hang", "het 2x",
             "--policies", "RoundRobin", "LeastResponseTime"]
        )
    )  # fmt: skip
    out = capsys.readouterr().out

    assert "\n1 client\n" in out
    assert "\n10 clients\n" in out
    assert out.count("| RoundRobin ") == out.count("| LeastResponseTime ") == 2
    assert "[5.00]" in out
    assert "[–]" in out
