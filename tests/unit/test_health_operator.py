"""What the operator says, and what subscribers and the log are told."""

import json
import logging

from health_models import CALM, FakeBalancer, registry_at

from balancers import Outcome
from balancers.health import Admin, HealthEvent, HealthRegistry, HealthState


def eject(registry: HealthRegistry, name: str) -> None:
    """Fail as often in a row as it takes."""
    for _ in range(registry.policy.consecutive_failures or 0):
        registry.record(name, Outcome.FAILURE)


# -- the operator --------------------------------------------------------------------------


def test_operator_facts_come_before_and_outlive_membership() -> None:
    """An order given early waits for the id, and comes back with it."""
    registry, _ = registry_at()
    registry.set_admin("a", Admin.DISABLED)
    assert registry.admin("a") is Admin.DISABLED
    balancer = FakeBalancer(registry, dict.fromkeys("ab", 1.0))
    assert not balancer.view["a"].admitted
    assert balancer.view["a"].why == "disabled"
    balancer.update({"b": 1.0})
    balancer.update(dict.fromkeys("ab", 1.0))

    assert not balancer.view["a"].enabled
    registry.set_admin("a", Admin.ENABLED)
    assert balancer.view["a"].admitted
    assert registry.admin("a") is Admin.ENABLED


def test_orders_show_at_once_and_move_no_state() -> None:
    """``set_admin`` returns after every balancer shows it; ENABLED brings the state back as it was.

    No grace and no ramp: planned maintenance is not an illness.
    """
    registry, clock = registry_at()
    balancers = [FakeBalancer(registry, dict.fromkeys("abc", 1.0)) for _ in range(3)]
    registry.record("a", Outcome.SUCCESS)
    for admin in (Admin.DRAINING, Admin.DISABLED):
        registry.set_admin("a", admin)
        assert [b.view["a"].admitted for b in balancers] == [False] * 3
        assert registry.state("a") is HealthState.HEALTHY
    clock.advance(1e6)
    registry.set_admin("a", Admin.ENABLED)

    assert [b.view["a"][:5] for b in balancers] == [
        (HealthState.HEALTHY, Admin.ENABLED, True, True, 1.0)
    ] * 3


def test_drained_when_nothing_is_in_flight() -> None:
    """Drained: told to, and no lease open at any balancer."""
    registry, _ = registry_at()
    one = FakeBalancer(registry, dict.fromkeys("ab", 1.0))
    two = FakeBalancer(registry, dict.fromkeys("ab", 1.0))
    one.open["a"], two.open["a"] = 1, 2
    assert not registry.drained("b")
    registry.set_admin("a", Admin.DRAINING)

    assert not registry.drained("a")
    one.open["a"] = 0
    assert not registry.drained("a")
    two.open["a"] = 0
    assert registry.drained("a")
    assert registry.drained("never heard of")


def test_drain_timeout_disables_and_gives_up_waiting() -> None:
    """After its timeout DRAINING is DISABLED, and drained whatever is still open."""
    registry, clock = registry_at()
    balancer = FakeBalancer(registry, dict.fromkeys("ab", 1.0))
    balancer.open["a"] = 1
    registry.set_admin("a", Admin.DRAINING, timeout=30.0)
    assert registry.deadline == 30.0
    clock.advance(29.0)
    assert not registry.drained("a")
    clock.advance(1.0)

    assert registry.drained("a")
    assert registry.admin("a") is Admin.DISABLED
    assert balancer.view["a"].admin is Admin.DISABLED
    assert [(e.at, e.until) for e in registry.events("a")] == [(0.0, 30.0), (30.0, None)]
    registry.set_admin("a", Admin.DISABLED)
    assert not registry.drained("a")


def test_policy_drain_timeout_is_the_default() -> None:
    """``drain_timeout`` goes for orders that name none."""
    registry, clock = registry_at(CALM.but(drain_timeout=5.0))
    registry.set_admin("a", Admin.DRAINING)
    registry.set_admin("b", Admin.DRAINING, timeout=50.0)
    clock.advance(5.0)

    assert [registry.admin(n) for n in "ab"] == [Admin.DISABLED, Admin.DRAINING]


# -- events --------------------------------------------------------------------------------


def test_subscribers_come_after_the_balancers_in_order() -> None:
    """When a subscriber runs, every balancer shows the change; exceptions are contained."""
    registry, clock = registry_at()
    balancer = FakeBalancer(registry, dict.fromkeys("abc", 1.0))
    seen: list[tuple[HealthEvent, bool]] = []

    def bad(event: HealthEvent) -> None:
        raise RuntimeError("mine")

    registry.subscribe(bad)
    unsubscribe = registry.subscribe(lambda e: seen.append((e, balancer.view["a"].admitted)))
    logging.getLogger("balancers").disabled = True
    try:
        eject(registry, "a")
        clock.advance(4.0)
        registry.tick()
    finally:
        logging.getLogger("balancers").disabled = False

    assert [(e.old, e.new, e.at, e.until) for e, _ in seen] == [
        (HealthState.UNKNOWN, HealthState.EJECTED, 0.0, 4.0),
        (HealthState.EJECTED, HealthState.PROBATION, 4.0, None),
    ]
    assert [shown for _, shown in seen] == [False, True]
    assert registry.events() == tuple(e for e, _ in seen)
    unsubscribe()
    unsubscribe()
    registry.record("a", Outcome.SUCCESS)
    assert len(seen) == 2


def test_subscriber_that_calls_back_is_not_nested() -> None:
    """A subscriber may use the registry; what that causes is told after it returns."""
    registry, _ = registry_at()
    FakeBalancer(registry, {"a": 1.0})
    registry.track(["a", "b"])
    order: list[str] = []

    def callback(event: HealthEvent) -> None:
        order.append(f"begin {event.id}")
        if event.id == "a":
            registry.set_admin("b", Admin.DISABLED)
        order.append(f"end {event.id}")

    registry.subscribe(callback)
    registry.set_admin("a", Admin.DISABLED)

    assert order == ["begin a", "end a", "begin b", "end b"]


def test_event_log_is_bounded() -> None:
    """Only the last ``event_log`` events are remembered."""
    registry, _ = registry_at(CALM.but(event_log=3))
    registry.track(["a"])
    for _ in range(5):
        registry.set_admin("a", Admin.DISABLED)
        registry.set_admin("a", Admin.ENABLED)

    assert len(registry.events()) == 3
    assert registry.events("b") == ()


def test_snapshot_is_json_and_tells_why_since_and_until() -> None:
    """The snapshot goes through ``json`` unchanged and carries reason, since and until."""
    registry, clock = registry_at(CALM.but(failure_ratio=0.9, latency_factor=3.0))
    balancer = FakeBalancer(registry, dict.fromkeys("abc", 1.0))
    clock.advance(1.0)
    eject(registry, "a")
    registry.record_probe("b", ok=True, degraded=True, latency=0.02)
    snapshot = registry.snapshot()

    assert json.loads(json.dumps(snapshot, allow_nan=False)) == snapshot
    a, b = snapshot["endpoints"]["a"], snapshot["endpoints"]["b"]
    assert (a["state"], a["reason"]) == ("ejected", "2 failures in a row")
    assert (a["since"], a["until"]) == (1.0, 5.0)
    assert (b["state"], b["active"]["latency"]) == ("degraded", 0.02)
    assert snapshot["deadline"] == 5.0
    assert balancer.view["a"].why == "ejected: 2 failures in a row"
