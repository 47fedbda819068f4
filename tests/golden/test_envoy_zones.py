"""Envoy's zones: locality weights, and zone-aware routing with residual capacity.

Source: envoyproxy/envoy, test/extensions/load_balancing_policies/common/locality_wrr_test.cc
(UnhealthyFailover, LocalityPickChanges), docs locality_weight.rst, and the zone-aware tests of
round_robin_lb_test.cc (different zone size, small zone, residuals of five zones).
"""

from fractions import Fraction
from heapq import heapify, heapreplace

import pytest
from compose_models import Ward, shares_of

from balancers import Endpoint, RoundRobin, ZoneAware
from balancers.compose import ZoneWeighted


def in_turn(shares: dict[str, Fraction], picks: int) -> dict[str, int]:
    """Draw zones as Envoy does: by earliest deadline, each a pick's worth of its weight on."""
    queue = [(1 / share, order, zone) for order, (zone, share) in enumerate(shares.items())]
    heapify(queue)
    counts = dict.fromkeys(shares, 0)
    for turn in range(picks):
        deadline, _, zone = queue[0]
        counts[zone] += 1
        heapreplace(queue, (deadline + 1 / shares[zone], len(shares) + turn, zone))
    return counts


def zones_of(sizes: dict[str, int]) -> list[Endpoint]:
    """Return so many endpoints in each zone."""
    return [Endpoint(f"{zone}{i}", zone=zone) for zone, n in sizes.items() for i in range(n)]


@pytest.mark.parametrize(
    ("healthy", "picks"),
    [(5, (33, 67)), (4, (33, 67)), (3, (29, 71)), (2, (22, 78)), (1, (12, 88)), (0, (0, 100))],
)
def test_locality_weights_shrink_with_health(healthy: int, picks: tuple[int, int]):
    """Zone a of weight 1 loses hosts, zone b of weight 2 does not: counts of 100 picks."""
    ward = Ward()
    balancer = ZoneWeighted(
        zones_of({"a": 5, "b": 1}),
        policy=RoundRobin,
        weights={"a": 1, "b": 2},
        health=ward.registry,
        panic_threshold=0.0,
    )
    ward.down(*(f"a{i}" for i in range(healthy, 5)))
    counts = in_turn(shares_of(balancer), 100)

    assert (counts.get("a", 0), counts["b"]) == picks


@pytest.mark.parametrize(("factor", "picks"), [(1.0, (33, 67)), (2.0, (50, 50))])
def test_overprovisioning_of_localities(factor: float, picks: tuple[int, int]):
    """Half of zone a is healthy: the factor says whether that matters."""
    ward = Ward()
    balancer = ZoneWeighted(
        zones_of({"a": 2, "b": 1}),
        policy=RoundRobin,
        weights={"a": 1, "b": 1},
        overprovisioning=factor,
        health=ward.registry,
    )
    ward.down("a1")
    counts = in_turn(shares_of(balancer), 100)

    assert (counts["a"], counts["b"]) == picks


@pytest.mark.parametrize(
    ("available", "percent"), [(100, 33), (70, 33), (69, 33), (50, 26), (25, 15), (0, 0)]
)
def test_documented_localities(available: int, percent: int):
    """The table of the docs (its 69 % row rounds 32.57 down)."""
    ward = Ward()
    balancer = ZoneWeighted(
        zones_of({"x": 100, "y": 1}),
        policy=RoundRobin,
        weights={"x": 1, "y": 2},
        health=ward.registry,
        panic_threshold=0.0,
    )
    ward.down(*(f"x{i}" for i in range(available, 100)))
    share = 100 * shares_of(balancer).get("x", Fraction(0))

    assert round(share) == percent
    assert available != 69 or int(share) == 32


def test_a_locality_without_weight_is_never_picked():
    """A zone that is given no weight gets nothing, not even when the others exclude themselves."""
    balancer = ZoneWeighted(
        zones_of({"a": 1, "b": 1, "c": 1}), policy=RoundRobin, weights={"a": 1, "c": 1}
    )

    assert shares_of(balancer) == {"a": Fraction(1, 2), "c": Fraction(1, 2)}


def test_zones_of_different_size():
    """Callers in two of three equal zones: 2/3 stay, the rest goes to the third (6666/10000)."""
    balancer = ZoneAware(
        zones_of({"a": 1, "b": 1, "c": 1}),
        policy=RoundRobin,
        local_zone="b",
        callers={"a": 1, "b": 1},
    )

    assert shares_of(balancer) == {"b": Fraction(2, 3), "c": Fraction(1, 3)}


def test_all_stay_at_home_in_equal_zones():
    """As many callers as hosts in each zone: everything is direct."""
    balancer = ZoneAware(zones_of({"a": 1, "b": 1, "c": 1}), policy=RoundRobin, local_zone="b")

    assert shares_of(balancer) == {"b": 1}


def test_a_small_zone():
    """One host of five for a third of the callers: 6000/10000 stay, the others share evenly."""
    balancer = ZoneAware(zones_of({"a": 1, "b": 2, "c": 2}), policy=RoundRobin, local_zone="a")

    assert shares_of(balancer) == {
        "a": Fraction(6000, 10000),
        "b": Fraction(2, 10),
        "c": Fraction(2, 10),
    }


def test_residuals_of_five_zones():
    """3/8 stay; C and D have a residue of 20.83 % each, E of 12.5 %, B has no hosts."""
    balancer = ZoneAware(
        zones_of({"a": 1, "c": 3, "d": 3, "e": 1}),
        policy=RoundRobin,
        local_zone="a",
        callers={"a": 2, "b": 2, "c": 1, "d": 1},
    )
    shares = shares_of(balancer)
    away = {zone: share for zone, share in shares.items() if zone != "a"}
    whole = sum(away.values())
    # Envoy's residual capacities, rounded up: 2084, 2084 and 1250 of 5418.
    residues = {"c": 2084, "d": 2084, "e": 1250}

    assert shares["a"] * 10000 == 3750
    assert all(abs(5418 * away[zone] / whole - residue) < 1 for zone, residue in residues.items())
    assert away["c"] / whole == Fraction(5, 24) / Fraction(13, 24)


def test_no_zone_in_common():
    """Callers in zones without hosts: everything goes by residual capacity, here evenly."""
    balancer = ZoneAware(
        zones_of({"d": 1, "e": 1, "f": 1}),
        policy=RoundRobin,
        local_zone="a",
        callers={"a": 1, "b": 1, "c": 1},
    )

    assert shares_of(balancer) == dict.fromkeys("def", Fraction(1, 3))
