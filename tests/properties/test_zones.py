"""Zones: what is kept, what is spilled, and that no zone is given more than it can take."""

from fractions import Fraction
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from compose_models import Ward, counted, shares_of
from hypothesis import example, given
from hypothesis import strategies as st

from balancers import Endpoint, NoEligibleEndpointError, Reason, RoundRobin, ZoneAware
from balancers.compose import LocalFirst, ZoneWeighted
from balancers.structures.zones import locality_shares, zone_shares
from balancers.testing import binomial_range

amounts = st.fractions(min_value=0, max_value=3, max_denominator=20)
worlds = st.dictionaries(st.sampled_from("abcde"), amounts, min_size=1)


def inflow(capacities: dict[str, Fraction], demand: dict[str, Fraction]) -> dict[str, Fraction]:
    """What each zone gets if the callers of every zone do as ``zone_shares`` says."""
    whole = sum(demand.values())
    total = dict.fromkeys(capacities, Fraction(0))
    for zone, callers in demand.items():
        for target, share in zone_shares(zone, capacities, demand).items():
            total[target] += callers / whole * share
    return total


@given(worlds, worlds)
@example({"a": Fraction(1, 5), "b": Fraction(2, 5), "c": Fraction(2, 5)}, {"a": Fraction(1)})
def test_no_zone_gets_more_than_it_can_take(
    capacities: dict[str, Fraction], demand: dict[str, Fraction]
):
    """Over all callers nothing is lost, and no zone passes its capacity while there is enough."""
    if not any(capacities.values()) or not any(demand.values()):
        return
    total = inflow(capacities, demand)
    enough = sum(capacities.values())
    # Short of the demand, all zones are overloaded by the same factor.
    caps = {z: c if enough >= 1 else c / enough for z, c in capacities.items()}

    assert sum(total.values()) == 1
    assert all(total[zone] <= caps[zone] for zone in capacities)


@given(worlds, worlds, st.sampled_from("abcde"))
def test_as_much_as_possible_stays_at_home(
    capacities: dict[str, Fraction], demand: dict[str, Fraction], home: str
):
    """The local share is min(1, capacity / demand): no rule that overloads nobody keeps more."""
    if not any(capacities.values()) or not any(demand.values()):
        return
    shares = zone_shares(home, capacities, demand)
    need = demand.get(home, Fraction(0)) / sum(demand.values())
    have = capacities.get(home, Fraction(0)) * max(Fraction(1), 1 / sum(capacities.values()))
    kept = shares.get(home, Fraction(0))

    assert sum(shares.values()) == 1
    assert min(shares.values()) >= 0
    assert kept == (0 if not have else 1 if have >= need else have / need)
    for zone, share in shares.items():
        assert not share or capacities[zone]


@given(worlds, worlds, st.fractions(min_value=Fraction(1, 10), max_value=3, max_denominator=20))
def test_locality_shares(
    weights: dict[str, Fraction], parts: dict[str, Fraction], factor: Fraction
):
    """Shares are weight · min(1, factor · available), over their sum."""
    available = {zone: min(Fraction(1), part) for zone, part in parts.items()}
    shares = locality_shares(weights, available, factor)
    worth = {
        z: weights.get(z, Fraction(0)) * min(Fraction(1), factor * a) for z, a in available.items()
    }
    whole = sum(worth.values())

    assert shares == {z: w / whole if whole else 0 for z, w in worth.items()}


def zoned(sizes: dict[str | None, int], weight: float = 1.0) -> list[Endpoint]:
    """Return so many endpoints in each zone."""
    return [
        Endpoint(f"{zone}{i}", zone=zone, weight=weight)
        for zone, count in sizes.items()
        for i in range(count)
    ]


@given(
    st.dictionaries(st.sampled_from("abc"), st.integers(1, 4), min_size=1),
    st.sets(st.integers(0, 11)),
    st.sampled_from("abc"),
    st.integers(0, 2**16),
)
def test_shares_follow_health(sizes: dict[str, int], sick: set[int], home: str, seed: int):
    """Each zone's capacity is its eligible part of all members; picks go where shares are."""
    ward = Ward()
    members = zoned(dict(sizes))
    balancer = ZoneAware(
        members,
        policy=RoundRobin,
        local_zone=home,
        health=ward.registry,
        panic_threshold=0.0,
        rng=Random(seed),
    )
    down = {members[i].id for i in sick if i < len(members)}
    ward.down(*down)
    able = {z: sum(1 for e in members if e.zone == z and e.id not in down) for z in sizes}
    capacities = {z: Fraction(n, len(members)) for z, n in able.items()}
    callers = dict.fromkeys({*sizes, home}, Fraction(1))
    expected = zone_shares(home, capacities, callers)

    assert shares_of(balancer) == {z: share for z, share in expected.items() if share}
    if any(able.values()):
        zones = counted(balancer, lambda e: e.zone, [None] * 20)
        assert all(expected[zone] for zone in zones)
    else:
        with pytest.raises(NoEligibleEndpointError):
            balancer.pick()


@given(st.lists(st.sampled_from([None, "a", "b", "c"]), min_size=1, max_size=10), st.randoms())
def test_shares_do_not_depend_on_order(zones: list[str | None], shuffler: Random):
    """Any order of the membership gives the same shares and the same order of zones."""
    members = [Endpoint(f"e{i}", zone=zone) for i, zone in enumerate(zones)]
    balancer = ZoneAware(members, policy=RoundRobin, local_zone="a")
    before = list(shares_of(balancer).items())
    shuffler.shuffle(members)
    balancer.update(members)

    assert list(shares_of(balancer).items()) == before


def test_small_clusters_have_no_cliff():
    """From one endpoint a zone on, shares move continuously as weights do."""
    shares = []
    for step in range(101):
        members = [Endpoint("a", zone="a", weight=1.0 - step / 100), Endpoint("b", zone="b")]
        balancer = ZoneAware(members, policy=RoundRobin, local_zone="a")
        shares.append(shares_of(balancer).get("a", Fraction(0)))

    assert shares[0] == 1
    assert shares[-1] == 0
    assert max(abs(x - y) for x, y in pairwise(shares)) < Fraction(3, 100)


def test_overprovisioning_keeps_traffic_at_home():
    """With a factor of 2 half of each zone may go before anything is sent elsewhere."""
    ward = Ward()
    balancer = ZoneAware(
        zoned({"a": 4, "b": 4}),
        policy=RoundRobin,
        local_zone="a",
        overprovisioning=2.0,
        health=ward.registry,
    )
    ward.down("a0", "a1")
    assert shares_of(balancer) == {"a": 1}
    ward.down("a2")
    assert shares_of(balancer) == {"a": Fraction(1, 2), "b": Fraction(1, 2)}


def test_spilled_picks_are_a_binomial_draw():
    """Unkeyed picks stay with the chance of the share: false alarm 1e-9."""
    balancer = ZoneAware(
        zoned({"a": 1, "b": 2, "c": 2}), policy=RoundRobin, local_zone="a", rng=Random(9)
    )
    zones = counted(balancer, lambda e: e.zone, [None] * 5_000)
    for zone, share in (("a", Fraction(3, 5)), ("b", Fraction(1, 5)), ("c", Fraction(1, 5))):
        low, high = binomial_range(5_000, share)
        assert low <= zones[zone] <= high


@pytest.mark.parametrize(
    ("cls", "options", "error"),
    [
        (ZoneAware, {"local_zone": 3}, TypeError),
        (ZoneAware, {"local_zone": "a", "callers": {"a": -1}}, ValueError),
        (ZoneAware, {"local_zone": "a", "callers": {"a": 0}}, ValueError),
        (ZoneAware, {"local_zone": "a", "callers": ["a"]}, TypeError),
        (ZoneAware, {"local_zone": "a", "callers": {"a": True}}, TypeError),
        (ZoneAware, {"local_zone": "a", "callers": {1: 1.0}}, TypeError),
        (ZoneAware, {"local_zone": "a", "overprovisioning": 0.0}, ValueError),
        (ZoneWeighted, {"weights": {}}, ValueError),
        (LocalFirst, {"local_zone": "a", "overload": 0}, ValueError),
    ],
)
def test_bad_options(cls: Any, options: dict[str, Any], error: type[Exception]):
    """Options out of range raise at once."""
    with pytest.raises(error):
        cls(["a"], policy=RoundRobin, **options)


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 3))
def test_local_unless_overloaded(script: list[bool], size: int):
    """Home while its leases fit, then zones that are below the mark, then home after all."""
    balancer = LocalFirst(
        zoned({"a": size, "b": 1, "c": 1}), policy=RoundRobin, local_zone="a", overload=2.0
    )
    room = {"a": 2 * size, "b": 2, "c": 2}
    held: list[Any] = []
    for taking in script:
        if taking:
            open_in = {zone: sum(p.endpoint.zone == zone for p in held) for zone in room}
            below = {zone for zone in room if open_in[zone] + 1 <= room[zone]}
            pick = balancer.pick()
            if "a" in below or not below:
                assert pick.endpoint.zone == "a"
            else:
                assert pick.endpoint.zone in below
            held.append(pick)
        elif held:
            held.pop(0).done()
        balancer._check()
    for pick in held:
        pick.done()
    assert not balancer._zones


def test_local_first_follows_an_endpoint_that_moves():
    """A lease is counted where it was granted, until it ends, wherever its endpoint goes."""
    balancer = LocalFirst(
        [Endpoint("x", zone="a"), Endpoint("y", zone="b")],
        policy=RoundRobin,
        local_zone="a",
        overload=1.0,
    )
    pick = balancer.pick()
    balancer.update([Endpoint("x", zone="b"), Endpoint("z", zone="a")])
    with balancer.pick() as other:
        assert other.endpoint.id in ("x", "z")
    pick.done()
    balancer._check()
    with balancer.pick() as other:
        assert (other.endpoint.id, other.reason) == ("z", Reason.NORMAL)
