"""The table of peers: its measures on known counts, and that it runs."""

import pytest
from source_tree import ROOT


@pytest.fixture
def peers_table(monkeypatch):
    """Import benchmarks.peers_table; the root is not on the path of the tests."""
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import peers_table

    return peers_table


def test_measures_of_known_counts(peers_table):
    """Three of four on one of two nodes: busiest 1.5, Jain 0.8; one of four keys moved."""
    assert peers_table.fairness(["a", "a", "a", "b"], 2) == (1.5, 0.8)
    assert peers_table.jain([4], 4) == 0.25
    assert peers_table.moved([1, 2, 3, 4], ["1", 2, 3, 5]) == 0.25


def test_schedulers_go_round(peers_table):
    """Every installed peer without keys visits each of its nodes once in a round."""
    for _, build in peers_table.schedulers().values():
        call = build(["a", "b", "c"])
        assert len({str(call()) for _ in range(3)}) == 3


def test_the_table_is_printed(peers_table, monkeypatch, capsys):
    """Ours are in it with a version and every figure, whoever else is installed."""
    from benchmarks.__main__ import main

    # A few steps a batch: what is printed is looked at, not how long it took.
    monkeypatch.setattr(peers_table, "sized", lambda make, **options: make(16))
    main(["peers", "--keys", "300", "--rounds", "1"])
    out = capsys.readouterr().out
    rows = [line.split("|") for line in out.splitlines() if line.startswith("| balancers")]

    assert {row[1].strip() for row in rows} == {
        "balancers HashRing", "balancers RendezvousHash", "balancers JumpHash",
        "balancers SmoothSchedule", "balancers RoundRobin, with its lease",
    }  # fmt: skip
    assert all(cell.strip() for row in rows for cell in row[1:-1])
