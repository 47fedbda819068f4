"""Power of two choices: whom it draws, whom it takes, whom it never takes."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from itertools import permutations
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancers import (
    Admin,
    Endpoint,
    HealthRegistry,
    NoEligibleEndpointError,
    PeakEwma,
    Pick,
    PowerOfTwoChoices,
)
from balancers.core.choices import Candidates
from balancers.core.ledger import Cell, Ledger
from balancers.core.view import View
from balancers.testing import ManualClock
from balancers.testing.binomial import binomial_range

NAMES = "abcdef"
loads = st.dictionaries(st.sampled_from(NAMES), st.integers(0, 4), min_size=1)
weights = st.sampled_from([1.0, 1.0, 2.0, 0.3, 10.0, 1e-3])


def settle(leases: list[Pick]) -> None:
    for lease in leases:
        lease.done()


def loaded(balancer: PowerOfTwoChoices, wanted: dict[str, int]) -> list[Pick]:
    """Open so many leases on each, by excluding all the others."""
    names = {endpoint.id for endpoint in balancer.endpoints}
    return [
        balancer.pick(exclude=names - {name}) for name, load in wanted.items() for _ in range(load)
    ]


def drawn_chances(shares: dict[str, Fraction], choices: int) -> dict[str, Fraction]:
    """Chance of each to be among ``choices`` draws in proportion, without replacement."""
    found = dict.fromkeys(shares, Fraction(0))
    for order in permutations(shares, min(choices, len(shares))):
        chance, rest = Fraction(1), sum(shares.values(), Fraction(0))
        for name in order:
            chance *= shares[name] / rest
            rest -= shares[name]
        for name in order:
            found[name] += chance
    return found


@given(st.data(), loads, st.integers(2, 4), st.integers(0, 2**32))
def test_the_only_fullest_is_never_picked(
    data: st.DataObject, wanted: dict[str, int], choices: int, seed: int
) -> None:
    """With two or more eligible, whoever alone has the most (load + 1)/weight is left out."""
    members = [Endpoint(name, weight=data.draw(weights)) for name in wanted]
    balancer = PowerOfTwoChoices(members, choices=choices, rng=Random(seed))
    leases = loaded(balancer, wanted)
    values = {e.id: Fraction(wanted[e.id] + 1) / Fraction(e.weight) for e in members}
    most = max(values.values())
    fullest = [name for name, value in values.items() if value == most]
    for _ in range(30):
        foretold = balancer.explain().chosen
        with balancer.pick() as lease:
            assert lease.endpoint is foretold
            if len(values) > 1 and len(fullest) == 1:
                assert lease.endpoint.id != fullest[0]
    settle(leases)


@pytest.mark.parametrize("choices", [2, 3])
@pytest.mark.parametrize("given_weights", [(1, 1, 1, 1, 1), (1, 2, 3, 4, 10)])
def test_nobody_is_picked_more_often_than_drawn(
    choices: int, given_weights: tuple[int, ...]
) -> None:
    """Over 3,000 picks from one state each count is within what its draws allow, at 1e-9.

    The state makes one endpoint the best wherever it is drawn: its count is exactly its draws.
    """
    names = "abcde"
    members = [Endpoint(n, weight=w) for n, w in zip(names, given_weights, strict=True)]
    balancer = PowerOfTwoChoices(members, choices=choices, rng=Random(11))
    # (load + 1)/weight grows with the letter, so that "a" wins whenever it is drawn.
    wanted = {n: (i + 1) * 2 * w for i, (n, w) in enumerate(zip(names, given_weights, strict=True))}
    leases = loaded(balancer, wanted)
    counts: Counter[str] = Counter()
    for _ in range(3000):
        with balancer.pick() as lease:
            counts[lease.endpoint.id] += 1
    shares = {n: Fraction(w) for n, w in zip(names, given_weights, strict=True)}
    chances = drawn_chances(shares, choices)
    for name in names:
        low, high = binomial_range(3000, chances[name])
        assert counts[name] <= high
        if name == "a":
            assert counts[name] >= low
    settle(leases)


@pytest.mark.parametrize("given_weights", [(1, 1, 1, 1), (1, 1, 3, 5)])
def test_ties_are_even(given_weights: tuple[int, ...]) -> None:
    """Of two at the same (load + 1)/weight each wins half the draws of both, at 1e-9."""
    members = [Endpoint(n, weight=w) for n, w in zip("abcd", given_weights, strict=True)]
    balancer = PowerOfTwoChoices(members, rng=Random(12))
    leases = loaded(balancer, {n: w * 2 - 1 for n, w in zip("abcd", given_weights, strict=True)})
    counts: Counter[str] = Counter()
    for _ in range(4000):
        with balancer.pick() as lease:
            counts[lease.endpoint.id] += 1
    shares = {n: Fraction(w) for n, w in zip("abcd", given_weights, strict=True)}
    expected = dict.fromkeys("abcd", Fraction(0))
    whole = sum(shares.values())
    for one, other in permutations("abcd", 2):
        chance = shares[one] / whole * shares[other] / (whole - shares[one])
        expected[one] += chance / 2
        expected[other] += chance / 2
    for name in "abcd":
        low, high = binomial_range(4000, expected[name])
        assert low <= counts[name] <= high
    settle(leases)


def test_the_small_n_law() -> None:
    """32 requests on 16 equal endpoints: nobody holds more than 6 (P = 6.8e-13 a run)."""
    for seed in range(200):
        balancer = PowerOfTwoChoices([str(i) for i in range(16)], rng=Random(seed))
        leases = [balancer.pick() for _ in range(32)]
        assert max(view.in_flight for view in balancer.snapshot().endpoints) <= 6
        settle(leases)


@pytest.mark.parametrize("ratio", [1, 3, 10])
def test_weights_are_served_in_proportion(ratio: int) -> None:
    """Half the fleet ``ratio`` times as heavy gets its part of 200 requests an endpoint.

    Over- and under-service stay within 12 and 18 requests, which simulation puts beyond 1e-9.
    """
    n = 20
    members = [Endpoint(str(i), weight=ratio if i % 2 else 1) for i in range(n)]
    balancer = PowerOfTwoChoices(members, rng=Random(ratio))
    leases = [balancer.pick() for _ in range(200 * n)]
    whole = sum(member.weight for member in members)
    for view in balancer.snapshot().endpoints:
        due = len(leases) * view.endpoint.weight / whole
        assert due - 18 <= view.in_flight <= due + 12
    settle(leases)


@given(loads, st.sets(st.sampled_from(NAMES)), st.integers(2, 5), st.integers(0, 2**32))
def test_exclude_and_few_endpoints(
    wanted: dict[str, int], exclude: set[str], choices: int, seed: int
) -> None:
    """The excluded are never picked; with no more left than ``choices`` the least loaded is."""
    balancer = PowerOfTwoChoices(list(wanted), choices=choices, rng=Random(seed))
    leases = loaded(balancer, wanted)
    left = {name: load for name, load in wanted.items() if name not in exclude}
    if not left:
        with pytest.raises(NoEligibleEndpointError):
            balancer.pick(exclude=exclude)
    else:
        with balancer.pick(exclude=exclude) as lease:
            assert lease.endpoint.id in left
            if len(left) <= choices:
                assert left[lease.endpoint.id] == min(left.values())
    settle(leases)


def test_costs_and_responses_count() -> None:
    """Loads are sums of costs, less those that have responded."""
    balancer = PowerOfTwoChoices(["a", "b"], rng=Random(1))
    heavy = balancer.pick(cost=5.0)
    other = {"a": "b", "b": "a"}[heavy.endpoint.id]
    light = [balancer.pick() for _ in range(4)]
    assert {lease.endpoint.id for lease in light} == {other}
    heavy.responded()
    with balancer.pick() as lease:
        assert lease.endpoint is heavy.endpoint
    settle([heavy, *light])


@pytest.mark.parametrize("equal", [True, False])
def test_ramping_endpoints_are_drawn_with_their_chance(equal: bool) -> None:
    """A ramping endpoint is kept with chance r, else drawn again: its share of first draws."""
    ledger = Ledger(ManualClock(), None)
    members = tuple(Endpoint(n, weight=1.0 if equal else 2.0 + (n == "a")) for n in "abcde")
    cells = tuple(Cell(member, ledger) for member in members)
    candidates = Candidates(View(members, members, cells, ramps={"a": 0.2}))
    rng = Random(13)
    first: Counter[str] = Counter()
    for _ in range(4000):
        drawn = candidates.draw(rng, 2, ())
        assert len(set(drawn)) == 2
        first[drawn[0].endpoint.id] += 1
    share = Fraction(1, 5) if equal else Fraction(3, 11)
    kept = share * Fraction(1, 5)
    again = share * Fraction(4, 5)  # up to eight tries, the last of which is kept whoever it is
    chance = sum((kept * again**k for k in range(7)), Fraction(0)) + share * again**7
    low, high = binomial_range(4000, chance)
    assert low <= first["a"] <= high
    assert candidates.weights[cells[0]] == members[0].weight * 0.2


@pytest.mark.parametrize("policy", [PowerOfTwoChoices, PeakEwma])
@given(
    given_weights=st.lists(st.sampled_from([0.0, 1.0, 2.0, 0.3, 0.1, 1e-3, 40.0]), max_size=6),
    steps=st.lists(st.integers(0, 7), max_size=12),
    seed=st.integers(0, 2**32),
)
def test_draws_after_health_changes_are_those_of_a_fresh_start(
    policy: type[PowerOfTwoChoices], given_weights: list[float], steps: list[int], seed: int
) -> None:
    """Whoever goes or comes back, candidates have the same weights as if nothing had been.

    Now and then an update doubles the first one's weight. What is drawn from, over the same table
    or another, is compared in exact integers. Where a quarter of the weight is left the table is
    the same.
    """
    members = [Endpoint(str(i), weight=weight) for i, weight in enumerate([*given_weights, 5.0])]
    registry = HealthRegistry(clock=ManualClock())
    balancer = policy(members, health=registry, rng=Random(seed), panic_threshold=0.0)
    ids = [member.id for member in members]
    out: set[str] = set()
    for step in steps:
        before: Candidates | None = balancer._view.state
        name = ids[step % len(ids)]
        if step == 7:
            members = [Endpoint(ids[0], weight=members[0].weight * 2.0), *members[1:]]
            balancer.update(members)
            before = None if members[0].weight else before
        else:
            out ^= {name}
            registry.set_admin(name, Admin.DISABLED if name in out else Admin.ENABLED)
        left = {m.id: Fraction(m.weight) for m in members if m.weight and m.id not in out}
        candidates: Candidates | None = balancer._view.state
        if not left:
            assert candidates is None
            continue
        assert candidates is not None
        assert candidates.count == len(left)
        cells = balancer._ledger.cells
        assert {n: w for n in ids if (w := candidates.weight(cells[n])) is not None} == left
        drawn = candidates.draw(Random(seed), len(ids), ())
        assert sorted(cell.endpoint.id for cell in drawn) == sorted(left)
        sampler = candidates.sampler
        if sampler is None:
            assert len(set(left.values())) == 1
            assert [cell.endpoint.id for cell in candidates.cells] == list(left)
        else:
            units = {
                cell.endpoint.id: Fraction(unit)
                for cell, unit in zip(candidates.cells, sampler._whole, strict=True)
                if unit
            }
            whole, unit = sum(left.values()), sum(units.values())
            assert {n: u / unit for n, u in units.items()} == {
                n: w / whole for n, w in left.items()
            }
            assert candidates.ground is not None
            if before is not None and before.ground is not None:
                kept = sum(left.get(cell.endpoint.id, 0) for cell in before.ground.cells)
                there = sum(Fraction(cell.endpoint.weight) for cell in before.ground.cells)
                fits = left.keys() <= {cell.endpoint.id for cell in before.ground.cells}
                assert (candidates.ground is before.ground) is (fits and 4 * kept >= there)
        for _ in range(3):
            chosen = balancer.explain(exclude=()).chosen
            with balancer.pick() as lease:
                assert lease.endpoint is chosen
                assert lease.endpoint.id in left


def test_pairs_while_others_are_out_have_their_chances() -> None:
    """Of four, one out, 4,000 picks go where pairs by weight without it send them, at 1e-9."""
    shares = {"a": Fraction(1), "b": Fraction(2), "c": Fraction(5)}
    for policy in (PowerOfTwoChoices, PeakEwma):
        registry = HealthRegistry(clock=ManualClock())
        members = [Endpoint(name, weight=float(w)) for name, w in {**shares, "x": 8}.items()]
        balancer = policy(members, health=registry, rng=Random(21), panic_threshold=0.0)
        registry.set_admin("x", Admin.DISABLED)
        assert balancer._view.state.sampler.barred
        leases = loaded(balancer, {"b": 20, "c": 80})  # "a" is best wherever it is drawn
        chance = drawn_chances(shares, 2)["a"]
        count = 0
        for _ in range(4000):
            with balancer.pick() as lease:
                count += lease.endpoint.id == "a"
        low, high = binomial_range(4000, chance)
        assert low <= count <= high
        settle(leases)


@pytest.mark.parametrize("policy", [PowerOfTwoChoices, PeakEwma])
def test_bad_options(policy: type[PowerOfTwoChoices]) -> None:
    """Fewer than two choices, or what is no number of them, is refused."""
    for choices in (1, 0, -2):
        with pytest.raises(ValueError, match="choices"):
            policy(["a"], choices=choices)
    for wrong in (True, 2.0, "2"):
        with pytest.raises(TypeError, match="choices"):
            policy(["a"], choices=wrong)  # type: ignore[arg-type]
