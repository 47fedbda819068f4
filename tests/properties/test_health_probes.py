"""When the registry asks for probes: intervals, slots, edges, and no storms."""

import math
from itertools import pairwise

import pytest
from health_models import registry_at
from hypothesis import given, settings
from hypothesis import strategies as st

from balancers.health import HealthPolicy, HealthRegistry, HealthState
from balancers.testing import ManualClock

events = st.lists(
    st.tuples(st.floats(0.0, 30.0), st.sampled_from("abc"), st.booleans()),
    min_size=1,
    max_size=40,
)


def probing(count: int, **options: object) -> tuple[HealthRegistry, ManualClock]:
    """Return a registry that tracks e0, e1, …, and its clock."""
    registry, clock = registry_at(HealthPolicy(**options), start=1000.0)
    registry.track(f"e{i}" for i in range(count))
    return registry, clock


def run(registry: HealthRegistry, clock: ManualClock, seconds: float, step: float = 0.05) -> dict:
    """Probe what is due, every probe passing; return the dates of each id's probes."""
    dates: dict[str, list[float]] = {}
    for _ in range(round(seconds / step)):
        clock.advance(step)
        for name in registry.due_probes():
            dates.setdefault(name, []).append(clock.now)
            registry.record_probe(name, ok=True, latency=0.001)
    return dates


def test_probes_keep_their_interval_and_do_not_bunch() -> None:
    """Each endpoint is probed every 5 s give or take a tenth; no step sees 1.6 times its share."""
    registry, clock = probing(500)
    run(registry, clock, 10.0)
    dates = run(registry, clock, 50.0)
    gaps = [b - a for times in dates.values() for a, b in pairwise(times)]
    at_once: dict[float, int] = {}
    for times in dates.values():
        for at in times:
            second = math.floor(at)
            at_once[second] = at_once.get(second, 0) + 1

    assert len(dates) == 500
    assert min(gaps) >= 4.4
    assert max(gaps) <= 5.6
    assert abs(sum(gaps) / len(gaps) - 5.0) < 0.02
    assert max(at_once.values()) <= 1.2 * 100


def test_first_probes_come_within_the_fast_interval_and_spread() -> None:
    """A newcomer is probed within a second, a thousand of them over that second."""
    registry, clock = probing(1000)
    counts = []
    for _ in range(10):
        clock.advance(0.1)
        counts.append(len(registry.due_probes()))

    assert sum(counts) == 1000
    assert max(counts) <= 110


def test_no_storm_after_a_pause() -> None:
    """After an hour asleep probes resume spread over the interval, none made up for."""
    registry, clock = probing(1000)
    run(registry, clock, 15.0)
    clock.advance(3600.0)
    counts = []
    for _ in range(100):
        due = registry.due_probes()
        counts.append(len(due))
        for name in due:
            registry.record_probe(name, ok=True)
        clock.advance(0.05)

    assert sum(counts) == pytest.approx(1000, abs=150)
    assert max(counts) <= 40


@given(st.integers(1, 60), st.integers(1, 30))
@settings(max_examples=30)
def test_limit_leaves_the_rest_due(count: int, limit: int) -> None:
    """``limit`` bounds the answer; nobody is lost, nobody named twice."""
    registry, clock = probing(count)
    clock.advance(1.0)
    named: list[str] = []
    while due := registry.due_probes(limit=limit):
        assert len(due) <= limit
        named += due

    assert sorted(named) == sorted(f"e{i}" for i in range(count))


def test_intervals_by_state() -> None:
    """Fast on the edge, the unhealthy interval when down, the usual one otherwise."""
    registry, clock = probing(
        1, probe_jitter=0.0, probe_unhealthy_interval=20.0, fall=3, minimum_healthy_time=3.0
    )

    def after(ok: bool) -> float:
        clock.advance(max(0.0, registry.snapshot()["endpoints"]["e0"]["active"]["next_probe"]
                          - clock.now))  # fmt: skip
        assert registry.due_probes() == ["e0"]
        registry.record_probe("e0", ok)
        return registry.snapshot()["endpoints"]["e0"]["active"]["next_probe"] - clock.now

    first = after(True)
    assert 2.5 <= first <= 7.5  # to its slot
    assert after(True) == pytest.approx(5.0)
    assert after(False) == pytest.approx(1.0)
    assert after(False) == pytest.approx(1.0)
    assert 10.0 <= after(False) <= 30.0  # down: to its slot of the longer interval
    assert after(False) == pytest.approx(20.0)
    assert after(True) == pytest.approx(1.0)  # rising
    assert after(True) == pytest.approx(1.0)  # in grace
    assert registry.state("e0") is HealthState.GRACE
    clock.advance(3.0)
    assert registry.state("e0") is HealthState.RAMPING


def test_unanswered_probe_comes_again() -> None:
    """A prober that dies with a probe in hand costs one interval, not the endpoint."""
    registry, clock = probing(1)
    clock.advance(1.0)

    assert registry.due_probes() == ["e0"]
    assert registry.due_probes() == []
    clock.advance(7.5)
    assert registry.due_probes() == ["e0"]


@given(events)
@settings(max_examples=25)
def test_next_deadline_is_when_something_is_due(script: list) -> None:
    """Nothing is due before ``next_deadline``, and something is at it."""
    registry, clock = registry_at(HealthPolicy(minimum_healthy_time=4.0))
    registry.track(["a", "b", "c"])
    for gap, name, ok in script:
        clock.advance(gap)
        registry.record_probe(name, ok)
    registry.due_probes()
    at = registry.next_deadline()
    seen = len(registry.events())
    assert at > clock.now
    clock.advance(max(0.0, math.nextafter(at, 0.0) - clock.now))

    assert registry.due_probes() == []
    assert len(registry.events()) == seen
    before = registry.snapshot()
    while clock.now < at:
        clock.advance(1e-6)
    assert registry.due_probes() or registry.snapshot()["endpoints"] != before["endpoints"]
