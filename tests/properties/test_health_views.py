"""What a balancer shows after health changes is what it would show had it looked at everybody."""

import contextlib
from collections import Counter
from math import sqrt
from random import Random

import pytest
from health_models import registry_at
from hypothesis import example, given
from hypothesis import strategies as st

from balancers import Endpoint, NoEligibleEndpointError, Outcome
from balancers.core.view import view_of
from balancers.health import Admin
from balancers.policies import LeastConnections, RoundRobin
from balancers.policies import Random as RandomPolicy

SIZE = 24
"""One in eight may change without everybody being looked at again: up to three of these."""

few = st.integers(0, 2)  # so that the same ones go and come back
changes = st.lists(
    st.one_of(
        st.tuples(st.just("probe"), few, st.booleans()),
        st.tuples(st.just("order"), few, st.sampled_from(Admin)),
        st.tuples(st.just("request"), few, st.sampled_from(Outcome)),
        st.tuples(st.just("wait"), st.sampled_from((0.5, 3.0, 10.0)), st.none()),
    ),
    max_size=30,
)


@example(  # out, back by way of the grace, and through the ramp
    changes=[
        ("probe", 1, False),
        ("probe", 1, True),
        ("wait", 3.0, None),
        ("wait", 3.0, None),
        ("wait", 10.0, None),
    ],
    zero=set(),
)
@given(changes=changes, zero=st.sets(st.integers(0, SIZE - 1), max_size=3))
def test_views_are_kept_up_to_date(
    changes: list[tuple[str, float, object]], zero: set[int]
) -> None:
    """After anything the view is the one made from scratch, and cells know who is quiet."""
    registry, clock = registry_at()
    roster = [Endpoint(f"e{i}", weight=0.0 if i in zero else 1.0 + i / 7) for i in range(SIZE)]
    balancer = RoundRobin(roster, health=registry)
    for what, where, value in changes:
        if what == "wait":
            clock.advance(where)
            registry.tick()
        elif isinstance(value, Outcome):
            others = [e.id for e in roster if e.id != f"e{where}"]
            with contextlib.suppress(NoEligibleEndpointError):
                balancer.pick(exclude=others).done(value)
        elif isinstance(value, Admin):
            registry.set_admin(f"e{where}", value)
        else:
            for _ in range(2):
                registry.record_probe(f"e{where}", ok=bool(value))
        view = balancer._view
        assert view.census is not None
        view.census._check()
        for cell in view.members:
            assert cell.calm is (cell.entry.pool if cell.entry.quiet else None)
        fresh = view_of(view.roster, balancer._ledger.cells, 0.5)
        for field in ("endpoints", "cells", "reason", "skipped", "ramps", "probing", "members"):
            assert getattr(view, field) == getattr(fresh, field), field


@given(
    changes=changes,
    equal=st.booleans(),
    work=st.lists(st.tuples(st.integers(0, 9), st.sampled_from((1.0, 1.0, 2.5))), max_size=30),
)
def test_least_connections_follows_health(
    changes: list[tuple[str, float, object]], equal: bool, work: list[tuple[int, float]]
) -> None:
    """A heap that follows health holds the candidates, at their weights, and picks among them."""
    registry, clock = registry_at()
    roster = [Endpoint(f"e{i}", weight=1.0 if equal else 1.0 + i / 7) for i in range(SIZE)]
    balancer = LeastConnections(roster, health=registry, rng=Random(3))
    leases = []
    for (what, where, value), (settle, cost) in zip(changes, work, strict=False):
        if what == "wait":
            clock.advance(where)
        elif isinstance(value, Outcome):
            registry.record(f"e{where}", value)
        elif isinstance(value, Admin):
            registry.set_admin(f"e{where}", value)
        else:
            for _ in range(2):
                registry.record_probe(f"e{where}", ok=bool(value))
        for _ in range(3):
            leases.append(balancer.pick(cost=cost))
            assert leases[-1].endpoint in balancer._view.endpoints
        if settle < len(leases):
            leases.pop(settle).done()
        heap, view = balancer._heap, balancer._view
        assert view.state is heap
        balancer._refile()  # as the next pick would
        heap._check()
        assert heap.weights == {
            cell: endpoint.weight * view.ramps.get(endpoint.id, 1.0)
            for cell, endpoint in zip(view.cells, view.endpoints, strict=True)
        }
        watched = {c for c in balancer._ledger.cells.values() if balancer._tell in c.tellers}
        assert watched == set(view.cells)
    for lease in leases:
        lease.done()


def test_a_heap_follows_and_is_not_built_anew() -> None:
    """One of many going and coming back leaves the others filed where they are."""
    registry, _ = registry_at()
    balancer = LeastConnections([f"e{i}" for i in range(SIZE)], health=registry, rng=Random(3))
    before, by_load = balancer._heap, balancer._heap.one
    held = [balancer.pick() for _ in range(2 * SIZE)]
    gone = [lease for lease in held if lease.endpoint.id == "e5"]
    registry.set_admin("e5", Admin.DRAINING)
    for lease in gone:  # told of by leases that knew where it was filed
        lease.done()
    held = [lease for lease in held if lease not in gone]
    more = [balancer.pick() for _ in range(SIZE - 1)]
    seen = {lease.endpoint.id for lease in more}
    assert len(gone) == 2
    assert seen == {f"e{i}" for i in range(SIZE)} - {"e5"}
    registry.set_admin("e5", Admin.ENABLED)
    last = [balancer.pick() for _ in range(3)]

    assert balancer._heap is before
    assert before.one is not by_load  # leases that knew where they were filed ask again
    assert {lease.endpoint.id for lease in last} == {"e5"}
    assert all(lease.done() for lease in (*held, *more, *last))
    balancer._refile()
    before._check()


@pytest.mark.parametrize("out", [1, 3])
def test_draws_pass_over_who_is_out(out: int) -> None:
    """Random's shares among the rest are those of their weights, by the quick way and the long.

    Each count is within 6.6 standard deviations of its mean, which a right one misses with
    probability 4e-11; 40 of them are looked at.
    """
    registry, _ = registry_at()
    weights = [1.0, 2.5, 0.5, 3.0, 2.0, 1.5]
    roster = [Endpoint(f"e{i}", weight=weight) for i, weight in enumerate(weights)]
    balancer = RandomPolicy(roster, health=registry, rng=Random(5))
    sampler = balancer._view.state.sampler
    for name in ("e1", "e2", "e5")[:out]:
        for _ in range(2):
            registry.record_probe(name, ok=False)
    assert balancer._view.state.sampler is sampler  # nothing was rebuilt
    for exclude in ((), ("e3",)):
        eligible = [e for e in balancer._view.endpoints if e.id not in exclude]
        whole = sum(endpoint.weight for endpoint in eligible)
        picks = 8_000
        counts: Counter[str] = Counter()
        for _ in range(picks):
            with balancer.pick(exclude=exclude) as pick:
                counts[pick.endpoint.id] += 1
        assert set(counts) == {endpoint.id for endpoint in eligible}
        for endpoint in eligible:
            share = endpoint.weight / whole
            spread = sqrt(picks * share * (1.0 - share))
            assert abs(counts[endpoint.id] - picks * share) <= 6.6 * spread


def test_draws_are_laid_anew_where_most_are_out() -> None:
    """With less than half of the weight left, the table holds the candidates alone."""
    registry, _ = registry_at()
    balancer = RandomPolicy(list("abcdef"), health=registry, panic_threshold=0.0, rng=Random(1))
    for name in "abcd":
        for _ in range(2):
            registry.record_probe(name, ok=False)
    table = balancer._view.state

    assert [cell.endpoint.id for cell in table.cells] == ["e", "f"]
    assert balancer.pick(exclude=["e"]).done()
    registry.set_admin("e", Admin.DISABLED)
    with balancer.pick() as pick:
        assert pick.endpoint.id == "f"
    registry.set_admin("e", Admin.ENABLED)
    seen = set()
    for _ in range(60):
        with balancer.pick() as pick:
            seen.add(pick.endpoint.id)
    assert seen == {"e", "f"}
