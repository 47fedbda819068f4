"""Incidents replayed on a virtual clock, with the exact times at which things must happen."""

from collections import Counter
from collections.abc import Callable, Iterable
from random import Random

import pytest

from balancers import NoEligibleEndpointError, Outcome, Reason
from balancers.health import Admin, HealthPolicy, HealthRegistry, HealthState
from balancers.policies import RoundRobin
from balancers.testing import ManualClock

STEADY = HealthPolicy(ejection_jitter=0.0, probe_jitter=0.0)
"""The defaults, chance aside."""

Fate = Callable[[str, float], bool]


class Scene:
    """A balancer under steady traffic: one request every ``gap`` seconds, answered at once."""

    def __init__(
        self, names: Iterable[str], policy: HealthPolicy = STEADY, gap: float = 0.125
    ) -> None:
        self.clock = ManualClock()
        self.registry = HealthRegistry(policy, clock=self.clock, rng=Random(1))
        self.balancer = RoundRobin(list(names), health=self.registry, rng=Random(2), phase=0)
        self.gap = gap
        self.reasons: Counter[Reason] = Counter()
        self.prober: Fate | None = None

    def run(self, until: float, works: Fate) -> Counter[tuple[str, bool]]:
        """Let time pass; return how many requests of each endpoint went well and did not."""
        ends: Counter[tuple[str, bool]] = Counter()
        while self.clock.now + self.gap <= until:
            self.clock.advance(self.gap)
            if self.prober is not None:
                for name in self.registry.due_probes():
                    self.registry.record_probe(name, self.prober(name, self.clock.now))
            try:
                pick = self.balancer.pick()
            except NoEligibleEndpointError:
                ends["", False] += 1
                continue
            self.reasons[pick.reason] += 1
            good = works(pick.endpoint.id, self.clock.now)
            pick.done(Outcome.SUCCESS if good else Outcome.FAILURE)
            ends[pick.endpoint.id, good] += 1
        self.registry._check()
        return ends

    def timeline(self, *names: str) -> list[tuple[float, str]]:
        """What became of the endpoints, first successes left out."""
        return [
            (event.at, f"{event.id} {event.new.value}" if len(names) != 1 else event.new.value)
            for event in self.registry.events()
            if (not names or event.id in names)
            and event.old is not event.new
            and (event.old, event.new) != (HealthState.UNKNOWN, HealthState.HEALTHY)
        ]  # fmt: skip


def fine(name: str, at: float) -> bool:
    """Everything works."""
    return True


def test_one_dead_endpoint() -> None:
    """Four requests find it; then one at 10, 20, 40 … s until it works; then the ramp.

    RoundRobin over four endpoints, eight requests a second: a has every fourth, at 10.125,
    10.625, 11.125 and 11.625 s. The sequential test ejects at the fourth failure. One that
    comes back is last in the rotation: its turn is up to four requests later.
    """
    scene = Scene("abcd")
    scene.run(10.0, fine)
    ends = scene.run(100.0, lambda name, at: name != "a" or at >= 60.0)

    assert scene.timeline("a") == [
        (11.625, "ejected"),
        (21.625, "probation"),
        (22.0, "ejected"),
        (42.0, "probation"),
        (42.375, "ejected"),
        (82.375, "probation"),
        (82.75, "ramping"),
        (93.0, "healthy"),
    ]
    assert ends["a", False] == 6
    assert scene.reasons[Reason.PANIC] == 0


def test_flapping_endpoint_is_left_alone_longer_and_longer() -> None:
    """Up 20 s, down 20 s for ten minutes: sentences double, and bad conduct is remembered."""
    scene = Scene("abcd")
    ends = scene.run(600.0, lambda name, at: name != "a" or int(at / 20.0) % 2 == 0)
    ejections = [e for e in scene.registry.events("a") if e.new.value == "ejected"]
    lengths = [e.until - e.at for e in ejections]

    assert lengths[:5] == [10.0, 20.0, 40.0, 80.0, 160.0]
    assert max(lengths) <= 300.0
    assert ends["a", False] <= 4 * len(ejections)
    assert ends["b", False] == 0


def test_flapping_probes_are_damped() -> None:
    """Probes that fail every other time never reach fall = 3 nor, once down, rise = 2."""
    scene = Scene("abcd")
    count: Counter[str] = Counter()

    def every_other(name: str, at: float) -> bool:
        count[name] += 1
        return name != "a" or count[name] % 2 == 0

    scene.prober = every_other
    scene.run(120.0, fine)
    assert scene.timeline("a") == []
    scene.prober = lambda name, at: name != "a"
    scene.run(140.0, fine)
    scene.prober = every_other
    scene.run(400.0, fine)

    assert [what for _, what in scene.timeline("a")] == ["unhealthy"]


def test_all_fail_at_once() -> None:
    """A fault of the whole pool ejects half of it, never more, and ends by itself.

    Only the rule of five in a row ejects; the sequential test sees that everybody fails.
    """
    scene = Scene([f"e{i}" for i in range(8)])
    scene.run(16.0, fine)
    scene.run(46.0, lambda name, at: False)
    reasons = {e.reason for e in scene.registry.events() if e.new.value == "ejected"}
    out = [s for s in scene.balancer.snapshot().endpoints if s.state.value in
           ("ejected", "probation")]  # fmt: skip

    assert len(out) == 4
    assert reasons == {"5 failures in a row", "a request on probation failed"}
    assert scene.reasons[Reason.PANIC] == 0
    ends = scene.run(200.0, fine)
    assert {s.state.value for s in scene.balancer.snapshot().endpoints} == {"healthy"}
    assert sum(ends.values()) == sum(n for (_, good), n in ends.items() if good)


def test_half_fail_at_once() -> None:
    """The bad half goes, all of it, and none of the good half."""
    scene = Scene([f"e{i}" for i in range(8)])
    scene.run(16.0, fine)
    ends = scene.run(60.0, lambda name, at: int(name[1:]) % 2 == 0)
    out = {e.id for e in scene.registry.events() if e.new.value == "ejected"}

    assert out == {"e1", "e3", "e5", "e7"}
    assert sum(n for (_, good), n in ends.items() if not good) <= 4 * (5 + 3)
    assert scene.reasons[Reason.PANIC] == 0


@pytest.mark.parametrize(("size", "gone"), [(1, 0), (2, 1), (3, 1)])
def test_small_clusters_are_never_emptied(size: int, gone: int) -> None:
    """With everything failing, one, two and three endpoints keep one, one and two."""
    scene = Scene([f"e{i}" for i in range(size)])
    ends = scene.run(300.0, lambda name, at: False)
    out: set[str] = set()
    most = 0
    for event in scene.registry.events():
        (out.add if event.new.value in ("ejected", "probation") else out.discard)(event.id)
        most = max(most, len(out))

    assert most == gone
    assert ends["", False] == 0
    assert scene.reasons[Reason.PANIC] == 0


def test_deploy_roll_of_a_hundred() -> None:
    """Ten batches of ten, drained, restarted and put back: no request fails, no health is lost.

    Each batch drains for 2 s, is away for 10 s (its probes fail: it turns unhealthy), and is
    given back while still down; its probes then bring it back, after 10 s of passing.
    """
    names = [f"e{i}" for i in range(100)]
    scene = Scene(names, gap=0.0625)
    away: set[str] = set()
    scene.prober = lambda name, at: name not in away
    works: Fate = lambda name, at: name not in away  # noqa: E731
    scene.run(20.0, works)
    failed = 0
    fewest = 100
    for start in range(0, 100, 10):
        batch = names[start : start + 10]
        at = scene.clock.now
        for name in batch:
            scene.registry.set_admin(name, Admin.DRAINING)
        failed += sum(n for (_, good), n in scene.run(at + 2.0, works).items() if not good)
        assert all(scene.registry.drained(name) for name in batch)
        away |= set(batch)
        failed += sum(n for (_, good), n in scene.run(at + 12.0, works).items() if not good)
        assert all(scene.registry.state(name).value == "unhealthy" for name in batch)
        for name in batch:
            scene.registry.set_admin(name, Admin.ENABLED)
        assert not set(scene.balancer.explain().considered) & {
            e for e in scene.balancer.endpoints if e.id in batch
        }
        away -= set(batch)
        failed += sum(n for (_, good), n in scene.run(at + 40.0, works).items() if not good)
        fewest = min(fewest, len(scene.balancer.explain().considered))

    assert failed == 0
    assert fewest >= 90
    assert scene.reasons[Reason.PANIC] == 0
    scene.run(scene.clock.now + 20.0, works)
    assert {s.state.value for s in scene.balancer.snapshot().endpoints} == {"healthy"}
    steps = [what for at, what in scene.timeline("e0") if what != "healthy"]
    assert steps == ["unhealthy", "grace", "ramping"]
    assert not any(e.new.value == "ejected" for e in scene.registry.events())


def test_probes_take_out_and_bring_back() -> None:
    """Exact: fall at the fast interval, rise, 10 s of passing, 10 s of ramp.

    One prober step every 0.125 s; a's slot is where its probe of 20 s or later falls.
    """
    scene = Scene("ab")
    scene.prober = fine
    scene.run(20.0, fine)
    scene.prober = lambda name, at: name != "a" or at >= 40.0
    scene.run(100.0, fine)
    times = {what: at for at, what in scene.timeline("a")}
    first_bad = times["unhealthy"] - 2.0
    first_good = times["grace"] - 1.0

    assert 20.0 < first_bad <= 25.125
    assert 40.0 <= first_good <= 45.125
    assert times["ramping"] == first_good + 10.0
    assert times["ramping"] + 10.0 <= times["healthy"] <= times["ramping"] + 10.5


def test_clock_that_jumps() -> None:
    """A machine that slept an hour wakes to served sentences, and to no storm of probes."""
    scene = Scene([f"e{i}" for i in range(10)])
    scene.prober = fine
    scene.run(20.0, fine)
    scene.run(26.0, lambda name, at: name != "e3")
    assert scene.registry.state("e3").value == "ejected"
    scene.clock.advance(3600.0)
    due = scene.registry.due_probes()
    assert len(due) <= 1
    assert scene.registry.state("e3").value == "probation"
    ends = scene.run(scene.clock.now + 30.0, fine)

    assert ends["e3", True] > 0
    assert scene.registry.state("e3").value == "healthy"


def test_retry_after_is_honoured_exactly() -> None:
    """``Retry-After: 7``: seven seconds without a request, then one on probation."""
    scene = Scene("abc")
    scene.run(5.0, fine)
    pick = scene.balancer.pick(exclude=["b", "c"])
    pick.done(Outcome.FAILURE, retry_after=7.0)
    away = scene.run(11.875, fine)
    assert away["a", True] == 0
    back = scene.run(12.25, fine)

    assert back["a", True] == 1
    assert scene.timeline("a")[0] == (5.0, "ejected")
    assert scene.timeline("a")[1] == (12.0, "probation")


def test_fail_instead_of_panic() -> None:
    """With ``on_panic="fail"``, too few eligible endpoints serve nobody; else everybody does."""
    for policy, reason in ((STEADY, Reason.PANIC), (STEADY.but(on_panic="fail"), None)):
        scene = Scene("abcd", policy)
        scene.run(5.0, fine)
        for name in "abc":
            for _ in range(3):
                scene.registry.record_probe(name, ok=False)
        if reason is None:
            with pytest.raises(NoEligibleEndpointError):
                scene.balancer.pick()
            assert not scene.balancer.explain().considered
            assert "fails on panic" in scene.balancer.explain().skipped["d"]
        else:
            with scene.balancer.pick() as pick:
                assert pick.reason is reason
        for name in "abc":
            scene.registry.set_admin(name, Admin.DISABLED)
        with scene.balancer.pick() as pick:  # maintenance is no reason to fail
            assert (pick.endpoint.id, pick.reason) == ("d", Reason.NORMAL)


def test_ramp_is_waived_when_everybody_ramps() -> None:
    """Two that return together share equally, though a third is on probation."""
    scene = Scene("abc", STEADY.but(minimum_healthy_time=0.0, slow_start_minimum=0.05))
    scene.run(5.0, fine)
    for ok, times in ((False, 3), (True, 2)):
        for name in "ab":
            for _ in range(times):
                scene.registry.record_probe(name, ok)
    scene.balancer.pick(exclude=["a", "b"]).done(Outcome.FAILURE, retry_after=1.0)
    assert [scene.registry.state(n).value for n in "abc"] == ["ramping", "ramping", "ejected"]
    assert not scene.balancer._view.ramps
    ends = scene.run(6.0, fine)
    scene.clock.advance(0.5)
    assert scene.registry.state("c").value == "probation"

    assert abs(ends["a", True] - ends["b", True]) <= 1


def test_everybody_excluded_says_when_to_come_back() -> None:
    """``NoEligibleEndpointError.retry_after`` is the soonest return, on the clock to the tick."""
    scene = Scene("ab", STEADY.but(on_panic="fail"))
    scene.run(5.0, fine)
    scene.balancer.pick(exclude=["b"]).done(Outcome.FAILURE, retry_after=7.0)
    scene.clock.advance(1.0)
    with pytest.raises(NoEligibleEndpointError) as caught:
        scene.balancer.pick(exclude=["b"])

    assert caught.value.retry_after == 6.0
