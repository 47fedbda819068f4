"""``HealthRegistry``: membership, the operator, events, and what is refused."""

import copy
import gc
import math
import pickle
from random import Random

import pytest
from health_models import CALM, FakeBalancer, registry_at

from balancers import Outcome
from balancers.health import Admin, HealthPolicy, HealthRegistry, HealthState, ProbeResult
from balancers.testing import ManualClock


def eject(registry: HealthRegistry, name: str) -> None:
    """Fail as often in a row as it takes."""
    for _ in range(registry.policy.consecutive_failures or 0):
        registry.record(name, Outcome.FAILURE)


# -- membership ----------------------------------------------------------------------------


def test_unknown_ids() -> None:
    """``record*`` return False for an id nobody holds, ``state`` raises, and neither makes one."""
    registry, _ = registry_at()

    assert not registry.record("a", Outcome.SUCCESS)
    assert not registry.record_probe("a", ok=True)
    with pytest.raises(KeyError, match="'a'"):
        registry.state("a")
    assert registry.snapshot()["endpoints"] == {}


def test_facts_live_as_long_as_a_holder() -> None:
    """Facts survive updates of one holder while another holds the id, and no longer."""
    registry, _ = registry_at()
    one = FakeBalancer(registry, dict.fromkeys("abc", 1.0))
    two = FakeBalancer(registry, dict.fromkeys("abc", 1.0))
    eject(registry, "a")
    one.update({"b": 1.0})

    assert registry.state("a") is HealthState.EJECTED
    assert one.entries["b"] is two.entries["b"]
    one.update(dict.fromkeys("ab", 2.0))
    assert one.entries["a"] is two.entries["a"]
    assert registry.state("a") is HealthState.EJECTED
    for balancer in (one, two):
        balancer.update({"b": 1.0})
    with pytest.raises(KeyError):
        registry.state("a")
    one.update(dict.fromkeys("ab", 1.0))
    assert registry.state("a") is HealthState.UNKNOWN


def test_late_settlement_of_a_dropped_entry_touches_nobody() -> None:
    """After remove and re-add, the old entry's outcomes do not reach the new one."""
    registry, _ = registry_at()
    balancer = FakeBalancer(registry, dict.fromkeys("abc", 1.0))
    old = balancer.entries["a"]
    balancer.update(dict.fromkeys("bc", 1.0))
    balancer.update(dict.fromkeys("abc", 1.0))
    for outcome in (Outcome.FAILURE, Outcome.FAILURE, Outcome.SUCCESS, Outcome.CANCELLED):
        old.settle(outcome)

    assert balancer.entries["a"] is not old
    assert registry.state("a") is HealthState.UNKNOWN
    assert registry.events() == ()


def test_a_balancer_is_held_weakly() -> None:
    """When a balancer is gone its ids go, without ``release``."""
    registry, _ = registry_at()
    balancer = FakeBalancer(registry, {"a": 1.0})
    assert registry.record("a", Outcome.SUCCESS)
    del balancer
    gc.collect()

    assert not registry.record("a", Outcome.SUCCESS)
    registry._check()


def test_release_is_for_good_and_idempotent() -> None:
    """A released attachment holds nothing and can hold nothing."""
    registry, _ = registry_at()
    balancer = FakeBalancer(registry, {"a": 1.0})
    balancer.attachment.release()
    balancer.attachment.release()

    assert not registry.record("a", Outcome.SUCCESS)
    with pytest.raises(RuntimeError, match="released"):
        balancer.attachment.hold({"a": 1.0})


def test_track_replaces_what_was_tracked() -> None:
    """``track`` declares the whole set."""
    registry, _ = registry_at()
    registry.track(["a", "b", "a"])
    registry.record_probe("a", ok=True)
    registry.track(iter(["a", "c"]))

    assert registry.state("a") is HealthState.HEALTHY
    assert registry.state("c") is HealthState.UNKNOWN
    with pytest.raises(KeyError):
        registry.state("b")


# -- many probes at once -----------------------------------------------------------------------


def test_many_results_are_one_change() -> None:
    """Results reported together mean what they mean one by one, and refresh a balancer once."""
    names = [f"e{i}" for i in range(50)]
    results = [ProbeResult(n, ok=False) for n in names for _ in range(2)]
    together, _ = registry_at()
    balancer = FakeBalancer(together, dict.fromkeys(names, 1.0))
    assert together.record_probes([*results, ProbeResult("nobody", ok=True)]) == 100
    apart, _ = registry_at()
    other = FakeBalancer(apart, dict.fromkeys(names, 1.0))
    for name, ok, _, _ in results:
        apart.record_probe(name, ok)

    assert (balancer.refreshes, other.refreshes) == (1, 50)
    assert together.events() == apart.events()
    assert balancer.view == other.view
    with pytest.raises(TypeError, match="ok"):
        together.record_probes([ProbeResult("e0", ok=True), ProbeResult("e1", ok=1)])
    assert together.state("e0") is HealthState.UNHEALTHY


# -- when may one come back ------------------------------------------------------------------


def test_retry_after_is_the_soonest_return() -> None:
    """The soonest of what is left to serve; None where only an operator or a prober can help."""
    registry, clock = registry_at()
    balancer = FakeBalancer(registry, dict.fromkeys("abcd", 1.0))
    eject(registry, "a")
    clock.advance(1.0)
    registry.record("b", Outcome.FAILURE, retry_after=6.0)
    ask = registry.retry_after

    assert ask(["a"], 1.0) == 3.0
    assert ask(["b", "a"], 1.0) == 3.0
    assert ask(["b"], 1.0) == 6.0
    assert ask([], 1.0) is None
    assert ask(["nobody"], 1.0) is None
    assert ask(["c"], 1.0) == 0.0
    registry.set_admin("a", Admin.DISABLED)
    assert ask(["a"], 1.0) is None
    assert balancer.view["b"].until == 7.0


def test_retry_after_of_an_unhealthy_endpoint_counts_probes() -> None:
    """Next probe, the further ones at the fast interval, and the minimum healthy time."""
    registry, clock = registry_at(CALM.but(probe_jitter=0.0, rise=3))
    registry.track(["a", "b"])
    for _ in range(2):
        registry.record_probe("a", ok=False)
    due = registry.snapshot()["endpoints"]["a"]["active"]["next_probe"]
    # three passes, a second apart, from the next probe on; 3 s of passing since the first
    assert registry.retry_after(["a"], 0.0) == pytest.approx(due + 3.0)
    clock.advance(due)
    registry.record_probe("a", ok=True)
    assert registry.retry_after(["a"], due) == pytest.approx(3.0)

    waiting, _ = registry_at(CALM.but(first_state="wait"))
    waiting.track(["a"])
    assert waiting.retry_after(["a"], 0.0) is None  # nobody probes
    waiting.due_probes()
    assert 0.0 < waiting.retry_after(["a"], 0.0) <= 1.0


def test_retry_after_header_is_capped() -> None:
    """A server cannot ask for more than ``retry_after_max``; 0 ignores it."""
    registry, _ = registry_at(CALM.but(consecutive_failures=None))
    balancer = FakeBalancer(registry, dict.fromkeys("abc", 1.0))
    registry.record("a", Outcome.SUCCESS, retry_after=1e9)
    assert balancer.view["a"].until == 6.0
    deaf, _ = registry_at(CALM.but(consecutive_failures=None, retry_after_max=0.0))
    deaf.track(["a", "b"])
    deaf.record("a", Outcome.FAILURE, retry_after=100.0)

    assert deaf.state("a") is HealthState.UNKNOWN


# -- comparisons at the interval -------------------------------------------------------------


def test_slow_endpoint_is_readmitted_by_quick_answers_only() -> None:
    """One ejected for its latency returns by use: a slow success on probation re-ejects it."""
    registry, clock = registry_at(
        CALM.but(latency_factor=3.0, probation_successes=1, min_ejected=1)
    )
    balancer = FakeBalancer(registry, dict.fromkeys("abcd", 1.0))
    for name in "abcd":
        for _ in range(20):
            registry.record(name, Outcome.SUCCESS, latency=1.0 if name == "a" else 0.1)
    clock.advance(10.0)
    registry.tick()
    assert registry.state("a") is HealthState.EJECTED
    assert "limit 0.3 s" in registry.events("a")[-1].reason
    clock.advance(4.0)
    registry.tick()
    balancer.entries["a"].settle(Outcome.SUCCESS, 0.9, None, clock.now)
    assert registry.state("a") is HealthState.EJECTED
    clock.advance(8.0)
    registry.tick()
    balancer.entries["a"].settle(Outcome.SUCCESS, 0.2, None, clock.now)

    assert registry.state("a") is HealthState.RAMPING


# -- what is refused -------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [-1.0, math.nan, math.inf, True, "1"])
def test_bad_numbers_change_nothing(bad: object) -> None:
    """Latencies, retry_after and timeouts are finite seconds ≥ 0."""
    registry, _ = registry_at(CALM.but(consecutive_failures=1))
    registry.track(["a", "b"])
    calls = [
        lambda: registry.record("a", Outcome.FAILURE, latency=bad),
        lambda: registry.record("a", Outcome.FAILURE, retry_after=bad),
        lambda: registry.record_probe("a", ok=False, latency=bad),
        lambda: registry.set_admin("a", Admin.DRAINING, timeout=bad),
    ]
    for call in calls:
        with pytest.raises((TypeError, ValueError), match=r"latency|retry_after|timeout"):
            call()

    assert registry.events() == ()
    assert registry.admin("a") is Admin.ENABLED


def test_bad_types_are_named() -> None:
    """Every argument of a wrong type raises and says what it should be."""
    registry, _ = registry_at()
    wrong: list = [
        lambda: registry.record("a", "success"),
        lambda: registry.record_probe("a", 1),
        lambda: registry.record_probe("a", True, degraded=None),
        lambda: registry.set_admin("a", "enabled"),
        lambda: registry.set_admin(1, Admin.ENABLED),
        lambda: registry.track("abc"),
        lambda: registry.track([1]),
        lambda: registry.subscribe(None),
        lambda: registry.due_probes(limit=1.0),
        lambda: registry.due_probes(limit=True),
        lambda: HealthRegistry({}),
        lambda: HealthRegistry(clock=1.0),
        lambda: HealthRegistry(rng=1),
    ]
    for call in wrong:
        with pytest.raises(TypeError):
            call()
    with pytest.raises(ValueError, match="DRAINING"):
        registry.set_admin("a", Admin.DISABLED, timeout=1.0)
    with pytest.raises(ValueError, match="limit"):
        registry.due_probes(limit=-1)


def test_defaults() -> None:
    """A registry needs no argument; the policy is the default one."""
    registry = HealthRegistry()

    assert registry.policy == HealthPolicy()
    assert registry.next_deadline() == math.inf
    assert registry.deadline == math.inf


def test_two_registries_of_one_seed_are_alike() -> None:
    """An injected rng is the only source of chance."""
    dates = []
    for _ in range(2):
        registry = HealthRegistry(clock=ManualClock(), rng=Random(4))
        registry.track(["a", "b"])
        dates.append(registry.next_deadline())

    assert dates[0] == dates[1]


def test_a_copy_is_refused() -> None:
    """A copy would share facts and locks with the original, and not its balancers."""
    registry, _ = registry_at()
    for duplicate in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="registry"):
            duplicate(registry)
