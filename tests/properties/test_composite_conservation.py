"""Conservation: at every tier shares sum to one, room is used, and what comes back is as before."""

from collections.abc import Iterator
from fractions import Fraction
from random import Random
from typing import Any

from compose_models import Ward
from hypothesis import given, settings
from hypothesis import strategies as st

from balancers import (
    Endpoint,
    Limit,
    NoEligibleEndpointError,
    Priority,
    Regions,
    RingHash,
    RoundRobin,
    ZoneAware,
)
from balancers.compose import Composite

REGIONS = ("eu", "us", "ap")
WHERE = {"eu": (50.0, 9.0), "us": (39.0, -77.0), "ap": (36.0, 140.0)}
STATES = ("up", "up", "up", "degraded", "down", "drained")
FLEET = [
    Endpoint(f"{region}{tier}{zone}{i}", region=region, priority=tier, zone=zone, weight=1.0 + i)
    for region in REGIONS
    for tier in (0, 1)
    for zone in "ab"
    for i in (0, 1)
]
LEVELS = ("region", "priority", "zone")
fields = st.sampled_from(LEVELS)
healths = st.lists(st.sampled_from(STATES), min_size=len(FLEET), max_size=len(FLEET))


def tree(leaf: Any, ward: Ward, **options: Any) -> Regions:
    """Return regions of tiers of zones of the leaf policy, spilling at each of the levels."""
    return Regions(
        FLEET,
        policy=lambda e: Priority(
            e,
            policy=lambda e: ZoneAware(e, policy=leaf, local_zone="a", callers={"a": 4, "b": 1}),
            overprovisioning=1.2,
        ),
        locate=lambda key: key.partition("-")[0],
        coordinates=WHERE,
        overprovisioning=1.2,
        health=ward.registry,
        **options,
    )


def put(ward: Ward, states: list[str]) -> None:
    """Put every endpoint in its state."""
    act = {"up": ward.up, "degraded": ward.degrade, "down": ward.down, "drained": ward.drain}
    for endpoint, state in zip(FLEET, states, strict=True):
        act[state](endpoint.id)


def levels(balancer: Composite, view: Any) -> Iterator[tuple[Composite, Any]]:
    """Yield every composite of the tree with its part of the view."""
    yield balancer, view
    for branch in view.state.branches.values():
        if isinstance(branch.child, Composite):
            yield from levels(branch.child, branch.view)


def shares(balancer: Composite, view: Any, key: str) -> dict[str, Fraction]:
    """Return each endpoint's exact share of a key's requests, its leaf taken as fair by weight."""
    spread = balancer._spread(view.state.plan, key)
    found: dict[str, Fraction] = {}
    for name, share in spread.shares.items():
        branch = view.state.branches[name]
        if isinstance(branch.child, Composite):
            inner = shares(branch.child, branch.view, key)
        else:
            weights = {e.id: Fraction(e.weight) for e in branch.view.endpoints}
            inner = {id_: weight / sum(weights.values()) for id_, weight in weights.items()}
        for id_, part in inner.items():
            found[id_] = found.get(id_, Fraction(0)) + share * part
    return found


@given(healths, st.sampled_from((0.0, 0.5)))
def test_shares_sum_to_one_at_every_tier(states: list[str], threshold: float):
    """Whatever is ill: exactly one at each level that has anybody, so for the whole tree."""
    ward = Ward()
    balancer = tree(RoundRobin, ward, panic_threshold=threshold)
    put(ward, states)
    for level, view in levels(balancer, balancer._view):
        for region in REGIONS:
            spread = level._spread(view.state.plan, region)
            spread._check()
            assert sum(spread.shares.values()) == bool(view.cells)
            assert all(view.state.branches[name].view.cells for name in spread.names)
    for region in REGIONS:
        whole = shares(balancer, balancer._view, region)
        assert sum(whole.values()) == bool(balancer._view.cells)
        able = {endpoint.id for endpoint in balancer._view.endpoints}
        assert whole.keys() <= able


@given(fields, st.data())
@settings(max_examples=30)
def test_what_goes_and_comes_back_is_routed_to_as_before(level: str, data: st.DataObject):
    """A region, tier or zone removed, failed or drained and restored: shares and places."""
    ward = Ward()
    balancer = tree(RingHash, ward)
    put(ward, states := data.draw(healths))
    keys = [f"{region}-{i}" for region in REGIONS for i in range(12)]

    def routing() -> Any:
        view = balancer._view
        whole = [shares(balancer, view, region) for region in REGIONS]
        return whole, [balancer.explain(key).chosen for key in keys]

    before = routing()
    value = data.draw(st.sampled_from(sorted({getattr(e, level) for e in FLEET})))
    gone = [e.id for e in FLEET if getattr(e, level) == value]
    balancer.update([e for e in FLEET if e.id not in gone])
    for chosen in routing()[1]:
        assert chosen is None or getattr(chosen, level) != value
    balancer.update(data.draw(st.permutations(FLEET)))
    put(ward, states)  # who left is forgotten: it is as it was when it is told again
    assert routing() == before
    ward.drain(*gone)
    ward.enable(*(e.id for e, s in zip(FLEET, states, strict=True) if s != "drained"))
    assert routing() == before
    ward.down(*gone)
    put(ward, states)
    assert routing() == before


@given(
    st.lists(
        st.tuples(st.sampled_from(("pick", "pick", "settle", "down", "up")), st.integers(0, 2**16)),
        max_size=60,
    ),
    st.integers(1, 2),
    st.integers(1, 4),
)
@settings(max_examples=60)
def test_room_is_used_wherever_it_is(script: list[tuple[str, int]], cap: int, total: int):
    """No cap is passed, and nobody is refused while any eligible place of the tree has room."""
    ward = Ward()
    balancer = tree(
        lambda e: Limit(e, policy=RoundRobin, per_endpoint=cap, total=total),
        ward,
        panic_threshold=0.0,
        rng=Random(4),
    )
    place = {e.id: (e.region, e.priority, e.zone) for e in FLEET}
    up = set(place)
    held: list[Any] = []
    for step, number in script:
        name = FLEET[number % len(FLEET)].id
        if step == "settle" and held:
            held.pop(number % len(held)).done()
        elif step == "down":
            same = [e.id for e in FLEET if e.region == place[name][0] and e.id <= name]
            ward.down(*same)
            up -= set(same)
        elif step == "up":
            ward.up(name)
            up.add(name)
        elif step == "pick":
            on = [pick.endpoint.id for pick in held]
            at = [place[id_] for id_ in on]
            room = {id_ for id_ in up if on.count(id_) < cap and at.count(place[id_]) < total}
            try:
                pick = balancer.pick(f"{REGIONS[number % 3]}-{number}")
            except NoEligibleEndpointError:
                assert not room
            else:
                assert pick.endpoint.id in room
                held.append(pick)
    counts = {view.endpoint.id: view.in_flight for view in balancer.snapshot().endpoints}
    assert counts == {id_: sum(p.endpoint.id == id_ for p in held) for id_ in place}
    for pick in held:
        assert pick.done()
    balancer._check()
