"""Priority: exact shares against a model, panic tier by tier, failover and return."""

from fractions import Fraction
from random import Random

import pytest
from compose_models import Ward, counted, shares_of
from hypothesis import example, given, settings
from hypothesis import strategies as st

from balancers import Endpoint, NoEligibleEndpointError, Priority, Reason, RingHash, RoundRobin
from balancers.structures.split import Split, position_of
from balancers.structures.tiers import tier_percentages, tier_shares
from balancers.testing import binomial_range

parts = st.fractions(min_value=0, max_value=2, max_denominator=50)
STATES = ("up", "degraded", "down", "drained")
fleets = st.lists(
    st.tuples(
        st.integers(0, 2), st.sampled_from((0.0, 0.1, 0.5, 1.0, 3.0)), st.sampled_from(STATES)
    ),
    min_size=1,
    max_size=12,
)
"""Tier, weight and state of each endpoint."""


def water(healthy: list[Fraction], degraded: list[Fraction]) -> list[Fraction]:
    """The slow model: pour the whole load over cups of these sizes, first cup first."""
    cups = [min(Fraction(1), size) for size in healthy + degraded]
    whole = sum(cups)
    if whole == 0:
        return [Fraction(0)] * len(cups)
    if whole < 1:  # all cups are enlarged alike
        cups = [size / whole for size in cups]
    poured = []
    for index in range(len(cups)):
        before = sum(cups[:index])
        poured.append(
            max(Fraction(0), min(Fraction(1), before + cups[index]) - min(Fraction(1), before))
        )
    return poured


@given(st.lists(parts, min_size=1, max_size=5), st.data())
@example([Fraction(1, 4), Fraction(1, 4), Fraction(1, 5)], None)
def test_shares_are_poured_first_tier_first(healthy: list[Fraction], data: st.DataObject | None):
    """Shares equal the model's, sum to exactly 1 if there is any capacity, and obey it."""
    degraded = [Fraction(0)] * len(healthy)
    if data is not None:
        size = len(healthy)
        degraded = data.draw(st.lists(parts, min_size=size, max_size=size))
    first, second = tier_shares(healthy, degraded)

    assert first + second == water(healthy, degraded)
    assert sum(first + second) == (1 if any(healthy + degraded) else 0)
    if sum(min(Fraction(1), c) for c in healthy + degraded) >= 1:
        pairs = zip(first + second, healthy + degraded, strict=True)
        assert all(share <= capacity for share, capacity in pairs)


@given(st.lists(st.integers(0, 100), min_size=1, max_size=6), st.data())
def test_percentages_are_whole_and_near(healthy: list[int], data: st.DataObject):
    """Envoy's integers sum to 100 and are within the number of tiers of the exact shares."""
    degraded = data.draw(
        st.lists(st.integers(0, 100), min_size=len(healthy), max_size=len(healthy))
    )
    whole = tier_percentages(healthy, degraded)
    exact = tier_shares([Fraction(h, 100) for h in healthy], [Fraction(d, 100) for d in degraded])

    assert sum(whole[0] + whole[1]) == (100 if any(healthy + degraded) else 0)
    for integers, reals in zip(whole, exact, strict=True):
        for integer, real in zip(integers, reals, strict=True):
            assert abs(integer - 100 * real) <= 2 * len(healthy)


def build(fleet: list[tuple[int, float, str]], **options: object) -> tuple[Priority, Ward]:
    """Return tiers in the states drawn."""
    ward = Ward()
    members = [Endpoint(f"e{i}", priority=t, weight=w) for i, (t, w, _) in enumerate(fleet)]
    balancer = Priority(members, policy=RoundRobin, health=ward.registry, **options)
    for i, (_, _, state) in enumerate(fleet):
        act = {"up": ward.up, "degraded": ward.degrade, "down": ward.down, "drained": ward.drain}
        act[state](f"e{i}")
    return balancer, ward


@given(fleets, st.sampled_from((1.0, 1.4, 2.0)))
def test_shares_follow_health(fleet: list[tuple[int, float, str]], factor: float):
    """Without panic each tier's share is what the model pours for its eligible weights."""
    balancer, _ = build(fleet, overprovisioning=factor, panic_threshold=0.0)
    tiers = sorted({tier for tier, _, _ in fleet})

    def capacity(tier: int, state: str) -> Fraction:
        members = sum(Fraction(w) for t, w, _ in fleet if t == tier)
        able = sum(Fraction(w) for t, w, s in fleet if t == tier and s == state)
        return Fraction(str(factor)) * able / members if members else Fraction(0)

    healthy = [capacity(tier, "up") for tier in tiers]
    degraded = [capacity(tier, "degraded") for tier in tiers]
    names = [f"{tier}" for tier in tiers] + [f"{tier} degraded" for tier in tiers]
    expected = dict(zip(names, water(healthy, degraded), strict=True))
    shares = shares_of(balancer)

    for name, share in expected.items():
        # Weights are added up as floats, rounded once.
        assert abs(shares.get(name, Fraction(0)) - share) < Fraction(1, 10**12)
    assert sum(shares.values()) == (1 if any(healthy + degraded) else 0)


@given(fleets, st.integers(0, 2**32))
def test_nobody_is_picked_who_may_not_be(fleet: list[tuple[int, float, str]], seed: int):
    """Picks go to the eligible alone, or under PANIC to the enabled; a refusal means nobody is."""
    balancer, _ = build(fleet, rng=Random(seed))
    state = {f"e{i}": s for i, (_, w, s) in enumerate(fleet) if w}
    able = {name for name, s in state.items() if s in ("up", "degraded")}
    enabled = {name for name, s in state.items() if s != "drained"}
    for _ in range(8):
        try:
            pick = balancer.pick()
        except NoEligibleEndpointError:
            assert not able
            return
        foretold = balancer.explain()
        pick.done()
        assert pick.endpoint.id in (enabled if pick.reason is Reason.PANIC else able)
        assert foretold.chosen is not None


@given(fleets, st.data())
@settings(max_examples=40)
def test_restoring_a_tier_restores_its_routing(
    fleet: list[tuple[int, float, str]], data: st.DataObject
):
    """A tier taken away and put back, or failed and recovered: shares and placement as before."""
    ward = Ward()
    members = [Endpoint(f"e{i}", priority=t, weight=1.0 + w) for i, (t, w, _) in enumerate(fleet)]
    balancer = Priority(members, policy=RingHash, health=ward.registry)
    keys = [f"k{i}" for i in range(40)]
    before = shares_of(balancer), [balancer.explain(key).chosen for key in keys]
    tier = data.draw(st.sampled_from([e.priority for e in members]))
    gone = [e.id for e in members if e.priority == tier]
    balancer.update([e for e in members if e.priority != tier])
    balancer.update(data.draw(st.permutations(members)))

    assert (shares_of(balancer), [balancer.explain(key).chosen for key in keys]) == before
    ward.down(*gone)
    ward.up(*gone)
    assert (shares_of(balancer), [balancer.explain(key).chosen for key in keys]) == before


def test_a_half_dead_tier_spills_at_random():
    """At 50 % health 70 % of unkeyed picks stay: binomial, false alarm 1e-9."""
    balancer, _ = build([(0, 1.0, "up"), (0, 1.0, "down"), (1, 1.0, "up")], rng=Random(7))
    low, high = binomial_range(4_000, Fraction(7, 10))

    assert low <= counted(balancer, lambda e: e.priority, [None] * 4_000)[0] <= high


def test_keys_move_only_across_the_boundary():
    """As a tier fails piece by piece, a key that has left it does not come back meanwhile."""
    ward = Ward()
    members = [Endpoint(f"p{i}") for i in range(10)] + [Endpoint("b", priority=1)]
    balancer = Priority(members, policy=RingHash, health=ward.registry, overprovisioning=1.0)
    keys = [f"k{i}" for i in range(300)]
    before: set[str] = set()
    for i in range(10):
        ward.down(f"p{i}")
        chosen = {key: balancer.explain(key).chosen for key in keys}
        spilled = {key for key, endpoint in chosen.items() if endpoint and endpoint.priority}
        assert before <= spilled
        assert len(spilled) == sum(position_of(k, balancer._seed) >= (9 - i) / 10 for k in keys)
        before = spilled
    assert before == set(keys)


def test_degraded_endpoints_wait_for_the_healthy_of_all_tiers():
    """A degraded first tier gets nothing while a later tier is healthy, and all it can after."""
    balancer, ward = build([(0, 1.0, "degraded"), (1, 1.0, "up")])
    assert shares_of(balancer) == {"1": 1}
    ward.down("e1")
    assert shares_of(balancer) == {"0 degraded": 1}
    with balancer.pick() as pick:
        assert pick.endpoint.id == "e0"
        assert balancer.explain().path == ("Priority[0 degraded]", "RoundRobin")


def test_exclude_reaches_the_next_tier():
    """What ``exclude`` takes from the first tier, the next one serves, as FALLBACK."""
    balancer, _ = build([(0, 1.0, "up"), (1, 1.0, "up")])
    with balancer.pick(exclude=["e0"]) as pick:
        assert (pick.endpoint.id, pick.reason) == ("e1", Reason.FALLBACK)
    assert balancer.explain(exclude=["e0"]).chosen == pick.endpoint
    with pytest.raises(NoEligibleEndpointError):
        balancer.pick(exclude=["e0", "e1"])


@pytest.mark.parametrize(
    "options",
    [{"overprovisioning": 0}, {"overprovisioning": float("nan")}, {"rounding": "bankers"}],
)
def test_bad_options(options: dict[str, object]):
    """Options out of range raise at once."""
    with pytest.raises(ValueError, match=r"must be|rounding is"):
        Priority(["a"], policy=RoundRobin, **options)


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 5)), min_size=1, max_size=8))
def test_split_cuts_the_unit_interval(weights: list[tuple[int, int]]):
    """Each part owns an interval as long as its share; boundaries belong to the later part."""
    shares = {index: Fraction(above, 1 + below) for index, (above, below) in enumerate(weights)}
    split: Split[int] = Split(shares)
    split._check()
    whole = sum(shares.values())
    edges = Fraction(0)
    for part, share in shares.items():
        if share:
            assert split.parts[split.at(float(edges))] == part
            edges += share / whole
    assert len(split.parts) == sum(1 for share in shares.values() if share)
