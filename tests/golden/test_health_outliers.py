"""Golden ejection sequences of Envoy's outlier detection and gRFC A50, where the two differ.

The rules are written out by hand from the two specifications; the numbers are theirs.
"""

import pytest
from health_models import FakeBalancer, registry_at

from balancers import Outcome
from balancers.health import HealthPolicy, HealthRegistry, HealthState
from balancers.health.detectors.outliers import success_rate_threshold
from balancers.testing import ManualClock


def cluster(policy: HealthPolicy, size: int) -> tuple[HealthRegistry, ManualClock, FakeBalancer]:
    """Return a registry, its clock, and a balancer over hosts h0, h1, …, to be kept alive."""
    registry, clock = registry_at(policy)
    return registry, clock, FakeBalancer(registry, {f"h{i}": 1.0 for i in range(size)})


def interval(registry: HealthRegistry, clock: ManualClock, rates: list[int]) -> list[str]:
    """Send 100 requests to each host, as many succeeding as said, failures spread; then sweep.

    Returns who is ejected afterwards.
    """
    for number, good in enumerate(rates):
        for request in range(100):
            # spread, so that no run of failures is as long as five below 80 % failures
            ok = (request + 1) * good // 100 > request * good // 100
            registry.record(f"h{number}", Outcome.SUCCESS if ok else Outcome.FAILURE)
    clock.advance(10.0)
    registry.tick()
    found = registry.snapshot()["endpoints"]
    return [name for name, seen in found.items() if seen["state"] == "ejected"]


def test_threshold_of_the_documentation() -> None:
    """{50, 100, 100, 100, 100} %: mean 90, σ 20, threshold 90 − 1.9 · 20 = 52."""
    assert success_rate_threshold([50, 100, 100, 100, 100], 1.9) == pytest.approx(52.0)


@pytest.mark.parametrize(
    ("size", "bad", "envoy", "grpc"),
    [
        # 1 of 5 is 20 % out: too much for Envoy; for A50 0 % are out yet.
        (5, 1, 0, 1),
        # 1 of 10 is 10 %, the second would be 20 %; A50 stops at 10 % out.
        (10, 2, 1, 1),
        # 2 of 20 are 10 %; both stop there.
        (20, 3, 2, 2),
        # 3 of 25 are 12 %: Envoy stops at 2; A50 sees 8 % out and takes the third.
        (25, 3, 2, 3),
    ],
)
def test_when_the_cap_is_checked(size: int, bad: int, envoy: int, grpc: int) -> None:
    """Envoy counts the host it is about to eject, A50 only those already out; cap 10 %."""
    rates = [50] * bad + [100] * (size - bad)
    for policy, gone in ((HealthPolicy.envoy(), envoy), (HealthPolicy.grpc(), grpc)):
        registry, clock, _owner = cluster(policy.but(failure_percentage=None), size)

        assert interval(registry, clock, rates) == [f"h{i}" for i in range(gone)]


@pytest.mark.parametrize(
    ("failed", "envoy", "grpc"), [(84, False, False), (85, True, False), (86, True, True)]
)
def test_at_the_failure_threshold(failed: int, envoy: bool, grpc: bool) -> None:
    """A host that fails exactly 85 % is ejected by Envoy (≥), not by A50 (>)."""
    for policy, gone in (
        (HealthPolicy.envoy(failure_percentage=0.85, consecutive_failures=None), envoy),
        (HealthPolicy.grpc(), grpc),
    ):
        registry, clock, _owner = cluster(policy.but(success_rate_stdev=None, max_ejected=0.2), 10)

        assert interval(registry, clock, [100 - failed] + [100] * 9) == ["h0"] * gone


def test_too_few_hosts_or_requests() -> None:
    """Below five hosts with 100 requests each nobody is compared."""
    registry, clock, _owner = cluster(HealthPolicy.grpc(max_ejected=1.0), 5)

    assert interval(registry, clock, [10, 100, 100, 100]) == []
    assert interval(registry, clock, [10, 100, 100, 100, 100]) == ["h0"]


def test_five_consecutive_failures_eject_between_intervals() -> None:
    """Envoy's consecutive_5xx does not wait for the interval; A50 has no such rule."""
    for policy, state in (
        (HealthPolicy.envoy(), HealthState.EJECTED),
        (HealthPolicy.grpc(), HealthState.UNKNOWN),
    ):
        registry, _, _owner = cluster(policy, 10)
        for _ in range(5):
            registry.record("h0", Outcome.FAILURE)

        assert registry.state("h0") is state


def test_ejection_times() -> None:
    """30 s times the number of ejections in a row, at most 300 s, and straight back to work."""
    registry, clock, _owner = cluster(HealthPolicy.envoy(), 10)
    lengths = []
    for _ in range(12):
        for _ in range(5):
            registry.record("h0", Outcome.FAILURE)
        event = registry.events("h0")[-1]
        assert event.until is not None
        lengths.append(event.until - event.at)
        clock.advance(event.until - event.at)

        assert registry.state("h0") is HealthState.HEALTHY

    assert lengths == [30.0 * k for k in range(1, 11)] + [300.0, 300.0]


def test_multiplier_falls_by_one_each_healthy_interval() -> None:
    """Three ejections, then 20 s of good conduct: the next one is 60 s, not 120."""
    registry, clock, _owner = cluster(HealthPolicy.envoy(), 10)
    for _ in range(3):
        for _ in range(5):
            registry.record("h0", Outcome.FAILURE)
        clock.advance(registry.events("h0")[-1].until - clock.now)
        registry.tick()
    clock.advance(20.0)
    for _ in range(5):
        registry.record("h0", Outcome.FAILURE)
    event = registry.events("h0")[-1]

    assert event.until - event.at == 60.0


def test_never_the_last_one() -> None:
    """The named difference: where both systems may empty a small cluster, we do not."""
    registry, clock, _owner = cluster(
        HealthPolicy.grpc(failure_percentage_hosts=1, max_ejected=1.0), 2
    )

    assert interval(registry, clock, [0, 0]) == ["h0"]


def test_nginx_max_fails_and_fail_timeout() -> None:
    """One failure is 10 s out; one request then decides; nobody forgets the last server."""
    registry, clock, balancer = cluster(HealthPolicy.nginx(), 3)
    entry = balancer.entries["h0"]
    registry.record("h0", Outcome.FAILURE)
    assert registry.state("h0") is HealthState.EJECTED
    clock.advance(10.0)
    registry.tick()

    assert entry.take_probation_pick()
    assert not entry.take_probation_pick()
    entry.settle(Outcome.FAILURE, started=clock.now)
    assert registry.events("h0")[-1].until == 20.0
    clock.advance(10.0)
    registry.tick()
    assert entry.take_probation_pick()
    entry.settle(Outcome.SUCCESS, started=clock.now)
    assert registry.state("h0") is HealthState.HEALTHY
    for name in ("h0", "h1", "h2"):
        registry.record(name, Outcome.FAILURE)
    assert [registry.state(f"h{i}").value for i in range(3)] == ["ejected", "ejected", "unknown"]
