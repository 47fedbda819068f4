"""Ejection never takes more from any balancer than its caps allow."""

from fractions import Fraction

import pytest
from health_models import CALM, FakeBalancer, registry_at
from hypothesis import given
from hypothesis import strategies as st

from balancers import Outcome
from balancers.health import Admin, HealthPolicy, HealthRegistry, HealthState

SENTENCED = (HealthState.EJECTED, HealthState.PROBATION)
names = st.sampled_from("abcdefgh")
memberships = st.dictionaries(names, st.sampled_from((0.0, 0.5, 1.0, 1.0, 3.0)), max_size=8)
steps = st.lists(
    st.tuples(
        st.sampled_from(("fail", "fail", "fail", "ok", "up", "down", "wait", "admin", "hold")),
        names,
        st.integers(0, 2),
        memberships,
    ),
    max_size=40,
)


def out_of(balancer: FakeBalancer) -> list[str]:
    """Who a balancer of weight lacks by ejection alone."""
    return [
        name
        for name, weight in balancer.attachment.group.weights.items()
        if weight and balancer.entries[name].standing.enabled
        and balancer.entries[name].standing.state in SENTENCED
    ]  # fmt: skip


def check_caps(balancer: FakeBalancer, policy: HealthPolicy) -> None:
    """Judge the caps of one balancer by exact arithmetic."""
    weights = {
        name: Fraction(weight)
        for name, weight in balancer.attachment.group.weights.items()
        if weight and balancer.entries[name].standing.enabled
    }
    out = out_of(balancer)
    share = Fraction(policy.max_ejected)
    eligible = [
        n
        for n in weights
        if balancer.entries[n].standing.admitted and not balancer.entries[n].standing.probation
    ]
    if out:
        assert len(eligible) >= policy.min_eligible
    if len(out) > policy.min_ejected:
        assert len(out) <= share * len(weights)
        assert sum(weights[n] for n in out) <= share * sum(weights.values())


@given(
    memberships,
    memberships,
    steps,
    st.sampled_from((0.0, 0.25, 0.5, 1.0)),
    st.integers(0, 2),
    st.integers(1, 3),
)
def test_caps_hold_in_every_balancer_after_anything(
    first: dict, second: dict, script: list, share: float, floor: int, least: int
) -> None:
    """However balancers overlap, shrink and are drained, each keeps its caps and its floor."""
    policy = CALM.but(
        consecutive_failures=1,
        max_ejected=share,
        min_ejected=floor,
        min_eligible=least,
        retry_after_max=0.0,
    )
    registry, clock = registry_at(policy)
    balancers = [FakeBalancer(registry, first), FakeBalancer(registry, second)]
    registry.track(list("abc"[:least]))
    for what, name, number, weights in script:
        match what:
            case "fail" | "ok":
                good = Outcome.SUCCESS if what == "ok" else Outcome.FAILURE
                registry.record(name, good)
            case "up" | "down":
                for _ in range(2):
                    registry.record_probe(name, what == "up")
            case "wait":
                clock.advance(2.0 * number)
                registry.tick()
            case "admin":
                registry.set_admin(name, list(Admin)[number])
            case "hold":
                balancers[number % 2].update(weights)
                registry.tick()
        registry._check()
        for balancer in balancers:
            check_caps(balancer, policy)
            live = {n: e.standing for n, e in balancer.entries.items()}
            assert all(s[2:6] == balancer.view[n][2:6] for n, s in live.items())


@pytest.mark.parametrize(
    ("size", "gone"), [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2), (10, 5), (100, 50)]
)
def test_default_caps_when_everybody_fails(size: int, gone: int) -> None:
    """Golden: with everybody failing, half may go; of one nobody, of three one."""
    registry, _ = registry_at(HealthPolicy())
    balancer = FakeBalancer(registry, {f"e{i}": 1.0 for i in range(size)})
    for _ in range(20):
        for name in balancer.entries:
            registry.record(name, Outcome.FAILURE)

    assert len(out_of(balancer)) == gone


def test_weight_counts_too() -> None:
    """An endpoint that carries more than the share goes only as the one that always may."""
    registry, _ = registry_at(CALM.but(consecutive_failures=1, min_ejected=0))
    balancer = FakeBalancer(registry, {"big": 6.0, "b": 1.0, "c": 1.0, "d": 1.0})
    for name in ("big", "b", "c", "d"):
        registry.record(name, Outcome.FAILURE)

    assert out_of(balancer) == ["b", "c"]


def test_every_balancer_has_a_say() -> None:
    """An endpoint that is somebody's last stays, whoever else could spare it."""
    registry, _ = registry_at(CALM.but(consecutive_failures=1))
    FakeBalancer(registry, {"a": 1.0})  # gone at once: no say
    many = FakeBalancer(registry, dict.fromkeys("abcd", 1.0))
    lone = FakeBalancer(registry, {"b": 1.0})
    registry.record("a", Outcome.FAILURE)
    registry.record("b", Outcome.FAILURE)

    assert out_of(many) == ["a"]
    assert registry.snapshot()["endpoints"]["b"]["passive"]["ejections_denied"] == 1
    lone.attachment.release()
    registry.record("b", Outcome.FAILURE)
    assert out_of(many) == ["a", "b"]


def test_tracked_ids_have_a_say_of_their_own_only() -> None:
    """``track`` of one id does not shield it in a balancer; tracked alone, it is the last one."""
    registry, _ = registry_at(CALM.but(consecutive_failures=1))
    balancer = FakeBalancer(registry, dict.fromkeys("abc", 1.0))
    registry.track(["a"])
    registry.record("a", Outcome.FAILURE)
    assert out_of(balancer) == ["a"]
    registry.track(["a", "x"])
    registry.record("x", Outcome.FAILURE)

    assert registry.state("x") is HealthState.UNKNOWN


def test_shrinking_lets_the_nearest_to_return_back() -> None:
    """When an update takes the healthy half away, the caps spare who had least left to serve."""
    registry, clock = registry_at(CALM.but(consecutive_failures=1))
    balancer = FakeBalancer(registry, dict.fromkeys("abcdef", 1.0))
    for name in "cab":
        registry.record(name, Outcome.FAILURE)
        clock.advance(0.5)

    assert out_of(balancer) == ["a", "b", "c"]
    balancer.update(dict.fromkeys("abcd", 1.0))
    assert out_of(balancer) == ["a", "b"]
    assert registry.state("c") is HealthState.RAMPING
    registry.set_admin("d", Admin.DISABLED)
    registry.set_admin("c", Admin.DISABLED)
    assert out_of(balancer) == ["b"]


def test_probes_taking_the_last_spare_an_ejected_one() -> None:
    """What probes take out is not capped, but ejection yields to it."""
    registry, _ = registry_at(CALM.but(consecutive_failures=1))
    balancer = FakeBalancer(registry, dict.fromkeys("ab", 1.0))
    registry.record("a", Outcome.FAILURE)
    for _ in range(2):
        registry.record_probe("b", ok=False)

    assert balancer.view["a"].state is HealthState.RAMPING
    assert not balancer.view["b"].admitted
    for _ in range(2):
        registry.record_probe("a", ok=False)
    assert not balancer.view["a"].admitted  # nobody left: that is panic's matter


def test_envoy_and_grpc_look_at_the_cap_before_and_after() -> None:
    """Golden: at 10 % of 5 endpoints Envoy ejects none, A50 one; at 40 %, two and two."""
    for share, rules, gone in (
        (0.1, "envoy", 0), (0.1, "grpc", 1), (0.4, "envoy", 2), (0.4, "grpc", 2),
        (0.5, "envoy", 2), (0.5, "grpc", 3),
    ):  # fmt: skip
        registry: HealthRegistry
        registry, _ = registry_at(
            CALM.but(consecutive_failures=1, min_ejected=0, max_ejected=share, outlier_rules=rules)
        )
        balancer = FakeBalancer(registry, dict.fromkeys("abcde", 1.0))
        for name in "abcde":
            registry.record(name, Outcome.FAILURE)

        assert len(out_of(balancer)) == gone, (share, rules)


def test_what_an_update_does_to_others_is_shown_by_the_next_pick() -> None:
    """An update refreshes nobody, since its caller may hold a lock; the next ``advance`` does."""
    registry, clock = registry_at(CALM.but(consecutive_failures=1))
    one = FakeBalancer(registry, dict.fromkeys("abcd", 1.0))
    two = FakeBalancer(registry, dict.fromkeys("abcd", 1.0))
    registry.record("a", Outcome.FAILURE)
    seen: list[str] = []
    registry.subscribe(lambda event: seen.append(event.new.value))
    refreshes = two.refreshes
    one.update({"a": 1.0})

    assert one.view["a"].admitted  # its only one
    assert (two.refreshes, seen) == (refreshes, [])
    assert registry.deadline <= clock.now
    registry.advance(clock.now)
    assert two.view["a"].admitted
    assert (two.refreshes, seen) == (refreshes + 1, ["ramping"])
    assert registry.deadline > clock.now
