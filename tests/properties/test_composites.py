"""Trees of balancers: one ledger, one lease, one outcome; the short way equals the long one."""

import random
from random import Random
from typing import Any

import pytest
from compose_models import Ward, counted
from hypothesis import given
from hypothesis import strategies as st

from balancers import (
    Adaptive,
    Endpoint,
    InvalidEndpointError,
    LeastConnections,
    LeastResponseTime,
    Limit,
    Maglev,
    NoEligibleEndpointError,
    NoEndpointError,
    Outcome,
    PeakEwma,
    PowerOfTwoChoices,
    Priority,
    Reason,
    Regions,
    RingHash,
    RoundRobin,
    Sticky,
    Subset,
    WeightedRoundRobin,
    ZoneAware,
)
from balancers.compose import LocalFirst, StrictPriority, ZoneWeighted
from balancers.health import HealthPolicy, HealthRegistry, HealthState
from balancers.policies import Random as RandomPolicy
from balancers.testing import ManualClock, RecordingObserver

REGIONS = ("eu", "us", "ap")
LEAVES: dict[str, Any] = {
    "RoundRobin": RoundRobin,
    "WeightedRoundRobin": WeightedRoundRobin,
    "Random": RandomPolicy,
    "LeastConnections": LeastConnections,
    "PowerOfTwoChoices": PowerOfTwoChoices,
    "LeastResponseTime": LeastResponseTime,
    "PeakEwma": PeakEwma,
    "Adaptive": Adaptive,
    "RingHash": RingHash,
    "Maglev": lambda e: Maglev(e, table_size=251),
    "RingHash, bounded": lambda e: RingHash(e, load_factor=1.25),
}


def fleet(count: int = 24) -> list[Endpoint]:
    """Return endpoints in every region, zone and tier, of several weights."""
    return [
        Endpoint(
            f"e{i}",
            region=REGIONS[i % 3],
            zone="ab"[i // 3 % 2],
            priority=i // 12 % 2,
            weight=1.0 + i % 2,
        )
        for i in range(count)
    ]


def tree(endpoints: list[Endpoint], leaf: Any = RoundRobin, **options: Any) -> Regions:
    """Return regions of tiers of zones of the leaf policy."""
    return Regions(
        endpoints,
        policy=lambda e: Priority(
            e, policy=lambda e: ZoneAware(e, policy=leaf, local_zone="a", callers={"a": 4, "b": 1})
        ),
        locate=lambda key: key.partition("-")[0],
        **options,
    )


@pytest.mark.parametrize("name", LEAVES)
def test_the_short_way_is_the_long_way(name: str):
    """The same draws, so the same picks, whether or not the short cut is taken."""
    keys = [f"{REGIONS[i % 3]}-{i}" if i % 7 else None for i in range(200)]
    quick, slow = (
        tree(fleet(), LEAVES[name], rng=Random(3), clock=ManualClock()) for _ in range(2)
    )
    for key in keys:
        slow._take = None
        with quick.pick(key) as one, slow.pick(key) as other:
            assert one.endpoint == other.endpoint
            assert one.reason == other.reason or key is None
    assert quick._take is not None


@pytest.mark.parametrize("name", LEAVES)
def test_explain_foretells_and_moves_nothing(name: str):
    """``explain`` names who is picked next, by which path, and asking changes nothing."""
    asked, silent = (
        tree(fleet(), LEAVES[name], rng=Random(5), clock=ManualClock()) for _ in range(2)
    )
    for i in range(60):
        key = f"{REGIONS[i % 3]}-{i}"
        foretold = asked.explain(key)
        assert foretold == asked.explain(key)
        with asked.pick(key) as pick, silent.pick(key) as other:
            assert pick.endpoint == foretold.chosen == other.endpoint
            assert foretold.path[0] == f"Regions[{pick.endpoint.region}]"
            assert foretold.path[1] == f"Priority[{pick.endpoint.priority}]"
            assert foretold.path[2] == f"ZoneAware[{pick.endpoint.zone}]"
            assert pick.endpoint in foretold.considered
            assert len(foretold.skipped) + len(foretold.considered) == 24


@given(
    st.lists(st.sampled_from(["pick", "settle", "fail", "cancel", "move", "drop"]), max_size=40),
    st.sampled_from(sorted(LEAVES)),
    st.integers(0, 2**16),
)
def test_one_lease_is_accounted_once_at_every_level(script: list[str], name: str, seed: int):
    """In-flight, outcomes and the registry's word, whatever moves between groups meanwhile."""
    ward, observer, chance = Ward(), RecordingObserver(), Random(seed)
    members = fleet(12)
    balancer = tree(members, LEAVES[name], rng=chance, health=ward.registry, observer=observer)
    told: list[str] = []
    held: list[Any] = []
    for step in script:
        if step == "pick":
            held.append(balancer.pick(f"eu-{len(held)}"))
        elif step == "move":
            # Every endpoint to another tier, zone and region: same ids, same cells.
            chance.shuffle(members)
            members = [
                Endpoint(e.id, region=f.region, zone=f.zone, priority=f.priority, weight=f.weight)
                for e, f in zip(members, fleet(12), strict=True)
            ]
            balancer.update(members)
        elif held:
            pick = held.pop(chance.randrange(len(held)))
            outcome = {"fail": Outcome.FAILURE, "cancel": Outcome.CANCELLED}.get(step)
            assert pick.done(outcome or Outcome.SUCCESS)
            assert not pick.done(outcome or Outcome.SUCCESS)
            told.append(pick.endpoint.id)
        balancer._check()
        balancer._ledger._check()
        for view in balancer.snapshot().endpoints:
            open_here = [p for p in held if p.endpoint.id == view.endpoint.id]
            assert view.in_flight == len(open_here)
            assert view.load == float(len(open_here))
    assert [name for name, _ in observer.outcomes] == told
    assert len(observer.picks) == len(told) + len(held)
    for pick in held:
        pick.done()


@pytest.mark.parametrize("depth", [0, 1, 2, 3])
def test_the_registry_is_told_once(depth: int):
    """Five failures in a row eject, and it takes exactly five, however deep the tree."""
    ward = Ward(HealthPolicy(consecutive_failures=5, sequential=False))
    policy: Any = RoundRobin
    for _ in range(depth):
        policy = lambda e, inner=policy: Priority(e, policy=inner)  # noqa: E731
    balancer = Priority(["a", "b", "c", "d"], policy=policy, health=ward.registry)
    others = ["b", "c", "d"]
    for failures in range(5):
        assert ward.registry.state("a") is not HealthState.EJECTED, failures
        balancer.pick(exclude=others).done(Outcome.FAILURE)
    assert ward.registry.state("a") is HealthState.EJECTED


def test_a_registry_given_inside_is_followed_there():
    """It is told once of each outcome, moved on by the root's picks, and let go in the end."""
    ward = Ward(HealthPolicy(consecutive_failures=2, sequential=False, probation_picks=0))

    def followed(endpoints: Any) -> RoundRobin:
        return RoundRobin(endpoints, health=ward.registry, panic_threshold=0.0)

    members = [Endpoint("a"), Endpoint("b"), Endpoint("c", priority=1), Endpoint("d", priority=1)]
    balancer = Priority(members, policy=followed, clock=ward.clock)
    for _ in range(2):
        balancer.pick(exclude=["b"]).done(Outcome.FAILURE)
    assert ward.registry.state("a") is HealthState.EJECTED
    with balancer.pick(exclude=["b"]) as pick:
        assert pick.endpoint.id in ("c", "d")
    states = [view.state for view in balancer.snapshot().endpoints]
    assert [state is HealthState.EJECTED for state in states] == [True, False, False, False]
    ward.clock.advance(60.0)
    with balancer.pick(exclude=["b"]) as pick:
        assert pick.endpoint.id == "a"
    balancer._check()
    balancer.update(members[:2])
    with pytest.raises(KeyError):
        ward.registry.state("c")
    balancer.close()
    balancer.close()
    with pytest.raises(KeyError):
        ward.registry.state("a")
    with balancer.pick() as pick:
        assert pick.endpoint.id in ("a", "b")


def test_two_registries_in_a_tree():
    """The same one inside and outside counts once; another one inside is refused."""
    ward = Ward()
    other = HealthRegistry(clock=ward.clock)
    with pytest.raises(ValueError, match="registry"):
        Priority(["a"], policy=lambda e: RoundRobin(e, health=other), health=ward.registry)
    ward = Ward(HealthPolicy(consecutive_failures=3, sequential=False))
    balancer = Priority(
        ["a", "b"], policy=lambda e: RoundRobin(e, health=ward.registry), health=ward.registry
    )
    for failures in range(3):
        assert ward.registry.state("a") is not HealthState.EJECTED, failures
        balancer.pick(exclude=["b"]).done(Outcome.FAILURE)
    assert ward.registry.state("a") is HealthState.EJECTED


def test_inner_observers_hear_of_their_part():
    """An observer given to an inner balancer is told of the picks that went past it, once."""
    outer = RecordingObserver()
    inner: dict[int, RecordingObserver] = {}

    def watched(endpoints: Any) -> RoundRobin:
        members = tuple(endpoints)
        observer = inner.setdefault(members[0].priority, RecordingObserver())
        return RoundRobin(members, observer=observer)

    balancer = Priority([Endpoint("a"), Endpoint("b", priority=1)], policy=watched, observer=outer)
    balancer.pick().done()
    balancer.pick(exclude=["a"]).done(Outcome.FAILURE)

    assert outer.outcomes == [("a", Outcome.SUCCESS), ("b", Outcome.FAILURE)]
    assert outer.picks == ["a", "b"]
    assert inner[0].outcomes == [("a", Outcome.SUCCESS)]
    assert inner[0].picks == ["a"]
    assert inner[1].outcomes == [("b", Outcome.FAILURE)]


def test_what_an_inner_balancer_was_given_stays_its_own():
    """An rng given inside is used there; a clock given inside must be the tree's."""
    clock = ManualClock()
    mine = Random(1)
    balancer = Priority(
        ["a", "b"], policy=lambda e: RandomPolicy(e, rng=mine), rng=Random(2), clock=clock
    )
    expected = RandomPolicy(["a", "b"], rng=Random(1))
    for _ in range(20):
        with balancer.pick() as pick, expected.pick() as other:
            assert pick.endpoint == other.endpoint
    with pytest.raises(ValueError, match="clock"):
        Priority(["a"], policy=lambda e: RoundRobin(e, clock=ManualClock()), clock=clock)
    Priority(["a"], policy=lambda e: RoundRobin(e, clock=clock), clock=clock)


def test_starts_are_drawn_by_the_trees_own_rng():
    """A tree's seed decides where its leaves begin: the same seed the same, and not always 0."""
    members = [f"e{i}" for i in range(50)]

    def first(seed: int) -> str:
        with Priority(members, policy=RoundRobin, rng=Random(seed)).pick() as pick:
            return pick.endpoint.id

    assert all(first(seed) == first(seed) for seed in range(5))
    assert len({first(seed) for seed in range(20)}) > 10


def test_a_failed_update_changes_nothing():
    """A leaf that refuses its part leaves every level as it was."""
    balancer = tree(fleet(), RingHash)
    before = balancer.endpoints
    twins = [*before, Endpoint("twin", region="eu", zone="a", hash_key="e0")]
    with pytest.raises(InvalidEndpointError, match="hash_key"):
        balancer.update(twins)

    assert balancer.endpoints == before
    assert balancer._ledger.cells.keys() == {e.id for e in before}
    with balancer.pick("eu-1") as pick:
        assert pick.endpoint in before
    balancer._check()


def test_a_bound_survives_a_round_trip_of_an_endpoint():
    """Leases of an endpoint that went to another tier and came back are not counted twice."""
    balancer = Priority(
        [Endpoint("a"), Endpoint("b")], policy=lambda e: RingHash(e, load_factor=1.5)
    )
    pick = balancer.pick("k", exclude=["b"])
    balancer.update([Endpoint("a", priority=1), Endpoint("b")])
    balancer._check()
    balancer.update([Endpoint("a"), Endpoint("b")])
    balancer._check()
    pick.done()
    balancer._check()
    assert balancer._branches["0"].child._bound.total == 0


def test_errors_tell_empty_from_ineligible():
    """No members: ``NoEndpointError``; members that may not be picked: the other one."""
    for make in (
        lambda e: tree(e),
        lambda e: Limit(e, policy=RoundRobin, total=3),
        lambda e: Sticky(e, policy=RoundRobin, mode="table"),
        lambda e: Subset(e, policy=RoundRobin, seed=1),
    ):
        balancer = make([])
        with pytest.raises(NoEndpointError):
            balancer.pick()
        balancer.update([Endpoint("a", weight=0.0)])
        with pytest.raises(NoEligibleEndpointError):
            balancer.pick()
        assert balancer.explain().chosen is None
        balancer.update(["a"])
        balancer.pick().done()


@pytest.mark.parametrize("policy", [None, 3, lambda e: 7, "RoundRobin"])
def test_what_makes_no_balancer_is_refused(policy: Any):
    """``policy`` must make a balancer: anything else raises at once."""
    with pytest.raises(TypeError, match="balancer"):
        Priority(["a"], policy=policy)


def test_nothing_is_lost_by_nesting():
    """Counts of 3,000 picks through three levels: everybody of the nearest region, tier, zone."""
    balancer = tree(fleet(), rng=Random(11))
    counts = counted(balancer, lambda e: (e.region, e.priority), ["us-1"] * 300)
    assert counts == {("us", 0): 300}
    zones = counted(balancer, lambda e: e.zone, ["us-1"] * 3_000)
    assert sum(zones.values()) == 3_000
    assert zones["a"] > zones["b"] > 0  # 4/5 of the callers, 2/3 of the capacity


def test_global_randomness_is_not_touched():
    """Trees draw from their own rng alone."""
    state = random.getstate()
    balancer = tree(fleet(), RandomPolicy)
    for i in range(50):
        balancer.pick(f"eu-{i}").done()
    assert random.getstate() == state


def test_panic_is_the_outermost_levels_word():
    """More than half of the fleet is out: everybody is picked again, and says PANIC."""
    ward = Ward()
    members = [Endpoint(f"{z}{i}", zone=z) for z in "ab" for i in range(4)]
    balancer = ZoneAware(members, policy=RoundRobin, local_zone="a", health=ward.registry)
    ward.down("a0", "a1", "a2", "a3")
    with balancer.pick() as pick:
        assert (pick.endpoint.zone, pick.reason) == ("b", Reason.NORMAL)
    ward.down("b0")
    picks = [balancer.pick() for _ in range(8)]
    assert {pick.reason for pick in picks} == {Reason.PANIC}
    assert {pick.endpoint.zone for pick in picks} == {"a"}
    assert len({pick.endpoint.id for pick in picks}) == 4
    ward.up("b0")
    picks.append(balancer.pick())
    assert picks[-1].reason is Reason.NORMAL
    for pick in picks:
        pick.done()


def test_a_balancer_is_in_one_place() -> None:
    """A factory that gives two groups the same balancer is refused, and nothing changes."""
    shared = LeastConnections([])
    balancer = Priority(["a"], policy=lambda e: shared)
    with pytest.raises(ValueError, match="each group"):
        balancer.update(["a", Endpoint("b", priority=1)])
    with balancer.pick() as pick:
        assert pick.endpoint.id == "a"


HEAVY: dict[str, Any] = {
    "LeastConnections": LeastConnections,
    "Priority": lambda e: Priority(e, policy=RoundRobin),
    "Priority, envoy": lambda e: Priority(e, policy=RoundRobin, rounding="envoy"),
    "StrictPriority": lambda e: StrictPriority(e, policy=RoundRobin),
    "ZoneAware": lambda e: ZoneAware(e, policy=RoundRobin, local_zone="a"),
    "ZoneWeighted": lambda e: ZoneWeighted(e, policy=RoundRobin, weights={"a": 1, "b": 2}),
    "LocalFirst": lambda e: LocalFirst(e, policy=RoundRobin, local_zone="a", overload=2.0),
    "Regions": lambda e: Regions(e, policy=RoundRobin, locate=str, callers={"eu": 1, "us": 1}),
    "Subset": lambda e: Subset(e, policy=RoundRobin, method="aperture", seed=0, clients=2, size=2),
}


@pytest.mark.parametrize("name", HEAVY)
def test_weights_may_add_up_to_more_than_a_float(name: str) -> None:
    """Weights are finite, their sum need not be: the membership is balanced over all the same."""
    heavy = [
        Endpoint(f"e{i}", weight=1.7e308, zone="ab"[i % 2], region=REGIONS[i % 2], priority=i // 4)
        for i in range(6)
    ]
    balancer = HEAVY[name](["old"])
    balancer.update(heavy)
    assert balancer.endpoints == tuple(heavy)
    for key in ("eu", None, "us"):
        with balancer.pick(key) as pick:
            assert balancer.explain(key).chosen in heavy
            assert pick.endpoint in heavy
