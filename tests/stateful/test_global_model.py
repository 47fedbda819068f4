"""Five regions, 10,000 endpoints, end to end: loss, partial loss, recovery, drain.

Regions of tiers of zones over round robin, one health registry. Clients stand in all five
regions; a request to a dead endpoint fails. Three probes in a row, or five failed requests,
take an endpoint out. The figures asserted here are those of ``docs/explanation/composition.md``.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from random import Random

import pytest

from balancers import (
    Endpoint,
    NoEligibleEndpointError,
    Outcome,
    Priority,
    Regions,
    RoundRobin,
    ZoneAware,
)
from balancers.health import HealthPolicy, HealthRegistry
from balancers.testing import ManualClock, binomial_range

SIZES = {"eu": 3_300, "us": 3_300, "ap": 3_200, "sa": 100, "af": 100}
WHERE = {
    "eu": (50.1, 8.7),
    "us": (39.0, -77.5),
    "ap": (35.7, 139.7),
    "sa": (-23.5, -46.6),
    "af": (-26.2, 28.0),
}
NEXT = {"sa": "af", "af": "eu"}
"""Where the requests of the two that get into trouble go: the nearest region that is up."""


@dataclass
class World:
    """The fleet, its registry, and who is dead."""

    clock: ManualClock = field(default_factory=lambda: ManualClock(1_000.0))
    dead: set[str] = field(default_factory=set)
    chance: Random = field(default_factory=lambda: Random(8))

    def __post_init__(self) -> None:
        policy = HealthPolicy(rise=1, minimum_healthy_time=0.0, slow_start=0.0, probe_jitter=0.0)
        self.registry = HealthRegistry(policy, clock=self.clock)
        self.members = [
            Endpoint(
                f"{region}-{i}", region=region, zone="abc"[i % 3], priority=int(i >= size * 0.8)
            )
            for region, size in SIZES.items()
            for i in range(size)
        ]
        self.balancer = Regions(
            self.members,
            policy=lambda e: Priority(
                e, policy=lambda e: ZoneAware(e, policy=RoundRobin, local_zone="a")
            ),
            locate=lambda key: key.partition("-")[0],
            coordinates=WHERE,
            overprovisioning=1.0,
            up_threshold=0.5,
            health=self.registry,
            rng=Random(9),
        )

    def ask(self, region: str, count: int) -> tuple[Counter[str | None], int]:
        """Make requests from a region; return where they went, and how many failed."""
        went: Counter[str | None] = Counter()
        errors = 0
        for i in range(count):
            pick = self.balancer.pick(f"{region}-{i}")
            failed = pick.endpoint.id in self.dead
            errors += failed
            pick.done(Outcome.FAILURE if failed else Outcome.SUCCESS)
            went[pick.endpoint.region] += 1
        return went, errors

    def probe(self, ids: Iterable[str], times: int) -> None:
        """Probe endpoints so often."""
        for name in ids:
            for _ in range(times):
                self.registry.record_probe(name, name not in self.dead)

    def ids(self, region: str, count: int | None = None) -> list[str]:
        names = [e.id for e in self.members if e.region == region]
        self.chance.shuffle(names)
        return names[:count]


@pytest.fixture(scope="module")
def world() -> World:
    """One world for all phases, in order: building it is most of the work."""
    return World()


def within(count: int, total: int, share: Fraction) -> bool:
    """Whether a count is no surprise: false alarm 1e-9."""
    low, high = binomial_range(total, share)
    return low <= count <= high


def test_everybody_is_served_at_home(world: World):
    """All well: no spill between regions, no error, the first tiers alone, evenly."""
    for region in SIZES:
        went, errors = world.ask(region, 600)
        assert (went, errors) == ({region: 600}, 0)
    seen = [view for view in world.balancer.snapshot().endpoints if view.picks]
    assert {view.endpoint.priority for view in seen} == {0}
    assert {view.endpoint.zone for view in seen} == {"a"}
    assert len(world.balancer.endpoints) == 10_000
    assert max(view.picks for view in seen) == -(-600 // 27)  # the smallest local first tier


def test_a_lost_region_is_left_at_once(world: World):
    """A region dies: every request to it fails until its probes do; then all go next door."""
    world.dead = set(world.ids("sa"))
    went, errors = world.ask("sa", 100)
    assert (went, errors) == ({"sa": 100}, 100)
    world.probe(sorted(world.dead), 3)
    went, errors = world.ask("sa", 500)
    assert (went, errors) == ({NEXT["sa"]: 500}, 0)
    for region in ("eu", "us", "ap", "af"):  # nobody else notices
        went, errors = world.ask(region, 100)
        assert (went, errors) == ({region: 100}, 0)
    answer = world.balancer.answer("sa-1", addresses={})
    assert answer.regions[0] == "af"
    assert "sa" not in answer.regions
    assert answer.ttl == 5.0


def test_a_half_dead_region_is_left_before_it_is_empty(world: World):
    """Of the lost region 40 % come back: below the threshold, so it stays empty of requests."""
    back = world.ids("sa", 40)
    world.dead -= set(back)
    world.probe(back, 1)
    went, errors = world.ask("sa", 200)
    assert (went, errors) == ({NEXT["sa"]: 200}, 0)


def test_partial_loss_spills_what_is_missing(world: World):
    """At 70 % of a region, 30 % of its requests go to the nearest other: exactly that share."""
    sick = world.ids("af", 30)
    world.dead |= set(sick)
    world.probe(sick, 3)
    went, errors = world.ask("af", 2_000)
    assert errors == 0
    assert within(went["af"], 2_000, Fraction(7, 10))
    assert went[NEXT["af"]] == 2_000 - went["af"]


def test_passive_detection_bounds_the_errors(world: World):
    """Unprobed, an endpoint that fails is out after five failures: at most so many errors."""
    victims = world.ids("ap", 20)
    world.dead |= set(victims)
    errors = sum(world.ask("ap", 1_000)[1] for _ in range(15))
    assert 0 < errors <= 5 * 20
    assert world.ask("ap", 1_000)[1] == 0


def test_recovery_restores_the_former_routing(world: World):
    """Everything is well again: home, first tier, local zone, as on the first day."""
    world.clock.advance(600.0)
    world.dead.clear()
    world.registry.tick()
    world.probe([e.id for e in world.members if e.region in ("sa", "af")], 1)
    for _ in range(3):  # the ejected prove themselves by use
        world.ask("ap", 2_000)
    for region in ("eu", "us", "sa", "af"):
        went, errors = world.ask(region, 200)
        assert (went, errors) == ({region: 200}, 0)
    said = world.balancer.explain("sa-1")
    assert said.path == ("Regions[sa]", "Priority[0]", "ZoneAware[a]", "RoundRobin")


def test_a_drained_region_finishes_what_it_has(world: World):
    """Drain: open leases stay, new requests go next door, and it comes back as it was."""
    held = [world.balancer.pick(f"us-{i}") for i in range(50)]
    assert {pick.endpoint.region for pick in held} == {"us"}
    world.balancer.drain("us")
    went, errors = world.ask("us", 300)
    assert errors == 0
    assert went["us"] == 0
    assert sum(pick.done() for pick in held) == 50
    world.balancer.restore("us")
    assert world.ask("us", 300) == ({"us": 300}, 0)


def test_nothing_was_lost_or_counted_twice(world: World):
    """After all that: no lease is open, and the tree is sound."""
    snapshot = world.balancer.snapshot()
    assert sum(view.in_flight for view in snapshot.endpoints) == 0
    world.balancer._check()
    world.balancer._ledger._check()


def test_the_whole_world_drained(world: World):
    """With every region drained there is nobody: a refusal, not a panic."""
    for region in SIZES:
        world.balancer.drain(region)
    with pytest.raises(NoEligibleEndpointError):
        world.balancer.pick("eu-1")
    for region in SIZES:
        world.balancer.restore(region)
    world.balancer.pick("eu-1").done()
