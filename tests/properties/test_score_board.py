"""The parts of Adaptive's board against plain models, and the board against a full search."""

from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from balancers import Adaptive, Endpoint
from balancers.structures.changes import compare
from balancers.structures.cost_estimate import CostEstimate, PoolEstimate
from balancers.structures.error_rate import ErrorRate
from balancers.structures.gauge import Gauge
from balancers.structures.remembered import Remembered
from balancers.structures.score_board import ScoreBoard
from balancers.structures.share_cap import Bucket, ShareCap
from balancers.structures.trials import TRIAL_AGE, TRIAL_PICKS, Trials
from balancers.structures.turns import NEGLECT, Turns
from balancers.testing import ManualClock

shares = st.floats(0.0, 1.0)


def gauge_of(item: str, serial: int = 0, *, score: float = 0.0) -> Gauge[str]:
    """Return a gauge that is known, with a list as its open leases."""
    gauge: Gauge[str] = Gauge(item, serial, [], CostEstimate(), 8.0)
    gauge.known = True
    gauge.score = score
    return gauge


def load_of(gauge: Gauge[str]) -> float:
    return math.log(len(gauge.open) + 1.0)


# -- changes, errors, weights --------------------------------------------------------------------


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.floats(0.1, 9.0)),
    st.dictionaries(st.sampled_from("abcdef"), st.floats(0.1, 9.0)),
)
def test_changes_lead_from_one_membership_to_the_other(
    before: dict[str, float], after: dict[str, float]
) -> None:
    """Taking out the gone, putting in the joined and the changed makes ``after`` of ``before``."""
    members = {}
    for serial, (item, weight) in enumerate(before.items()):
        members[item] = Bucket(serial, 8.0)
        members[item].weight = weight
    changes = compare(members, after)
    made = {item: weight for item, weight in before.items() if item not in changes.gone}
    assert not made.keys() & changes.joined.keys()
    assert changes.changed.keys() <= made.keys()
    assert all(before[item] != weight for item, weight in changes.changed.items())
    assert {**made, **changes.joined, **changes.changed} == after


@given(st.lists(shares, max_size=6), st.lists(st.tuples(st.integers(0, 5), shares), max_size=30))
def test_the_ordinary_error_rate_is_the_mean_of_the_sound(
    start: list[float], moves: list[tuple[int, float]]
) -> None:
    """After any moves the rate is the mean over those that fail less than half the time."""
    rate, now = ErrorRate(), list(start)
    rate.recount(now)
    for place, share in moves:
        if now:
            rate.move(now[place % len(now)], share)
            now[place % len(now)] = share
    rate._check(now)
    sound = [share for share in now if share < 0.5]
    assert rate.rate == pytest.approx(math.fsum(sound) / len(sound) if sound else 0.0, abs=1e-9)


@given(st.lists(st.floats(1e-3, 1e3), min_size=1), st.floats(-5.0, 5.0))
def test_a_weight_moves_the_score_alone(weights: list[float], cost: float) -> None:
    """Whatever weights come and go, the score is the logarithm of cost over weight."""
    gauge = gauge_of("a", score=cost)
    for weight in weights:
        gauge.weigh(weight)
        assert gauge.log_cost == pytest.approx(cost)
        assert gauge.score == pytest.approx(cost - math.log(weight))
        twin = gauge.copy()
        assert (twin.score, twin.weight, twin.entry) == (gauge.score, weight, None)


# -- latencies that count less --------------------------------------------------------------------


@given(st.floats(0.5, 300.0), st.integers(2, 30))
def test_one_large_request_and_those_behind_it_count_like_others(stuck: float, behind: int) -> None:
    """An answer that came late, though picks went on at their pace, weighs what the pace says."""
    pool, estimate = PoolEstimate(10.0), CostEstimate()
    pace = 0.01
    for step in range(1, 501):
        estimate.learn(step * pace, 0.001, True, pool, pace)
    before, now = estimate.log_latency, 500 * pace + stuck
    for _ in range(behind):  # all at once
        estimate.learn(now, stuck, True, pool, pace)
    most = math.log(stuck / 0.001) * (2 * pace / (10.0 + 2 * pace) + behind / 500)
    assert before < estimate.log_latency <= before + most


# -- the remembered -------------------------------------------------------------------------------


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from("uodx"), st.integers(0, 5), st.integers(0, 3)), max_size=60),
    st.integers(0, 2**32),
)
def test_the_remembered_best_is_the_least(steps: list[tuple[str, int, int]], seed: int) -> None:
    """Whatever scores and loads do, ``least`` returns one of the least outside ``exclude``."""
    best: Remembered[str] = Remembered(load_of)
    gauges = [gauge_of(name, serial) for serial, name in enumerate("abcdef")]
    for gauge in gauges:
        best.file(gauge)
    rng = Random(seed)
    for what, place, number in steps:
        gauge = gauges[place]
        leases = gauge.open
        assert isinstance(leases, list)
        if what == "u":
            gauge.score = float(number)
        elif what == "o":
            leases.append(None)
        elif leases:
            leases.pop()
        best.refile(gauge)
        exclude = {"abcdef"[number], "abcdef"[place]} if what == "x" else set[str]()
        values = {g: g.score + load_of(g) for g in gauges if g.item not in exclude}
        found = best.least(rng.random, exclude)
        assert found is not None
        assert values[found] == min(values.values())
        best.tidy(len(gauges))
        best._check(gauges)
    assert best.least(rng.random, set("abcdef")) is None


# -- trials and turns -----------------------------------------------------------------------------


def fleet_of_two() -> tuple[dict[str, Gauge[str]], PoolEstimate, ShareCap]:
    """Return a slow endpoint and a typical one, both answered at second 0, and their cap."""
    gauges = {"slow": gauge_of("slow", 0, score=math.log(10.0)), "other": gauge_of("other", 1)}
    cap = ShareCap(2.0, 8.0)
    cap.share_among(list(gauges.values()))
    return gauges, PoolEstimate(10.0), cap


@pytest.mark.parametrize("hindrance", ["", "open", "barred", "held", "few picks", "excluded"])
def test_who_was_left_alone_is_tried_again(hindrance: str) -> None:
    """Ten times as slow, it is tried after 18 s, unless it is in use, barred, or not yet due."""
    gauges, pool, cap = fleet_of_two()
    slow = gauges["slow"]
    trials: Trials[str] = Trials()
    for gauge in gauges.values():
        trials.add(gauge, 0.0)
    if hindrance == "open":
        assert isinstance(slow.open, list)
        slow.open.append(None)
    slow.barred = hindrance == "barred"
    if hindrance == "held":
        slow.held = 30.0
        trials.put(slow, 30.0)
    found = []
    for tick in range(1, 250):
        now = tick / 10
        cap.credit += cap.rate * (0.4 if hindrance == "few picks" and now < 20.0 else 10)
        gauges["other"].estimate.at, gauges["other"].mark = now, cap.credit
        exclude = {"slow"} if hindrance == "excluded" else set[str]()
        while trials.next <= now:
            if trials.due(now, gauges, pool, cap, exclude) is slow:
                found.append(now)
        trials._check(gauges)
        if found:
            break
    if hindrance == "few picks":
        assert not found or found[0] >= 20.0
    elif hindrance:
        assert not found
    else:
        wait = 1.0 - 1.0 / 10.0
        assert wait * TRIAL_AGE <= found[0] <= wait * TRIAL_AGE + 1.1
        assert found[0] * 100 > wait * TRIAL_PICKS * 2


@pytest.mark.parametrize("hindrance", ["", "open", "slow", "asked"])
def test_the_neglected_are_preferred(hindrance: str) -> None:
    """Idle, alike and unheard of for 3.5 s and a bucket of picks, it is found, else it is not."""
    gauges, pool, cap = fleet_of_two()
    one = gauges["slow"]
    one.score = 1.0 if hindrance == "slow" else 0.1
    one.entry = (one.score, one)
    if hindrance == "open":
        assert isinstance(one.open, list)
        one.open.append(None)
    turns: Turns[str] = Turns()
    for gauge in gauges.values():
        turns.add(gauge, cap, 0.0)
    found = []
    for tick in range(1, 80):
        now = tick / 10
        cap.credit += 10 * cap.rate
        gauges["other"].estimate.at, gauges["other"].mark = now, cap.credit
        if hindrance == "asked":
            one.estimate.at, one.mark = now, cap.credit
        if turns.next <= cap.credit:
            found += [now for gauge in turns.neglected(now, gauges, pool, cap) if gauge is one]
        turns._check(gauges.values())
    assert bool(found) is (not hindrance)
    assert not found or found[0] >= NEGLECT


# -- the board ------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(
    st.lists(st.floats(1e-3, 1.0), min_size=2, max_size=8),
    st.lists(st.integers(0, 7), max_size=20),
    st.integers(0, 2**32),
)
def test_the_board_finds_what_a_full_search_finds(
    latencies: list[float], loads: list[int], seed: int
) -> None:
    """Where all have answered and none is barred or neglected, the least value of all is picked."""
    open_leases: dict[str, list[None]] = {str(i): [] for i in range(len(latencies))}
    estimates = {name: CostEstimate() for name in open_leases}
    board: ScoreBoard[str] = ScoreBoard(2.0, 3, 10.0, lambda name: float(len(open_leases[name])))
    weights = dict.fromkeys(open_leases, 1.0)
    changes = compare(board.gauges, weights)
    board.change(changes, lambda name: (open_leases[name], estimates[name]), 0.0)
    for name, latency in zip(open_leases, latencies, strict=True):
        others = weights.keys() - {name}
        for _ in range(3):
            assert board.choose(1.0, Random(seed).random, exclude=others).item == name  # type: ignore[union-attr]
            board.settle(name, 1.0, latency, True)
    for place in loads:
        open_leases[str(place % len(latencies))].append(None)
    values = {name: board.value(gauge) for name, gauge in board.gauges.items()}
    for _ in range(4):
        chosen = board.choose(1.0, Random(seed).random)
        assert chosen is not None
        assert values[chosen.item] == pytest.approx(min(values.values()))
        open_leases[chosen.item].append(None)
        values[chosen.item] = board.value(chosen)
        board._check()


@given(st.lists(st.tuples(st.floats(0.0, 9.0), st.sampled_from([0.5, 1.0, 1.0, 4.0])), min_size=1))
def test_first_dates_are_everybody_s_own(joins: list[tuple[float, float]]) -> None:
    """Whoever joins is given a date from its own time and weight, however alike those before."""
    trials: Trials[str] = Trials()
    turns: Turns[str] = Turns()
    cap = ShareCap(2.0, 8.0)
    for serial, (now, weight) in enumerate(joins):
        gauge = gauge_of(str(serial), serial)
        gauge.weigh(weight)
        trials.add(gauge, now)
        turns.add(gauge, cap, now)
    assert sorted(date for date, _ in trials._dates) == sorted(now + 5.0 for now, _ in joins)
    assert {(date, gauge.weight) for date, gauge in turns._dates} == {
        (16.0 / weight, weight) for _, weight in joins
    }


def test_the_heaviest_of_the_unheard_comes_first() -> None:
    """Among those that have not answered the least value, 1/weight, is the heaviest's."""
    board: ScoreBoard[str] = ScoreBoard(2.0, 40, 10.0, lambda name: 0.0)
    weights = {"a": 1.0, "b": 9.0, "c": 3.0}
    board.change(compare(board.gauges, weights), lambda name: ([], CostEstimate()), 0.0)
    rng = Random(1)
    chosen = [board.choose(0.0, rng.random) for _ in weights]
    assert [gauge.item for gauge in chosen if gauge is not None] == ["b", "c", "a"]


def test_the_fresh_that_are_too_light_are_looked_at_seldom() -> None:
    """Where only light ones are unheard of, the floor is theirs, and nobody looks in vain."""
    names = [str(i) for i in range(100)]
    members = [Endpoint(name, weight=5.0 if i < 40 else 1.0) for i, name in enumerate(names)]
    clock = ManualClock()
    balancer = Adaptive(members, clock=clock, rng=Random(3))
    for _ in range(3000):  # only the heavy ones answer
        with balancer.pick():
            clock.advance(1e-4)
        check_board(balancer)
    board = balancer._board
    assert len(board.fresh) > 30
    assert board.fresh.heaviest == math.log(1.0 / 4.0)  # weights count in units of 4
    assert board.floor == pytest.approx(board.pool.log_latency + math.log(4.0))


def check_board(balancer: Adaptive) -> None:
    balancer._catch_up()
    balancer._board._check()
