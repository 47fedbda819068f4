"""Regions: order by place, waterfall and spray, thresholds, drains, residency, DNS answers."""

import math
from fractions import Fraction
from random import Random
from typing import Any

import pytest
from compose_models import Ward, counted
from hypothesis import given, settings
from hypothesis import strategies as st

from balancers import (
    Endpoint,
    NoEligibleEndpointError,
    NoEndpointError,
    Priority,
    Reason,
    Regions,
    RingHash,
    RoundRobin,
    Sticky,
)
from balancers.compose import GeoAnswer, distance
from balancers.structures.waterfall import waterfall

WHERE = {"eu": (50.1, 8.7), "us": (39.0, -77.5), "ap": (35.7, 139.7), "sa": (-23.5, -46.6)}


def globe(count: int = 4, regions: Any = tuple(WHERE)) -> list[Endpoint]:
    """Return so many endpoints in each region."""
    return [Endpoint(f"{region}{i}", region=region) for region in regions for i in range(count)]


def placed(key: str) -> Any:
    """Read a place off a key: "name/…", "lat,lon/…", or nothing."""
    place = key.partition("/")[0]
    if "," in place:
        latitude, longitude = place.split(",")
        return float(latitude), float(longitude)
    return place or None


def regions(**options: Any) -> Regions:
    """Return the four regions over round robins."""
    options = {"policy": RoundRobin, "locate": placed, "coordinates": WHERE, **options}
    return Regions(globe(), **options)


def shares(balancer: Regions, key: str | None) -> dict[str, Fraction]:
    """Return the exact share of each region for a client, and check the spread."""
    spread = balancer._spread(balancer._view.state.plan, key)
    spread._check()
    return {str(name): share for name, share in spread.shares.items()}


points = st.tuples(st.floats(-90, 90), st.floats(-180, 180))


@given(points, points, points)
def test_distance_is_a_metric(a: Any, b: Any, c: Any):
    """Zero to itself, symmetric, at most half a meridian, and no detour is shorter."""
    assert distance(a, a) == 0.0
    assert math.isclose(distance(a, b), distance(b, a), abs_tol=1e-6)
    assert distance(a, b) <= math.pi * 6371.0088 + 1e-6
    assert distance(a, c) <= distance(a, b) + distance(b, c) + 1e-6


@pytest.mark.parametrize(
    ("here", "there", "km"),
    [
        ((0, 0), (0, 180), 20015.1),
        ((90, 0), (-90, 77), 20015.1),
        ((0, 0), (0, 1), 111.195),
        ((51.4700, -0.4543), (40.6413, -73.7781), 5540),  # Heathrow to Kennedy
    ],
)
def test_known_distances(here: Any, there: Any, km: float):
    """Quarters of the globe, a degree, and a well-known flight, to 0.6 %."""
    assert distance(here, there) == pytest.approx(km, rel=6e-3)


@given(points, st.integers(0, 2**16))
def test_the_nearest_region_serves(place: Any, seed: int):
    """A client given by coordinates is served by the region at the least distance."""
    balancer = regions(rng=Random(seed))
    nearest = min(WHERE, key=lambda name: distance(place, WHERE[name]))
    others = sorted(WHERE, key=lambda name: distance(place, WHERE[name]))
    key = f"{place[0]!r},{place[1]!r}/x"
    with balancer.pick(key) as pick:
        assert distance(place, WHERE[pick.endpoint.region or ""]) == distance(place, WHERE[nearest])
    gone = [e.id for e in balancer.endpoints if e.region == pick.endpoint.region]
    with balancer.pick(key, exclude=gone) as second:
        assert distance(place, WHERE[second.endpoint.region or ""]) == distance(
            place, WHERE[others[1]]
        )
        assert second.reason is Reason.FALLBACK


def test_places_by_name():
    """A region's name, a mapped place with its own order, and a place nobody knows."""
    balancer = regions(places={"fr": "eu", "cl": ["sa", "us"], "mars": ["eu"]}, rng=Random(1))
    assert shares(balancer, "ap/") == {"ap": 1}
    assert shares(balancer, "fr/") == {"eu": 1}
    assert balancer.answer("cl/1", addresses={}).regions == ("sa", "us", "eu", "ap")
    assert balancer.answer("fr/1", addresses={}).regions == ("eu", "us", "ap", "sa")
    assert shares(balancer, "atlantis/") == dict.fromkeys(sorted(WHERE), Fraction(1, 4))
    assert shares(balancer, None) == dict.fromkeys(sorted(WHERE), Fraction(1, 4))


@given(
    st.dictionaries(st.sampled_from(sorted(WHERE)), st.integers(0, 4)), st.sampled_from((1.0, 1.4))
)
def test_the_waterfall_conserves(sick: dict[str, int], factor: float):
    """Nearest first, each up to its capacity, the rest to the next; all of it, exactly."""
    ward = Ward()
    balancer = regions(
        health=ward.registry, overprovisioning=factor, up_threshold=0.0, panic_threshold=0.0
    )
    for region, count in sick.items():
        ward.down(*(f"{region}{i}" for i in range(count)))
    parts = {r: Fraction(4 - sick.get(r, 0), 4) for r in WHERE}
    capacity = {r: min(Fraction(1), Fraction(str(factor)) * part) for r, part in parts.items()}
    whole = sum(capacity.values())
    for home in WHERE:
        found = shares(balancer, f"{home}/")
        order = sorted(WHERE, key=lambda name: distance(WHERE[home], WHERE[name]))
        left = Fraction(1 if whole else 0)
        for region in order:
            room = capacity[region] if whole >= 1 else capacity[region] / whole if whole else 0
            assert found.get(region, 0) == min(left, room)
            left -= min(left, room)
        assert left == 0


amounts = st.fractions(min_value=0, max_value=2, max_denominator=12)


@given(
    st.dictionaries(st.sampled_from("uvwxyz"), st.permutations("abcd"), min_size=1),
    st.dictionaries(st.sampled_from("abcd"), amounts, min_size=1),
    st.data(),
)
def test_no_region_gets_more_than_it_can_take(
    orders: dict[str, list[str]], capacities: dict[str, Fraction], data: st.DataObject
):
    """Nothing is lost, nobody is above capacity, and who goes on has found the region full."""
    demand = {caller: data.draw(amounts) for caller in orders}
    if not any(demand.values()) or not any(capacities.values()):
        return
    nowhere = data.draw(st.sets(st.sampled_from(sorted(orders))))
    orders = {caller: [] if caller in nowhere else order for caller, order in orders.items()}
    shares = waterfall(orders, demand, capacities)
    whole, enough = sum(demand.values()), sum(capacities.values())
    caps = {region: c * max(Fraction(1), 1 / enough) for region, c in capacities.items()}
    got = {
        region: sum(demand[c] / whole * shares[c].get(region, 0) for c in orders) for region in caps
    }

    assert all(sum(row.values()) == 1 and min(row.values()) > 0 for row in shares.values())
    assert sum(got.values()) == 1
    assert all(got[region] <= caps[region] for region in caps)
    for caller, order in orders.items():
        last = max((order.index(region) for region in shares[caller] if order), default=0)
        for nearer in order[:last]:
            assert got.get(nearer, 0) == caps.get(nearer, 0) or not demand[caller]
    for region in caps:  # its own callers come before those who are sent on
        own = {c for c, order in orders.items() if order and order[0] == region and demand[c]}
        others = {c for c in orders if c not in own and shares[c].get(region) and demand[c]}
        assert not others or all(shares[c] == {region: 1} for c in own) or orders.keys() <= own


def test_callers_keep_a_spill_from_displacing_others():
    """A region is lost: its requests go where there is room, not just to the nearest."""
    ward = Ward()
    alone = regions(health=ward.registry, overprovisioning=1.4)
    together = regions(
        health=ward.registry,
        overprovisioning=1.4,
        callers={"eu": 1, "us": 1, "ap": 1, "sa": 1},
        places={"fr": "eu"},
        residency={"de": ["eu", "us"]},
    )
    assert shares(together, "eu/") == {"eu": 1}
    ward.down(*(f"eu{i}" for i in range(4)))
    assert shares(alone, "eu/") == {"us": 1}  # so us has twice its load
    # Each of the three can take 0.35 of all requests, and has 0.25 already.
    third = {"us": Fraction(4, 10), "sa": Fraction(4, 10), "ap": Fraction(2, 10)}
    order = sorted(third, key=lambda name: distance(WHERE["eu"], WHERE[name]))
    expected = dict(zip(order, (Fraction(2, 5), Fraction(2, 5), Fraction(1, 5)), strict=True))
    assert shares(together, "eu/") == expected
    assert shares(together, "fr/") == expected  # it counts among those of its nearest region
    assert shares(together, "us/") == {"us": 1}
    assert shares(together, "atlantis/") == dict.fromkeys(("us", "ap", "sa"), Fraction(1, 3))
    together.drain("ap")
    loads = {place: shares(together, f"{place}/") for place in WHERE}
    for region in ("us", "sa"):  # short of the demand: both alike
        assert sum(row.get(region, 0) for row in loads.values()) == 2
    together.restore("ap")
    assert shares(together, "eu/") == expected
    ward.up(*(f"eu{i}" for i in range(4)))
    assert shares(together, "eu/") == {"eu": 1}


@given(
    st.sets(st.sampled_from([e.id for e in globe()])),
    st.dictionaries(st.sampled_from(sorted(WHERE)), st.integers(1, 5), min_size=1),
    st.booleans(),
)
def test_callers_conserve_capacity(sick: set[str], callers: dict[str, int], resident: bool):
    """Over all callers no region passes its capacity while there is enough; residency holds."""
    ward = Ward()
    balancer = regions(
        health=ward.registry,
        callers=callers,
        overprovisioning=1.2,
        up_threshold=0.0,
        panic_threshold=0.0,
        residency={"eu": ["eu", "sa"]} if resident else None,
    )
    ward.down(*sick)
    left = [e.region for e in globe() if e.id not in sick]
    if not left:
        return
    caps = {r: Fraction("1.2") * left.count(r) / 16 for r in WHERE}
    scale = max(Fraction(1), 1 / sum(caps.values()))
    rows = {place: shares(balancer, f"{place}/") for place in callers}
    whole = sum(callers.values())
    for place, row in rows.items():
        able = {r for r in left if not resident or place != "eu" or r in ("eu", "sa")}
        assert sum(row.values()) == bool(able)
        assert row.keys() <= able
    if not resident:
        for region in WHERE:
            got = sum(Fraction(callers[p], whole) * rows[p].get(region, 0) for p in callers)
            assert got <= caps[region] * scale


def test_a_half_dead_region_is_left():
    """Below the threshold a region counts as down; at it, or when all are, it does not."""
    ward = Ward()
    balancer = regions(health=ward.registry, up_threshold=0.5, overprovisioning=1.0)
    ward.down("eu0", "eu1")
    assert shares(balancer, "eu/") == {"eu": Fraction(1, 2), "us": Fraction(1, 2)}
    ward.down("eu2")
    assert shares(balancer, "eu/") == {"us": 1}
    ward.up("eu2")
    assert shares(balancer, "eu/") == {"eu": Fraction(1, 2), "us": Fraction(1, 2)}
    calm = regions(health=ward.registry, up_threshold=0.9, panic_threshold=0.0)
    for region in WHERE:
        ward.down(*(f"{region}{i}" for i in range(2)))
    # 1.4 times a half, and the rest to the next, rather than nothing to anybody
    assert shares(calm, "eu/") == {"eu": Fraction(7, 10), "us": Fraction(3, 10)}


def test_spray_shares_by_eligible_weight():
    """All regions that are up share, whatever the place; the order of fallback is by nearness."""
    ward = Ward()
    balancer = regions(health=ward.registry, spill="spray", up_threshold=0.5)
    assert shares(balancer, "eu/") == dict.fromkeys(sorted(WHERE), Fraction(1, 4))
    ward.down("eu0", "eu1", "us0", "us1", "us2")
    assert shares(balancer, "eu/") == {
        "ap": Fraction(4, 10),
        "eu": Fraction(2, 10),
        "sa": Fraction(4, 10),
    }


@given(st.sampled_from(sorted(WHERE)), st.permutations(globe()))
@settings(max_examples=40)
def test_loss_and_return_of_a_region_restore_its_routing(region: str, order: list[Endpoint]):
    """Drained, failed or removed and back: every key is placed exactly as before."""
    ward = Ward()
    balancer = regions(policy=RingHash, health=ward.registry)
    keys = [f"{place}/{i}" for i, place in enumerate([*WHERE, "", "x"] * 6)]

    def placement() -> list[Any]:
        return [balancer.explain(key or None).chosen for key in keys]

    before = placement()
    balancer.drain(region)
    assert all(e is None or e.region != region for e in placement())
    balancer.restore(region)
    assert placement() == before
    ward.down(*(f"{region}{i}" for i in range(4)))
    assert all(e is None or e.region != region for e in placement())
    ward.up(*(f"{region}{i}" for i in range(4)))
    assert placement() == before
    balancer.update([e for e in balancer.endpoints if e.region != region])
    balancer.update(order)
    assert placement() == before


def test_a_drained_region_keeps_its_sessions():
    """No new picks, not even as a last resort; a session that is there stays."""
    balancer = Sticky(
        globe(2, ("eu", "us")),
        policy=lambda e: Regions(e, policy=RoundRobin, locate=placed),
        mode="table",
        parse=lambda key: (key, key),
    )
    with balancer.pick("eu/alice") as pick:
        home = pick.endpoint
    inner = balancer._branches["only"].child
    inner.drain("eu")
    with balancer.pick("eu/alice") as pick:
        assert pick.endpoint == home
    with balancer.pick("eu/bob") as pick:
        assert pick.endpoint.region == "us"
    inner.drain("us")
    with pytest.raises(NoEligibleEndpointError):
        balancer.pick("eu/carol")
    assert inner.drained == {"eu", "us"}


@given(st.sets(st.sampled_from([e.id for e in globe()])), st.booleans())
def test_residency_is_never_left(sick: set[str], threshold: bool):
    """Requests of a place with a residency set are served inside it, or refused."""
    ward = Ward()
    balancer = regions(
        health=ward.registry,
        residency={"eu": ["eu", "us"], "sa": ["sa"], None: ["ap"]},
        panic_threshold=0.5 if threshold else 0.0,
    )
    ward.down(*sick)
    for place, allowed in (("eu", {"eu", "us"}), ("sa", {"sa"}), ("atlantis", {"ap"})):
        for exclude in ([], [f"{place}{i}" for i in range(4)]):
            try:
                pick = balancer.pick(f"{place}/1", exclude=exclude)
            except NoEligibleEndpointError:
                left = [e for e in globe() if e.region in allowed and e.id not in exclude]
                assert threshold or not [e for e in left if e.id not in sick]
                continue
            pick.done()
            assert pick.endpoint.region in allowed
            answer = balancer.answer(f"{place}/1")
            assert set(answer.regions) <= allowed


def test_residency_binds_sessions_too():
    """A session does not follow its cookie out of the set of the place the client is at now."""
    balancer = Sticky(
        globe(2, ("eu", "us")),
        policy=lambda e: Regions(e, policy=RoundRobin, locate=placed, residency={"eu": ["eu"]}),
        mode="header",
        parse=lambda key: tuple(key.split("|")),
    )
    with balancer.pick("us0|us/1") as pick:
        assert pick.endpoint.id == "us0"
    with balancer.pick("us0|eu/1") as pick:
        assert pick.endpoint.region == "eu"


def test_a_dns_answer_is_ordered_and_dated():
    """Regions by nearness, their addresses, and a TTL that is short while health moves."""
    ward = Ward()
    balancer = regions(health=ward.registry)
    vips = {"eu": "192.0.2.1", "us": ["192.0.2.2", "192.0.2.3"], "ap": "192.0.2.4"}
    assert balancer.answer("eu/198.51.100.0", addresses=vips) == GeoAnswer(
        "eu", ("eu", "us", "ap", "sa"), ("192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"), 60.0
    )
    ward.down("eu0", "eu1", "eu2")
    answer = balancer.answer("eu/198.51.100.0", addresses=vips)
    assert answer.regions == ("us", "ap", "sa")
    assert answer.ttl == 5.0
    ward.clock.advance(60.0)
    assert balancer.answer("eu/198.51.100.0", addresses=vips).ttl == 60.0
    assert balancer.answer("eu/1").addresses[:4] == ("us0", "us1", "us2", "us3")
    balancer.update([])
    with pytest.raises(NoEndpointError):
        balancer.answer("eu/1")


def test_dns_answers_split_like_picks():
    """Over many subnets the first region of the answer is each one's by its share."""
    ward = Ward()
    balancer = regions(health=ward.registry, overprovisioning=1.0, up_threshold=0.5)
    ward.down("eu0")
    firsts = [balancer.answer(f"eu/{i}", addresses={}).regions[0] for i in range(2_000)]
    # three quarters of eu are left: Binomial(2000, 3/4), false alarm 1e-9 at 118 off
    assert abs(firsts.count("eu") - 1_500) < 118
    assert firsts.count("us") == 2_000 - firsts.count("eu")
    assert firsts == [balancer.answer(f"eu/{i}", addresses={}).regions[0] for i in range(2_000)]


def test_regions_over_priorities():
    """A region's tiers are its own: one that loses its first tier serves by its second."""
    ward = Ward()
    members = [
        Endpoint(f"{r}{t}{i}", region=r, priority=t)
        for r in ("eu", "us")
        for t in (0, 1)
        for i in (0, 1)
    ]
    balancer = Regions(
        members,
        policy=lambda e: Priority(e, policy=RoundRobin),
        locate=placed,
        health=ward.registry,
        up_threshold=0.5,
        overprovisioning=2.0,
    )
    ward.down("eu00", "eu01")
    counts = counted(balancer, lambda e: (e.region, e.priority), ["eu/1"] * 10)
    assert counts == {("eu", 1): 10}


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"locate": None}, TypeError),
        ({"spill": "flood"}, ValueError),
        ({"up_threshold": 1.5}, ValueError),
        ({"coordinates": {"eu": (91, 0)}}, ValueError),
        ({"coordinates": {"eu": "here"}}, TypeError),
        ({"coordinates": {"eu": (True, 0)}}, TypeError),
        ({"places": {"fr": []}}, TypeError),
        ({"places": ["fr"]}, TypeError),
        ({"residency": {"eu": "eu"}}, TypeError),
        ({"overprovisioning": math.inf}, ValueError),
        ({"callers": {"eu": -1}}, ValueError),
        ({"callers": ["eu"]}, TypeError),
        ({"callers": {"eu": 1}, "spill": "spray"}, ValueError),
    ],
)
def test_bad_options(options: dict[str, Any], error: type[Exception]):
    """Options out of range raise at once."""
    with pytest.raises(error):
        regions(**options)


@pytest.mark.parametrize("place", [(91.0, 0.0), (0.0,), 7, b"eu", ("a", "b")])
def test_bad_places(place: Any):
    """What ``locate`` returns is checked."""
    balancer = regions(locate=lambda key: place)
    with pytest.raises((TypeError, ValueError)):
        balancer.pick("x")


def test_an_operators_word_is_checked():
    """``drain`` takes the name of a region, known or not."""
    balancer = regions()
    with pytest.raises(TypeError):
        balancer.drain(3)  # type: ignore[arg-type]
    balancer.drain("nowhere")
    balancer.pick("eu/1").done()
