"""The ledger: cells that count by what is open, and forget nothing and nobody else."""

from __future__ import annotations

import logging
import math
import threading
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancers import Endpoint, Outcome, RoundRobin
from balancers.core.ledger import Cell, Ledger, default_classify
from balancers.protocol import Reason
from balancers.testing.threads import switching

costs = st.one_of(
    st.just(1.0),
    st.integers(1, 10),
    st.floats(min_value=5e-324, max_value=1e300, exclude_min=False),
)


def cell_of(name="a"):
    """A cell in a ledger of its own."""
    ledger = Ledger(lambda: 0.0, None)
    cells = ledger.plan([Endpoint(name)])
    ledger.commit(cells, [Endpoint(name)])
    return cells[name]


@given(st.lists(st.tuples(costs, st.integers(0, 2)), max_size=30))
def test_load_is_the_exact_sum(leases):
    """Load is the sum of the open costs, rounded once; settled and responded ones are out."""
    cell = cell_of()
    held = []
    expected = Fraction(0)
    for cost, fate in leases:
        pick = cell.issue_tracked(Reason.NORMAL, cost, None, ())
        if fate == 0:
            expected += Fraction(cost)
            held.append(pick)
        elif fate == 1:
            pick.responded()
            held.append(pick)
        else:
            pick.done()
        assert cell.load == float(expected)
        assert cell.in_flight == len(held)
        cell.ledger._check()
    for pick in held:
        pick.done()
    assert (cell.load, cell.in_flight, cell.costs) == (0.0, 0, {})
    assert cell.picks == len(leases)


def test_a_sum_beyond_floats_is_infinite():
    """Legal costs may add up to more than a float holds; looking at them does not raise."""
    balancer = RoundRobin(["a"])
    with balancer.pick(cost=1.7e308), balancer.pick(cost=1.7e308):
        assert balancer.snapshot().endpoints[0].load == math.inf
    assert balancer.snapshot().endpoints[0].load == 0.0


def test_costs_are_forgotten():
    """A million leases of odd costs leave no trace of themselves."""
    balancer = RoundRobin(["a"])
    for i in range(1_000):
        with balancer.pick(cost=1.5) as pick:
            pick.responded()
        pick = balancer.pick()
        if i % 2:
            pick.responded()
        pick.done()
    cell = balancer._ledger.cells["a"]
    assert not cell.costs
    assert not cell.open
    balancer._ledger._check()


def test_plan_changes_nothing():
    """A plan that is not committed leaves the ledger as it was."""
    cell = cell_of()
    ledger = cell.ledger
    before = dict(ledger.cells)
    planned = ledger.plan([Endpoint("a", weight=3), Endpoint("b")])
    assert planned["a"] is cell
    assert ledger.cells == before
    assert cell.endpoint == Endpoint("a")


def test_a_cell_is_never_handed_on():
    """Leaving and coming back makes another cell, with other serials and no facts."""
    balancer = RoundRobin(["a"])
    first = balancer._ledger.cells["a"]
    first.fact(list, list).append("known")
    lease = balancer.pick()
    balancer.update(["b"])
    balancer.update(["a"])
    second = balancer._ledger.cells["a"]
    assert second is not first
    assert second.fact(list, list) == []
    assert second.picks == 0
    lease.done()
    assert first.in_flight == second.in_flight == 0


def test_a_block_forgets_the_cost_too():
    """A plain lease that responded inside its block leaves no cost behind when it ends."""
    balancer = RoundRobin(["a"])
    with balancer.pick() as pick:
        pick.responded()
        assert balancer._ledger.cells["a"].costs
    assert not balancer._ledger.cells["a"].costs
    balancer._ledger._check()


def test_a_cost_between_the_flag_and_the_hook():
    """A cost opened while another thread is half way in expecting costs is forgotten too."""
    cell = cell_of()
    cell.costly = True  # as the other thread left it, before it set ``after``
    cell.issue_tracked(Reason.NORMAL, 2.0, None, ()).done()
    assert not cell.costs


def test_a_fact_made_in_the_making():
    """Where making a fact asks for the same fact, everybody goes on with one object."""
    cell = cell_of()
    inner = []

    def make():
        if not inner:
            inner.append(None)
            inner[0] = cell.fact(list, list)
        return []

    assert cell.fact(list, make) is inner[0] is cell.fact(list, list)


def test_facts_of_several_kinds():
    """Each kind has a fact of its own, a subclass too; what was not made is not known."""
    cell = cell_of()

    class Special(list):
        pass

    special = cell.fact(Special, Special)
    assert cell.known(list) is None
    plain = cell.fact(list, list)
    assert plain is not special
    assert cell.known(list) is cell.fact(list, list) is plain
    assert cell.known(Special) is cell.fact(Special, Special) is special
    assert cell.known(dict) is None


def test_facts_are_made_once():
    """Threads that ask for one fact at once all get the same object."""
    for _ in range(30):
        cell = cell_of()
        start = threading.Barrier(4)
        found = []

        def ask(cell=cell, start=start, found=found):
            start.wait()
            found.append(cell.fact(list, list))

        with switching(1e-6):
            threads = [threading.Thread(target=ask) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert len({id(fact) for fact in found}) == 1
        assert cell.fact(list, list) is found[0]


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ValueError(), Outcome.FAILURE),
        (TimeoutError(), Outcome.FAILURE),
        (KeyboardInterrupt(), Outcome.CANCELLED),
        (SystemExit(), Outcome.CANCELLED),
        (ExceptionGroup("several", [ValueError()]), Outcome.FAILURE),
        (BaseExceptionGroup("several", [KeyboardInterrupt()]), Outcome.CANCELLED),
    ],
)
def test_default_classify(error, outcome):
    """An ``Exception`` is a failure, any other ``BaseException`` a cancellation."""
    assert default_classify(error) is outcome


def test_a_bad_classifier_is_logged(caplog):
    """A classifier that raises, or returns something else, is logged; the default rule holds."""

    def classify(error):
        if isinstance(error, KeyError):
            raise ZeroDivisionError("its own")
        return "failure"

    ledger = Ledger(lambda: 0.0, classify)
    with caplog.at_level(logging.ERROR, logger="balancers"):
        assert ledger.classified(KeyError()) is Outcome.FAILURE
        assert ledger.classified(KeyboardInterrupt()) is Outcome.CANCELLED
    assert "raised" in caplog.text
    assert "'failure'" in caplog.text


def test_the_check_finds_what_is_wrong():
    """``_check`` is no decoration: each invariant broken by hand is found."""

    def break_name(cell: Cell):
        cell.endpoint = Endpoint("other")

    def break_ledger(cell: Cell):
        cell.ledger = Ledger(lambda: 0.0, None)

    def break_costs(cell: Cell):
        cell.costs[99] = 2.0

    def break_serials(cell: Cell):
        cell.open.add(99)

    for breaking in (break_name, break_ledger, break_costs, break_serials):
        cell = cell_of()
        ledger = cell.ledger
        ledger._check()
        breaking(cell)
        with pytest.raises(AssertionError):
            ledger._check()
