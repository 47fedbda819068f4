"""Subsets: size, stability, and how evenly clients fall on endpoints, for 1…1,000 clients."""

import math
from collections import Counter
from fractions import Fraction
from typing import Any

import pytest
from compose_models import Ward
from hypothesis import example, given, settings
from hypothesis import strategies as st

from balancers import Endpoint, NoEligibleEndpointError, Reason, RoundRobin, Subset
from balancers.policies import WeightedRoundRobin
from balancers.structures.subsetting import (
    aperture,
    golden_offset,
    overlaps,
    rendezvous_order,
)
from balancers.testing import binomial_range

names = st.lists(st.text(min_size=1, max_size=4), unique=True, max_size=14)
clients = st.one_of(st.text(max_size=5), st.binary(max_size=5), st.integers())


def members(balancer: Subset) -> list[str]:
    """Return the ids chosen."""
    return [view.endpoint.id for view in balancer.snapshot().endpoints]


@given(names, clients, st.integers(1, 16), st.data())
def test_a_random_subset_is_a_stable_function(
    ids: list[str], client: Any, size: int, data: st.DataObject
):
    """min(size, n) members, whatever the order; one id more or less changes at most one."""
    balancer = Subset(ids, policy=RoundRobin, seed=client, size=size)
    before = members(balancer)
    assert len(before) == min(size, len(ids))
    assert before == [name for name in ids if name in set(before)]
    balancer.update(data.draw(st.permutations(ids)))
    assert set(members(balancer)) == set(before)
    if ids:
        gone = data.draw(st.sampled_from(ids))
        balancer.update([name for name in ids if name != gone])
        after = set(members(balancer))
        assert len(set(before) - after) == (gone in before)
        assert set(before) - after <= {gone}
        assert len(after - set(before)) <= 1
        balancer.update(ids)
        assert members(balancer) == before


@given(names, st.sets(st.integers(0, 13)), st.integers(1, 6))
def test_those_who_may_not_be_picked_are_passed_over(ids: list[str], sick: set[int], size: int):
    """Members are the first eligible of the client's own order, then the first of the others."""
    ward = Ward()
    balancer = Subset(
        ids, policy=RoundRobin, seed="c", size=size, health=ward.registry, panic_threshold=0.0
    )
    down = {ids[i] for i in sick if i < len(ids)}
    before = set(members(balancer))
    for name in sorted(down):
        last = set(members(balancer))
        ward.down(name)
        assert len(last - set(members(balancer))) <= 1
    order = rendezvous_order(ids, "c")
    expected = [n for n in order if n not in down] + [n for n in order if n in down]
    assert set(members(balancer)) == set(expected[:size])
    ward.up(*down)
    assert set(members(balancer)) == before


@pytest.mark.parametrize("count", [1, 2, 3, 10, 30, 100, 300, 1_000])
def test_random_subsets_are_binomial(count: int):
    """Each endpoint has Binomial(C, k/n) clients: 100 endpoints, false alarm 1e-9 in all."""
    ids = [f"b{i}" for i in range(100)]
    counts: Counter[str] = Counter()
    for client in range(count):
        counts.update(rendezvous_order(ids, f"client-{client}")[:20])
    low, high = binomial_range(count, Fraction(20, 100), Fraction(1, 10**11))

    assert sum(counts.values()) == 20 * count
    assert low <= min(counts[name] for name in ids)
    assert max(counts[name] for name in ids) <= high


@given(
    st.lists(st.sampled_from([0.0, 0.5, 1.0, 1.0, 3.0]), min_size=1, max_size=12),
    st.integers(1, 40),
    st.integers(1, 12),
)
@example([1.0] * 10, 4, 12)
def test_apertures_load_everybody_exactly(weights: list[float], count: int, least: int):
    """Over all clients each endpoint's overlap is its own part of all arcs, exactly."""
    arcs = [aperture(weights, index, count, least) for index in range(count)]
    whole = sum(map(Fraction, weights))
    widths = {sum(arc) for arc in arcs}

    assert len(widths) == 1
    for place, weight in enumerate(weights):
        load = sum(arc[place] for arc in arcs)
        assert load == (count * widths.copy().pop() * Fraction(weight) / whole if whole else 0)
    if whole and least <= len(weights):
        assert widths.pop() >= Fraction(least, len(weights))


@pytest.mark.parametrize("count", [1, 2, 5, 17, 100, 1_000])
def test_apertures_load_everybody_evenly_in_subsets(count: int):
    """All clients' arcs load everybody exactly, and ``Subset`` shows its policy these weights."""
    load: Counter[str] = Counter()
    ids = [f"b{i}" for i in range(60)]
    arcs = [aperture([1.0] * 60, index, count, 12) for index in range(count)]
    assert {sum(parts) for parts in zip(*arcs, strict=True)} == {sum(arcs[0]) * count / 60}
    for index in range(0, count, max(1, count // 40)):
        balancer = Subset(
            ids, policy=WeightedRoundRobin, seed=index, clients=count, method="aperture", size=12
        )
        view = balancer._branches["only"].view
        order = list(balancer._order or ())
        for endpoint in view.endpoints:
            part = arcs[index][order.index(endpoint.id)]
            assert math.isclose(endpoint.weight, part * 60, rel_tol=1e-9)
        whole = math.fsum(e.weight for e in view.endpoints)
        assert len(view.endpoints) >= min(12, len(ids))
        for endpoint in view.endpoints:
            load[endpoint.id] += endpoint.weight / whole  # type: ignore[assignment]
    if count in (5, 17):  # every client was asked
        expected = count / 60
        assert all(math.isclose(load[name], expected, rel_tol=1e-9) for name in ids)


def discrepancy(count: int, first: int, width: Fraction) -> Fraction:
    """Return how far the number of golden arcs over a point strays from count · width, at most."""
    starts = sorted(golden_offset(first + i) for i in range(count))
    worst = Fraction(0)
    edges = sorted({*starts, *((s + width) % 1 for s in starts)})
    ends = sorted((s + width) % 1 for s in starts)
    wrapped = sum(1 for s in starts if s + width >= 1)
    begun = ended = 0
    for edge in edges:
        while begun < count and starts[begun] <= edge:
            begun += 1
        while ended < count and ends[ended] <= edge:
            ended += 1
        over = begun - ended + wrapped
        worst = max(worst, abs(over - count * width))
    return worst


@given(st.integers(1, 1_000), st.integers(0, 2**31), st.integers(1, 60))
@settings(max_examples=25)
@example(1_000, 0, 12)
@example(987, 12_345, 20)
def test_golden_places_are_nearly_even(count: int, first: int, size: int):
    """Over any run of indices a point has C · width ± (3 + 3.53 ln C) arcs; in fact ± 3."""
    worst = discrepancy(count, first, Fraction(size, 60))

    assert worst <= 3 + 3.53 * math.log(count)
    assert worst <= 3


def test_golden_subsets_are_nearly_even():
    """100 clients of 20 members over 100 endpoints: each has 17 to 23 clients' worth."""
    ids = [f"b{i}" for i in range(100)]
    counts: Counter[str] = Counter()
    for client in range(500, 600):
        balancer = Subset(ids, policy=RoundRobin, seed=client, method="golden")
        counts.update(members(balancer))
    assert max(counts[n] for n in ids) <= 23
    assert min(counts[n] for n in ids) >= 17


@given(st.lists(st.sampled_from([0.5, 1.0, 2.5]), min_size=1, max_size=10), st.data())
def test_overlaps_are_lengths_of_arcs(weights: list[float], data: st.DataObject):
    """They sum to the width, none is longer than the endpoint's own arc, and they are right."""
    offset = data.draw(st.fractions(0, 1, max_denominator=16).filter(lambda f: f < 1))
    width = data.draw(st.fractions(0, 1, max_denominator=16))
    whole = sum(map(Fraction, weights))
    found = overlaps(weights, offset, width)

    assert sum(found) == width
    for weight, part in zip(weights, found, strict=True):
        assert 0 <= part <= Fraction(weight) / whole
    # The slow model: cut the circle into steps so fine that every edge lies between two.
    steps = math.lcm(offset.denominator, width.denominator, int(2 * whole))
    slow = [0] * len(weights)
    edges = [sum(map(Fraction, weights[:i])) / whole for i in range(1, len(weights) + 1)]
    for step in range(int(width * steps)):
        place = (offset + Fraction(2 * step + 1, 2 * steps)) % 1
        slow[sum(1 for edge in edges if edge <= place)] += 1
    assert found == [Fraction(n, steps) for n in slow]


@pytest.mark.parametrize("method", ["aperture", "golden"])
def test_an_arc_reaches_round_those_who_are_out(method: str):
    """With members of its arc down a client keeps as many eligible ones as there should be."""
    ward = Ward()
    ids = [f"b{i}" for i in range(40)]
    options = {"clients": 8} if method == "aperture" else {}
    balancer = Subset(
        ids, policy=RoundRobin, seed=3, size=10, method=method, health=ward.registry, **options
    )
    before = members(balancer)
    ward.down(*before[:7])
    able = [n for n in members(balancer) if n not in before[:7]]
    assert len(able) >= 10
    ward.up(*before[:7])
    assert members(balancer) == before


def test_clients_may_be_named():
    """Any identities do for an aperture, in any order: the place is the rank."""
    who = ["web-3", "web-1", "cron", b"x", 17]
    ids = [f"b{i}" for i in range(10)]
    load: Counter[str] = Counter()
    for client in who:
        balancer = Subset(
            ids, policy=RoundRobin, seed=client, clients=who, method="aperture", size=2
        )
        same = Subset(
            ids[::-1], policy=RoundRobin, seed=client, clients=who[::-1], method="aperture", size=2
        )
        assert sorted(members(balancer)) == sorted(members(same))
        load.update(members(balancer))
    assert set(load.values()) == {1}


def test_a_pick_stays_in_the_subset():
    """Everybody else is outside, says ``explain``; ``exclude`` does not widen the subset."""
    balancer = Subset([f"b{i}" for i in range(50)], policy=RoundRobin, seed="me", size=3)
    mine = members(balancer)
    for _ in range(9):
        with balancer.pick() as pick:
            assert pick.endpoint.id in mine
    said = balancer.explain()
    assert len(said.skipped) == 47
    assert set(said.skipped.values()) == {"not in this client's subset"}
    assert len(balancer.endpoints) == 50
    with pytest.raises(NoEligibleEndpointError):
        balancer.pick(exclude=mine)


def test_panic_reaches_the_subset():
    """When most of the fleet is out health is ignored, for members like for anybody."""
    ward = Ward()
    ids = [f"b{i}" for i in range(10)]
    balancer = Subset(ids, policy=RoundRobin, seed=1, size=2, health=ward.registry)
    mine = members(balancer)
    ward.down(*ids)
    with balancer.pick() as pick:
        assert (pick.reason, pick.endpoint.id in mine) == (Reason.PANIC, True)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"seed": 1.5}, TypeError),
        ({"seed": True}, TypeError),
        ({"seed": 1, "size": 0}, ValueError),
        ({"seed": 1, "size": True}, TypeError),
        ({"seed": 1, "method": "sre"}, ValueError),
        ({"seed": 1, "clients": 4}, ValueError),
        ({"seed": 1, "method": "aperture"}, ValueError),
        ({"seed": 4, "method": "aperture", "clients": 4}, ValueError),
        ({"seed": "x", "method": "aperture", "clients": 4}, TypeError),
        ({"seed": "x", "method": "aperture", "clients": ["y"]}, ValueError),
        ({"seed": "x", "method": "aperture", "clients": "xyz"}, TypeError),
        ({"seed": "x", "method": "golden"}, TypeError),
    ],
)
def test_bad_options(options: dict[str, Any], error: type[Exception]):
    """Options out of range, or that the method has no use for, raise at once."""
    with pytest.raises(error):
        Subset([Endpoint("a")], policy=RoundRobin, **options)
