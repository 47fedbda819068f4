"""One tier at a time: when it fails over, when it fails back, and who may say otherwise."""

from typing import Any

import pytest
from compose_models import Ward
from hypothesis import example, given
from hypothesis import strategies as st

from balancers import Endpoint, NoEligibleEndpointError, Reason, RoundRobin
from balancers.compose import StrictPriority
from balancers.structures.failover import Failover

pauses = st.sampled_from((0.0, 0.5, 1.0, 2.0, 5.0))
steps = st.lists(
    st.tuples(st.dictionaries(st.integers(0, 3), st.booleans(), max_size=4), pauses), max_size=30
)


@given(steps, st.sampled_from((0.0, 1.0, 3.0)), st.sampled_from((0.0, 1.0, 3.0)))
@example([({0: True, 1: True}, 0.0), ({0: False, 1: True}, 5.0)], 3.0, 0.0)
def test_failover_is_a_slow_clock(
    script: list[tuple[dict[int, bool], float]], out: float, back: float
):
    """Equal to a model that looks every half second and holds a stop-watch for each rule."""
    machine = Failover(out, back)
    now, active = 0.0, None
    down = better = 0.0  # how long each has lasted
    up: dict[int, bool] = {}

    def settle() -> None:
        nonlocal active, down, better
        best = min((tier for tier, is_up in up.items() if is_up), default=None)
        if active not in up:
            active, down, better = (best if best is not None else min(up, default=None)), 0.0, 0.0
        elif best is not None and best != active:
            is_down = not up[active]
            is_better = best < active
            if (is_down and (is_better or down >= out)) or (is_better and better >= back):
                active, down, better = best, 0.0, 0.0

    def lasts() -> tuple[bool, bool]:
        best = min((tier for tier, is_up in up.items() if is_up), default=None)
        if active is None:
            return False, False
        return not up[active], best is not None and best < active

    for now_up, pause in script:
        for _ in range(int(pause * 2)):
            is_down, is_better = lasts()
            down, better = (down + 0.5) * is_down, (better + 0.5) * is_better
            now += 0.5
            settle()
            assert machine.at(now) == active
        up = dict(now_up)
        settle()
        is_down, is_better = lasts()
        down, better = down * is_down, better * is_better
        machine.see(up, now)
        machine._check()
        assert machine.at(now) == active
        assert machine.deadline >= now or machine.at(now) == active


def tiers(**options: Any) -> tuple[StrictPriority, Ward]:
    """Return two endpoints in each of three tiers."""
    ward = Ward()
    members = [Endpoint(f"{tier}{i}", priority=tier) for tier in range(3) for i in range(2)]
    return StrictPriority(members, policy=RoundRobin, health=ward.registry, **options), ward


def served(balancer: StrictPriority) -> int | None:
    """Return the tier of the next pick, None if there is none."""
    try:
        with balancer.pick() as pick:
            assert balancer.active == pick.endpoint.priority
            return pick.endpoint.priority
    except NoEligibleEndpointError:
        return None


def test_one_tier_at_a_time():
    """A tier that is half down serves alone; gone, the next one does; back, it does again."""
    balancer, ward = tiers(panic_threshold=0.0)
    ward.down("00")
    assert [served(balancer) for _ in range(4)] == [0] * 4
    ward.down("01")
    assert [served(balancer) for _ in range(4)] == [1] * 4
    ward.down("10", "11", "20")
    assert served(balancer) == 2
    ward.up("00")
    assert served(balancer) == 0
    balancer._check()


def test_failover_waits():
    """Down for less than the hold time: refused, with the time that is left."""
    balancer, ward = tiers(failover_after=10.0)
    ward.down("00", "01")
    with pytest.raises(NoEligibleEndpointError) as caught:
        balancer.pick()
    assert caught.value.retry_after is not None  # a probe may find it well before the time is up
    assert 0.0 < caught.value.retry_after <= 10.0
    assert balancer.explain().chosen is None
    ward.clock.advance(9.0)
    assert served(balancer) is None
    ward.up("01")
    assert served(balancer) == 0  # it was a hiccup
    ward.down("01")
    ward.clock.advance(10.0)
    said = balancer.explain()
    assert said.path == ("StrictPriority[1]", "RoundRobin")
    assert served(balancer) == 1
    ward.down("10", "11")
    ward.up("00")
    assert served(balancer) == 0  # a better tier is no failover, and waits for nothing


def test_failback_waits():
    """A better tier serves again once it has been up for long enough without a break."""
    balancer, ward = tiers(failback_after=30.0)
    ward.down("00", "01")
    assert served(balancer) == 1
    ward.up("00")
    ward.clock.advance(29.0)
    assert served(balancer) == 1
    ward.down("00")
    ward.up("00")
    ward.clock.advance(29.0)
    assert served(balancer) == 1
    ward.clock.advance(1.0)
    assert served(balancer) == 0


def test_a_lock_service_decides():
    """``activate`` has one tier serve and no other, up or down, until it is given back."""
    balancer, ward = tiers()
    calls: list[int] = []
    balancer.changed(lambda: calls.append(1))
    balancer.activate(2)
    assert (served(balancer), calls) == (2, [1])
    ward.down("20", "21")
    assert served(balancer) is None
    balancer.activate(7)
    assert served(balancer) is None
    balancer.activate(None)
    assert served(balancer) == 0
    for bad in (-1, 1.5, True):
        with pytest.raises((TypeError, ValueError)):
            balancer.activate(bad)  # type: ignore[arg-type]


def test_a_tier_that_goes_is_not_waited_for():
    """The active tier removed: the best one that is up serves at once."""
    balancer, ward = tiers(failover_after=60.0)
    balancer.update([e for e in balancer.endpoints if e.priority])
    assert served(balancer) == 1
    balancer.update([])
    assert balancer.active is None
    balancer.update([Endpoint("x", priority=5)])
    assert served(balancer) == 5
    assert ward.registry.snapshot()["endpoints"].keys() == {"x"}


def test_exclude_does_not_leave_the_tier():
    """What ``exclude`` takes from the active tier no other serves: that is the point."""
    balancer, _ = tiers()
    with pytest.raises(NoEligibleEndpointError):
        balancer.pick(exclude=["00", "01"])


def test_a_tier_in_panic_is_up():
    """Too few of a tier eligible, but some: all of it serves. None: it is down."""
    ward = Ward()
    members = [Endpoint(f"a{i}") for i in range(4)] + [Endpoint("b", priority=1)]
    balancer = StrictPriority(members, policy=RoundRobin, health=ward.registry)
    ward.down("a0", "a1", "a2")
    picks = [balancer.pick() for _ in range(4)]
    assert {pick.endpoint.id for pick in picks} == {"a0", "a1", "a2", "a3"}
    assert {pick.reason for pick in picks} == {Reason.PANIC}
    for pick in picks:
        pick.done()
    ward.down("a3")
    assert served(balancer) == 1


def test_snapshot_names_the_active_tier():
    """``details`` has its number."""
    balancer, _ = tiers()
    assert balancer.snapshot().details == {"active": 0.0}


@pytest.mark.parametrize("options", [{"failover_after": -1.0}, {"failback_after": float("inf")}])
def test_bad_options(options: dict[str, Any]):
    """Options out of range raise at once."""
    with pytest.raises(ValueError, match="must be"):
        tiers(**options)
