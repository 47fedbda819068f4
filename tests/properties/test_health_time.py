"""Time in the health registry: dates, ramps, sentences, probes, and that looking moves nothing."""

import math
from fractions import Fraction
from random import Random
from types import SimpleNamespace

import pytest
from health_models import CALM, FakeBalancer, registry_at
from hypothesis import given, settings
from hypothesis import strategies as st

from balancers import Outcome
from balancers.health import Admin, HealthPolicy, HealthRegistry, HealthState
from balancers.health.ejection import remaining_strikes, sentence
from balancers.health.ramp import STEPS, Ramp
from balancers.structures.agenda import Agenda
from balancers.testing import ManualClock

# -- a script of events, played with more or fewer looks ------------------------------------

events = st.lists(
    st.tuples(
        st.floats(0.0, 30.0),
        st.sampled_from("abc"),
        st.sampled_from(("ok", "fail", "up", "down", "drain", "enable", "asked")),
    ),
    max_size=40,
)


def play(script: list[tuple[float, str, str]], looks: int, rng_seed: int = 3) -> object:
    """Return all that came of a script, having looked ``looks`` times between any two events."""
    clock = ManualClock(17.0)
    registry = HealthRegistry(
        HealthPolicy(minimum_healthy_time=4.0, slow_start_joiners=True, failure_percentage=0.5),
        clock=clock,
        rng=Random(rng_seed),
    )
    balancer = FakeBalancer(registry, dict.fromkeys("abc", 1.0))
    for gap, name, what in script:
        start = clock.now
        for look in range(looks):
            clock.advance(max(0.0, start + gap * (look + 1) / (looks + 1) - clock.now))
            registry.advance(clock.now) if look % 2 else registry.tick()
        clock.advance(max(0.0, start + gap - clock.now))
        match what:
            case "ok" | "fail":
                outcome = Outcome.SUCCESS if what == "ok" else Outcome.FAILURE
                for _ in range(3):
                    registry.record(name, outcome)
            case "asked":
                registry.record(name, Outcome.FAILURE, retry_after=7.0)
            case "up" | "down":
                registry.record_probe(name, what == "up")
            case "drain":
                registry.set_admin(name, Admin.DRAINING, timeout=3.0)
            case "enable":
                registry.set_admin(name, Admin.ENABLED)
    registry.tick()
    registry._check()
    shown = [(s.admitted, s.enabled, s.ramp, s.probation) for s in balancer.view.values()]
    return registry.events(), registry.snapshot(), shown


@given(events, st.integers(1, 4))
@settings(max_examples=60)
def test_looking_more_often_changes_nothing(script: list, looks: int) -> None:
    """Events, snapshot and standings do not depend on how often somebody looked."""
    assert play(script, looks) == play(script, 0)


@given(events)
@settings(max_examples=25)
def test_same_events_clock_and_seed_give_the_same(script: list) -> None:
    """The registry is a function of events, clock and seed."""
    assert play(script, 1) == play(script, 1)


@given(st.lists(st.floats(-5.0, 5.0), min_size=1, max_size=20))
def test_clock_that_jumps_back_stands(steps: list[float]) -> None:
    """Readings below the highest so far count as the highest; dates never go back."""
    now = [100.0]
    registry = HealthRegistry(CALM, clock=lambda: now[0], rng=Random(1))
    FakeBalancer(registry, dict.fromkeys("ab", 1.0))
    registry.track(["a", "b"])
    highest = 100.0
    for step in steps:
        now[0] += step
        highest = max(highest, now[0])
        registry.record("a", Outcome.FAILURE)
        registry.record_probe("b", step > 0)

        assert registry.snapshot()["at"] == highest
    dates = [event.at for event in registry.events()]
    assert dates == sorted(dates)


def test_clock_that_jumps_ahead_is_caught_up_with_quickly() -> None:
    """A thousand years later everything is where time would have led it, in few steps."""
    registry, clock = registry_at(CALM.but(failure_percentage=0.9, slow_start_joiners=True))
    balancer = FakeBalancer(registry, dict.fromkeys("abcd", 1.0))
    for _ in range(2):
        registry.record("a", Outcome.FAILURE)
    clock.advance(3e10)

    assert registry.state("a") is HealthState.PROBATION
    assert len(registry.events("a")) == 2
    assert balancer.view["b"].ramp == 1.0
    assert registry.deadline > clock.now


# -- dates ---------------------------------------------------------------------------------


@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.sampled_from((math.inf, 1.0, 2.0, 3.0, 4.0))), max_size=300
    )
)
def test_agenda_is_a_sorted_dict(moves: list[tuple[int, float]]) -> None:
    """The next date, and the order of popping, are those of a dict sorted by date and number."""
    items = [SimpleNamespace(serial=i) for i in range(10)]
    agenda: Agenda = Agenda()
    model: dict[int, float] = {}
    for number, date in moves:
        agenda.put(items[number], date)
        model.pop(number, None)
        if date < math.inf:
            model[number] = date
        agenda._check()

        assert agenda.next() == min(model.values(), default=math.inf)
        assert agenda.date(items[number]) == model.get(number, math.inf)
        assert len(agenda) == len(model)
    popped = [agenda.pop() for _ in range(len(agenda))]

    assert [(date, item.serial) for date, item in popped] == sorted(
        (date, number) for number, date in model.items()
    )


# -- the ramp ------------------------------------------------------------------------------


@given(
    st.floats(0.1, 1e4), st.floats(0.1, 10.0), st.floats(0.01, 1.0), st.floats(0.0, 1e6),
    st.floats(0.0, 1.2),
)  # fmt: skip
def test_ramp_is_envoys_formula_rounded_down(
    window: float, aggression: float, minimum: float, since: float, part: float
) -> None:
    """The step is ⌊20 · max(minimum, (t/T)^(1/aggression))⌋, at least 1, within one rounding."""
    ramp = Ramp(
        HealthPolicy(
            slow_start=window, slow_start_aggression=aggression, slow_start_minimum=minimum
        )
    )
    at = since + part * window
    share = max(minimum, min(1.0, max(0.0, (at - since) / window)) ** (1 / aggression))
    step = ramp.step(since, at)
    low = (at - since) * (1 - 1e-9) - 1e-6
    high = (at - since) * (1 + 1e-9) + 1e-6
    bounds = [
        max(1, math.floor(20 * max(minimum, min(1.0, max(0.0, t / window)) ** (1 / aggression))))
        for t in (low, high)
    ]

    assert bounds[0] - (20 * minimum % 1 == 0) <= step <= bounds[1] + (share > 0.999)
    assert 1 <= step <= STEPS


@given(st.floats(0.1, 1e3), st.floats(0.1, 5.0), st.floats(0.0, 1e6))
def test_ramp_rises_on_the_beat_to_one(window: float, aggression: float, since: float) -> None:
    """From beat to beat the step only rises, each beat is later, and the last is full."""
    ramp = Ramp(HealthPolicy(slow_start=window, slow_start_aggression=aggression))
    step, at = ramp.step(since, since), since
    for _ in range(STEPS + 1):
        after = ramp.next(since, step, at)
        if after == math.inf:
            break

        assert after > at
        new = ramp.step(since, after)
        assert new >= step
        step, at = new, after

    assert step == STEPS
    assert since + window <= at * (1 + 1e-9) + 1e-6
    assert at <= since + window + 2 * ramp.beat


def test_ramp_golden() -> None:
    """Window 10 s: 10 % until 1 s, then 5 % every half second; aggression 2 is the root."""
    linear = Ramp(HealthPolicy())
    bent = Ramp(HealthPolicy(slow_start_aggression=2.0))

    assert [linear.step(0.0, t) for t in (0, 1, 1.5, 5, 9.9, 10)] == [2, 2, 3, 10, 19, 20]
    assert [bent.step(0.0, t) for t in (0, 0.1, 2.5, 9.9, 10)] == [2, 2, 10, 19, 20]
    assert linear.end(0.0) == 10.0
    assert linear.end(0.2) == 10.5


def test_thousand_ramps_share_their_beats() -> None:
    """Endpoints that return at different moments are shown on common beats: few refreshes."""
    registry, clock = registry_at(CALM.but(max_ejected=1.0, probation_picks=0))
    names = [f"e{i}" for i in range(1000)]
    balancer = FakeBalancer(registry, dict.fromkeys(names, 1.0))
    rng = Random(2)
    for name in names[:500]:
        clock.advance(rng.random() / 500)
        for _ in range(2):
            registry.record(name, Outcome.FAILURE)
    clock.advance(4.0)
    registry.tick()
    before = balancer.refreshes
    for _ in range(1200):
        clock.advance(0.01)
        if clock.now >= registry.deadline:
            registry.advance(clock.now)

    assert {s.ramp for s in balancer.view.values()} == {1.0}
    assert balancer.refreshes - before <= 24


# -- sentences -----------------------------------------------------------------------------

growths = st.builds(
    HealthPolicy,
    ejection_time=st.floats(0.1, 50.0),
    ejection_time_max=st.floats(50.0, 1000.0),
    ejection_growth=st.sampled_from(("doubling", "linear")),
    ejection_jitter=st.floats(0.0, 0.5),
)


@given(growths, st.integers(1, 2000))
def test_sentence_is_capped_and_escalates(policy: HealthPolicy, strikes: int) -> None:
    """No sentence exceeds the maximum; without jitter the next one is never shorter."""
    rng = Random(1)
    drawn = sentence(policy, strikes, rng)
    full = [sentence(policy.but(ejection_jitter=0.0), k, rng) for k in (strikes, strikes + 1)]
    factor = Fraction(2) ** min(strikes - 1, 60)
    if policy.ejection_growth == "linear":
        factor = Fraction(strikes)

    assert full[0] <= full[1] <= policy.ejection_time_max
    assert full[0] == pytest.approx(
        float(min(Fraction(policy.ejection_time) * factor, Fraction(policy.ejection_time_max)))
    )
    assert full[0] * (1 - policy.ejection_jitter) <= drawn <= full[0]


@given(st.integers(0, 50), st.floats(0.0, 1e5))
def test_good_conduct_takes_off_one_strike_a_period(strikes: int, conduct: float) -> None:
    """What is left falls by one each ``ejection_decay`` seconds, to 0."""
    policy = HealthPolicy(ejection_decay=60.0)

    assert remaining_strikes(policy, strikes, conduct) == max(0, strikes - int(conduct // 60.0))
