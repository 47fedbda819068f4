"""WeightedRoundRobin keeps the bound of its schedule, whatever is laid out and taken back."""

from __future__ import annotations

import threading
from collections import Counter
from fractions import Fraction
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from balancers import (
    Admin,
    Endpoint,
    HealthRegistry,
    NoEligibleEndpointError,
    WeightedRoundRobin,
)
from balancers.core import scheduled
from balancers.policies import weighted_round_robin
from balancers.structures import ChairmanSchedule
from balancers.structures.chairman_paced import PacedSchedule

small = st.lists(st.integers(1, 12), min_size=1, max_size=6)
wild = st.lists(
    st.one_of(st.floats(1e-6, 1e6), st.sampled_from([1e-6, 1.0, 3.0, 1e6])), min_size=1, max_size=6
)


def members(weights):
    """Endpoints e0, e1, … of these weights."""
    return [Endpoint(f"e{i}", weight=weight) for i, weight in enumerate(weights)]


def settled(balancer, **options):
    """Pick, settle, and return who it was."""
    with balancer.pick(**options) as pick:
        return pick.endpoint.id


def course(weights, picks):
    """Return every id's lag after 0, 1, 2, … picks, exactly."""
    total = sum(map(Fraction, weights))
    share = {f"e{i}": Fraction(weight) / total for i, weight in enumerate(weights)}
    lags = dict.fromkeys(share, Fraction())
    lines = {name: [Fraction()] for name in share}
    for picked in picks:
        for name in share:
            lags[name] += share[name] - (name == picked)
            lines[name].append(lags[name])
    return lines


@given(weights=st.one_of(small, wild))
def test_every_prefix_from_phase_0_is_within_the_bound(weights):
    """From phase 0 nobody is ever more than 1 - D from its share, n = 1 being exact."""
    balancer = WeightedRoundRobin(members(weights), phase=0)
    n = len(weights)
    bound = 1 - Fraction(1, 2 * n - 2) if n > 1 else 0

    lines = course(weights, [settled(balancer) for _ in range(150)])

    assert all(abs(lag) <= bound for line in lines.values() for lag in line)


@given(weights=st.one_of(small, wild), seed=st.integers(0, 2**32))
def test_every_window_from_a_drawn_phase_is_within_twice_the_bound(weights, seed):
    """Whatever step the rng draws, no window is off by more than 2(1 - D)."""
    balancer = WeightedRoundRobin(members(weights), rng=Random(seed))
    n = len(weights)
    bound = 2 * (1 - Fraction(1, 2 * n - 2)) if n > 1 else 0

    lines = course(weights, [settled(balancer) for _ in range(150)])

    assert all(max(line) - min(line) <= bound for line in lines.values())


@given(
    history=st.lists(
        st.tuples(st.lists(st.floats(0.01, 100), min_size=4, max_size=4), st.integers(0, 90)),
        min_size=1,
        max_size=8,
    )
)
@settings(max_examples=60)
def test_lags_are_carried_through_any_change_of_weights(history):
    """Under any sequence of weights on fixed members lag stays in [-(1 - D), H(n) + 1]."""
    n = 4
    balancer = WeightedRoundRobin(members(history[0][0]), phase=0)
    lags = dict.fromkeys((f"e{i}" for i in range(n)), Fraction())
    low = -(1 - Fraction(1, 2 * n - 2))
    high = sum(Fraction(1, k) for k in range(1, n + 1)) + 1
    for weights, picks in history:
        balancer.update(members(weights))
        total = sum(map(Fraction, weights))
        for _ in range(picks):
            picked = settled(balancer)
            for i, weight in enumerate(weights):
                lags[f"e{i}"] += Fraction(weight) / total - (picked == f"e{i}")
            assert all(low <= lag <= high for lag in lags.values())
        balancer._check()


@given(weights=small, passed=st.integers(0, 200), retries=st.integers(1, 40))
@settings(max_examples=60)
def test_exclude_is_charged_and_repaid(weights, passed, retries):
    """Passing an endpoint over moves its turns, it does not take them: in the end all is even."""
    n = len(weights)
    if n == 1:
        return
    balancer = WeightedRoundRobin(members(weights), phase=0)
    counts = Counter(settled(balancer) for _ in range(passed))
    counts.update(settled(balancer, exclude={"e0"}) for _ in range(retries))
    # 64 turns are made at a time: after so many plain rounds every turn put off has come.
    rounds = 64 * sum(weights)
    counts.update(settled(balancer) for _ in range(rounds))

    total = sum(weights)
    whole = counts.total() // total
    assert all(abs(counts[f"e{i}"] - w * whole) <= w + 1 for i, w in enumerate(weights))


@given(
    weights=st.lists(st.integers(1, 5), min_size=2, max_size=5),
    excluded=st.lists(st.sets(st.integers(0, 4)), max_size=12),
)
def test_exclude_takes_the_next_turn_of_the_rest_and_keeps_the_order(weights, excluded):
    """A pick with exclude takes the first coming turn of the others; the rest come in order."""
    names = [f"e{i}" for i in range(len(weights))]
    balancer = WeightedRoundRobin(members(weights), phase=0)
    coming = ChairmanSchedule(dict(zip(names, weights, strict=True))).run(60)
    for places in excluded:
        exclude = {f"e{place}" for place in places}
        first = next((name for name in coming if name not in exclude), None)
        if first is None:
            with pytest.raises(NoEligibleEndpointError):
                balancer.pick(exclude=exclude)
            continue
        coming.remove(first)
        assert settled(balancer, exclude=exclude) == first

    assert [settled(balancer) for _ in range(20)] == coming[:20]


@given(weights=st.one_of(small, wild), phase=st.integers(0, 2**32))
def test_a_phase_is_that_step_of_the_schedule(weights, phase):
    """From phase K the turns are those of the schedule at K, laid out as a cycle or not."""
    balancer = WeightedRoundRobin(members(weights), phase=phase)
    schedule = ChairmanSchedule({f"e{i}": w for i, w in enumerate(weights)}, phase=phase)

    assert [settled(balancer) for _ in range(150)] == schedule.run(150)


def test_the_drawn_phase_spreads_the_first_pick_by_weight():
    """Over 2,000 instances the first pick follows the weights, within Binomial(2000, p).

    Six standard deviations and a half on each of three counts: a false alarm below 3e-10.
    """
    rng = Random(5)
    counts = Counter(settled(WeightedRoundRobin(members([5, 2, 1]), rng=rng)) for _ in range(2000))

    for i, share in enumerate([5 / 8, 2 / 8, 1 / 8]):
        slack = 6.5 * (2000 * share * (1 - share)) ** 0.5
        assert abs(counts[f"e{i}"] - 2000 * share) <= slack


@given(weights=small, picks=st.integers(0, 150))
def test_explain_tells_the_next_turn(weights, picks):
    """explain() names who is next, also beyond a lap, and takes no turn."""
    balancer = WeightedRoundRobin(members(weights), rng=Random(picks))
    for _ in range(picks):
        settled(balancer)
    for exclude in [(), {"e0"}] if len(weights) > 1 else [()]:
        chosen = balancer.explain(exclude=exclude).chosen.id
        assert balancer.explain(exclude=exclude).chosen.id == chosen
        assert settled(balancer, exclude=exclude) == chosen


def test_an_update_that_changes_nothing_keeps_the_turns():
    """Metadata, or the same set again, leaves the sequence as it was."""
    one = WeightedRoundRobin(members([5, 1, 1]), phase=0)
    other = WeightedRoundRobin(members([5, 1, 1]), phase=0)
    sequence = []
    for step in range(50):
        if step % 3 == 0:
            same = [Endpoint(e.id, weight=e.weight, metadata={"n": step}) for e in one.endpoints]
            one.update(same)
        sequence.append(settled(one))

    assert sequence == [settled(other) for _ in range(50)]


def test_threads_share_the_turns_out_exactly():
    """Four threads taking 7,000 turns of a cycle of 7 leave everybody its exact part."""
    balancer = WeightedRoundRobin(members([4, 2, 1]), phase=0)

    def work():
        for _ in range(1750):
            settled(balancer)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    views = balancer.snapshot().endpoints
    assert [view.picks for view in views] == [4000, 2000, 1000]
    assert [view.in_flight for view in views] == [0, 0, 0]


def changed(schedule, weights, before, after):
    """The schedule after a change of who is in, as the policy makes it from two endpoints on."""
    left, back = before - after, after - before
    known = isinstance(schedule, PacedSchedule) and all(name in schedule for name in back)
    if min(len(before), len(after)) < 2 or not (known or not back):
        left_in = {name: weight for name, weight in weights.items() if name in after}
        if isinstance(schedule, PacedSchedule):
            return ChairmanSchedule.resumed(schedule, left_in)
        schedule.update(left_in)
        return schedule
    if not isinstance(schedule, PacedSchedule):
        schedule = schedule.paced({})
    schedule.leave(left)
    schedule.enter(back)
    return schedule


@given(
    weights=st.one_of(small, wild).filter(lambda weights: len(weights) > 1),
    history=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 90)), max_size=8),
)
@settings(max_examples=60)
def test_endpoints_out_are_left_out_of_the_turns(weights, history):
    """However laps are laid and taken back, the picks are those of the schedule of those in."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weighted_round_robin, "LARGE", 2)
        patch.setattr(scheduled, "FEW", 1)
        patch.setattr(scheduled, "LONGEST_BATCH", 5)
        registry = HealthRegistry()
        balancer = WeightedRoundRobin(
            members(weights), phase=0, health=registry, panic_threshold=0.0
        )
        given = {f"e{i}": weight for i, weight in enumerate(weights)}
        schedule, serving = ChairmanSchedule(given), set(given)
        for place, picks in history:
            after = serving ^ ({f"e{place}"} & set(given)) or serving
            for name in after ^ serving:
                registry.set_admin(name, Admin.ENABLED if name in after else Admin.DISABLED)
                schedule = changed(schedule, given, serving, after)
            serving = after
            for _ in range(picks):
                assert settled(balancer) == schedule.next()
            balancer._check()


def test_a_long_cycle_is_laid_again_after_a_change():
    """With some of 1,100 endpoints out, turns repeat soon, everybody's part being its weight."""
    weights = [1 + i % 3 for i in range(1100)]
    registry = HealthRegistry()
    balancer = WeightedRoundRobin(members(weights), phase=7, health=registry)
    for place in range(0, 1100, 10):
        registry.set_admin(f"e{place}", Admin.DISABLED)
        settled(balancer)
    period = sum(weights) - sum(weights[::10])

    for _ in range(3 * period):
        settled(balancer)

    assert balancer.snapshot().details["cycle"] == period
    counts = Counter(settled(balancer) for _ in range(period))
    assert counts == {f"e{i}": w for i, w in enumerate(weights) if i % 10}
