"""Adaptive: the cap on shares, what errors and silence do, and that the score is monotone."""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction
from random import Random
from threading import Thread

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from balancers import Adaptive, Endpoint, NoEligibleEndpointError, Outcome, Pick
from balancers.structures.cost_estimate import CostEstimate, PoolEstimate
from balancers.structures.share_cap import Bucket, ShareCap
from balancers.testing import ManualClock, RecordingObserver
from balancers.testing.binomial import binomial_range

FAILURE, SUCCESS, CANCELLED = Outcome.FAILURE, Outcome.SUCCESS, Outcome.CANCELLED
latencies = st.floats(1e-4, 20.0)


def teach(balancer: Adaptive, name: str, latency: float, outcome: Outcome = SUCCESS) -> None:
    """Have one endpoint answer once."""
    others = {endpoint.id for endpoint in balancer.endpoints} - {name}
    balancer.pick(exclude=others).done(outcome, latency=latency)


def scores(balancer: Adaptive) -> dict[str, float]:
    found = {c.endpoint.id: c.score for c in balancer.explain().candidates}
    assert None not in found.values()
    return {name: score for name, score in found.items() if score is not None}


def check(balancer: Adaptive) -> None:
    balancer._catch_up()
    balancer._board._check()


# -- the share cap -----------------------------------------------------------------------------


@given(
    st.lists(st.floats(0.01, 10.0), min_size=1, max_size=8),
    st.floats(1.01, 4.0),
    st.integers(1, 12),
    st.data(),
)
def test_buckets_bound_every_window(
    given_weights: list[float], cap: float, burst: int, data: st.DataObject
) -> None:
    """Whoever is picked only while not barred gets ≤ κ·p·t + burst + 1 in any window of t picks."""
    shares = ShareCap(cap, float(burst))
    buckets = [Bucket(serial, float(burst)) for serial in range(len(given_weights))]
    for bucket, weight in zip(buckets, given_weights, strict=True):
        bucket.weight = weight
    shares.share_among(buckets)
    favourite = data.draw(st.permutations(range(len(buckets))))
    picked: list[int] = []
    for _ in range(150):
        for back in shares.refilled():
            assert shares.tokens(back) == pytest.approx(burst)
        able = [place for place in favourite if not buckets[place].barred]
        if not able:
            break
        picked.append(able[0] if data.draw(st.booleans()) or len(able) == 1 else able[1])
        barred = shares.spend(buckets[picked[-1]])
        assert barred is buckets[picked[-1]].barred
    whole = math.fsum(given_weights)
    for place, weight in enumerate(given_weights):
        share = cap * weight / whole
        # The largest excess of any window, as the largest rise of a running sum.
        low = high = total = 0.0
        for who in picked:
            total += (who == place) - share
            high = max(high, total - low)
            low = min(low, total)
        assert high <= burst + 1 + 1e-6


@settings(max_examples=40)
@given(
    st.integers(1, 12),
    st.floats(1.1, 4.0),
    st.lists(
        st.tuples(st.integers(0, 99), st.floats(0.0, 0.5), latencies, st.booleans()),
        min_size=50,
        max_size=300,
    ),
    st.booleans(),
    st.integers(0, 2**32),
)
def test_the_share_cap_holds_in_every_window(
    n: int,
    cap: float,
    steps: list[tuple[int, float, float, bool]],
    weighed: bool,
    seed: int,
) -> None:
    """picks ≤ κ·p·t + 8 + 1 in every window, whatever the latencies, but for counted exceptions."""
    clock = ManualClock()
    members = [Endpoint(str(i), weight=1.0 + (i % 3 if weighed else 0)) for i in range(n)]
    balancer = Adaptive(members, share_cap=cap, clock=clock, rng=Random(seed))
    whole = sum(member.weight for member in members)
    # One endpoint answers at once and the others never come near: the worst for a cap.
    sums = dict.fromkeys(range(n), 0.0)
    lows = dict.fromkeys(range(n), 0.0)
    leases: list[Pick] = []
    for place, gap, latency, ends in steps:
        clock.advance(gap)
        lease = balancer.pick()
        for i, member in enumerate(members):
            sums[i] += (member.id == lease.endpoint.id) - cap * member.weight / whole
            assert sums[i] - lows[i] <= 9 + 1e-6 or balancer.snapshot().details["overdrawn"] > 0
            lows[i] = min(lows[i], sums[i])
        quick = lease.endpoint.id == "0"
        leases.append(lease)
        if ends:
            leases.pop(place % len(leases)).done(latency=1e-4 if quick else latency)
    check(balancer)
    for lease in leases:
        lease.done(CANCELLED)
    check(balancer)


def test_the_fullest_is_used_when_nobody_is_left() -> None:
    """If ``exclude`` leaves only those over their share they are picked, and it is counted."""
    clock = ManualClock()
    balancer = Adaptive([str(i) for i in range(6)], clock=clock, rng=Random(1))
    for i in range(6):
        teach(balancer, str(i), 0.01)
    names: Counter[str] = Counter()
    for _ in range(60):
        lease = balancer.pick(exclude=["0", "1", "2", "3"])
        names[lease.endpoint.id] += 1
        lease.done(latency=0.01)
    assert set(names) == {"4", "5"}
    assert balancer.snapshot().details["overdrawn"] > 0
    check(balancer)


# -- errors, repairs, joiners ------------------------------------------------------------------


class Fleet:
    """n endpoints that answer in 10 ms, but for those that do otherwise; 100 picks a second."""

    def __init__(self, n: int, seed: int, *, rate: float = 100.0, even: bool = False) -> None:
        self.even = even  # whether every answer takes 10 ms, or exponentially long
        self.clock = ManualClock()
        self.rng = Random(seed)
        self.rate = rate
        self.balancer = Adaptive([str(i) for i in range(n)], clock=self.clock, rng=Random(seed))
        self.failing: dict[str, float] = {}
        self.slow: dict[str, float] = {}
        self.pending: list[tuple[float, Pick, Outcome]] = []

    def run(self, picks: int) -> Counter[str]:
        counts: Counter[str] = Counter()
        for _ in range(picks):
            self.clock.advance(self.rng.expovariate(self.rate))
            now = self.clock.now
            for entry in [entry for entry in self.pending if entry[0] <= now]:
                self.pending.remove(entry)
                entry[1].done(entry[2], latency=entry[0] - float(entry[1]._started))  # type: ignore[attr-defined]
            lease = self.balancer.pick()
            name = lease.endpoint.id
            counts[name] += 1
            fails = self.rng.random() < self.failing.get(name, 0.0)
            work = 0.01 if self.even else self.rng.expovariate(100.0)
            took = 0.001 if fails else work * self.slow.get(name, 1.0)
            self.pending.append((now + took, lease, FAILURE if fails else SUCCESS))
        check(self.balancer)
        return counts

    def end(self) -> None:
        for _, lease, outcome in self.pending:
            lease.done(outcome)


@pytest.mark.parametrize("n", [3, 20])
def test_an_endpoint_that_always_fails(n: int) -> None:
    """From the start or later, it gets at most 1 % of 10,000 picks after 100 of warm-up."""
    for seed, later in ((1, False), (2, True)):
        fleet = Fleet(n, seed)
        if later:
            fleet.run(2000)
        fleet.failing["0"] = 1.0
        fleet.run(100)
        assert fleet.run(10_000)["0"] <= 100
        fleet.end()


def test_two_of_three_always_fail() -> None:
    """The cap does not force traffic onto a failing majority: the sound one gets 98 %."""
    fleet = Fleet(3, 3)
    fleet.failing = {"0": 1.0, "1": 1.0}
    fleet.run(100)
    assert fleet.run(5_000)["2"] >= 4_900
    assert fleet.balancer.snapshot().details["overdrawn"] == 0
    fleet.end()


@pytest.mark.parametrize("fault", ["fails", "slow"])
@pytest.mark.parametrize("even", [True, False])
def test_a_repaired_endpoint_comes_back(fault: str, even: bool) -> None:
    """60 s after its repair it gets at least half its share, at 3 picks a second for each.

    With equal latencies that holds in every run; with exponential ones, where what each endpoint
    seems to be is chance, over six runs together.
    """
    n = 20
    shares = []
    for seed in range(4, 6 if even else 10):
        fleet = Fleet(n, seed, rate=3.0 * n, even=even)
        fleet.run(600)
        if fault == "fails":
            fleet.failing["0"] = 1.0
        else:
            fleet.slow["0"] = 10.0
        sick = fleet.run(3_600)
        assert sick["0"] <= 36
        fleet.failing.clear()
        fleet.slow.clear()
        fleet.run(60 * 3 * n)
        shares.append(fleet.run(3_600)["0"] / (3_600 / n))
        fleet.end()
    assert sum(shares) / len(shares) >= 0.5
    assert not even or min(shares) >= 0.5


def test_errors_that_befall_everybody_move_nobody() -> None:
    """With 5 % errors everywhere nobody gets more than twice or less than a third of its share."""
    fleet = Fleet(10, 6)
    fleet.failing = {str(i): 0.05 for i in range(10)}
    fleet.run(1_000)
    counts = fleet.run(20_000)
    assert max(counts.values()) <= 4_000
    assert min(counts.values()) >= 600
    fleet.end()


def test_a_slow_endpoint_is_left_and_load_does_not_pile_up() -> None:
    """An endpoint ten times slower gets under 3 % of the picks, where 5 % would be its share."""
    fleet = Fleet(20, 7)
    fleet.slow["0"] = 10.0
    fleet.run(2_000)
    assert fleet.run(6_000)["0"] <= 180
    fleet.end()


def test_a_newcomer_is_not_flooded() -> None:
    """It holds one request until it answers, then gets at most twice its share and 9 more."""
    clock = ManualClock()
    balancer = Adaptive([str(i) for i in range(19)], clock=clock, rng=Random(8))
    for i in range(19):
        teach(balancer, str(i), 0.01)
    leases = [balancer.pick() for _ in range(190)]
    balancer.update([str(i) for i in range(20)])
    leases += [balancer.pick() for _ in range(60)]
    assert sum(lease.endpoint.id == "19" for lease in leases) == 1
    for lease in leases:
        if lease.endpoint.id == "19":
            lease.done(latency=0.01)
    more = [balancer.pick() for _ in range(60)]
    assert 0 < sum(lease.endpoint.id == "19" for lease in more) <= 2 * 60 / 20 + 9
    for lease in leases + more:
        lease.done(CANCELLED)
    check(balancer)


def test_retry_after_is_kept() -> None:
    """Nobody is picked before the time it asked for, unless there is nobody else."""
    clock = ManualClock()
    balancer = Adaptive(["a", "b", "c"], clock=clock, rng=Random(9))
    for _ in range(30):
        for name in "abc":
            teach(balancer, name, 0.01)
    balancer.pick(exclude=["b", "c"]).done(SUCCESS, latency=0.01, retry_after=30.0)
    for _ in range(290):
        clock.advance(0.1)
        lease = balancer.pick()
        assert lease.endpoint.id != "a"
        lease.done(latency=0.01)
    with balancer.pick(exclude=["b", "c"]) as lease:
        assert lease.endpoint.id == "a"
    names = []
    for _ in range(100):
        clock.advance(0.1)
        lease = balancer.pick()
        names.append(lease.endpoint.id)
        lease.done(latency=0.01)
    assert "a" in names
    check(balancer)


# -- what is learnt ----------------------------------------------------------------------------


history = st.lists(
    st.tuples(st.floats(0.0, 15.0), st.sampled_from("ab"), latencies, st.booleans()), max_size=30
)


@given(history, latencies, st.floats(0.0, 15.0), st.integers(1, 5))
def test_a_failure_never_improves(
    before: list[tuple[float, str, float, bool]], latency: float, gap: float, times: int
) -> None:
    """An error, however fast, leaves the endpoint's score where it was or makes it worse."""
    clock = ManualClock()
    balancer = Adaptive(["a", "b"], clock=clock, rng=Random(1))
    teach(balancer, "a", 1.0)
    teach(balancer, "b", 1.0)
    for pause, name, took, good in before:
        clock.advance(pause)
        teach(balancer, name, took, SUCCESS if good else FAILURE)
    clock.advance(gap)
    for _ in range(times):
        old = scores(balancer)["a"]
        teach(balancer, "a", latency, FAILURE)
        assert scores(balancer)["a"] >= old * (1 - 1e-9)


@given(history, st.integers(0, 29), st.floats(1.0, 50.0))
def test_the_score_is_monotone_in_latency(
    before: list[tuple[float, str, float, bool]], place: int, factor: float
) -> None:
    """Had one answer of an endpoint taken longer, its score were no better."""
    found = []
    for times in (1.0, factor):
        clock = ManualClock()
        balancer = Adaptive(["a", "b"], clock=clock, rng=Random(1))
        teach(balancer, "a", 1.0)
        teach(balancer, "b", 1.0)
        for index, (pause, name, took, good) in enumerate(before):
            clock.advance(pause)
            slower = index == place and name == "a" and good
            outcome = SUCCESS if good else FAILURE
            # The clock does not move, so that the age of no answer depends on the latency.
            teach(balancer, name, min(took * (times if slower else 1.0), 9.0), outcome)
        found.append(scores(balancer)["a"])
    assert found[1] >= found[0] * (1 - 1e-6) or any(not good for *_, good in before)


@given(st.integers(0, 20), st.integers(1, 5), st.floats(0.1, 10.0))
def test_the_score_is_monotone_in_load(load: int, more: int, cost: float) -> None:
    """More open requests, or costlier ones, make a larger score."""
    balancer = Adaptive(["a", "b"], clock=ManualClock(), rng=Random(1))
    teach(balancer, "a", 1.0)
    leases = [balancer.pick(exclude=["b"]) for _ in range(load)]
    old = scores(balancer)["a"]
    assert old == pytest.approx(load + 1)
    leases += [balancer.pick(exclude=["b"], cost=cost) for _ in range(more)]
    assert scores(balancer)["a"] == pytest.approx(load + more * cost + 1)
    for lease in leases:
        lease.done(CANCELLED)


@given(st.lists(st.tuples(st.floats(0.0, 9.0), latencies), min_size=1, max_size=30))
def test_the_typical_latency_is_a_mean_of_logarithms(samples: list[tuple[float, float]]) -> None:
    """A sample weighs dt/(decay + dt), dt twice the gap, or 1/k where that is more."""
    pool, estimate = PoolEstimate(10.0), CostEstimate()
    now, mean = 0.0, 0.0
    for k, (gap, latency) in enumerate(samples, 1):
        now += gap
        estimate.learn(now, latency, True, pool)
        weight = max(2 * gap / (10.0 + 2 * gap), 1.0 / k) if now > gap or k > 1 else 1.0
        mean += weight * (math.log(latency) - mean)
        assert estimate.log_latency == pytest.approx(mean, abs=1e-9)
    assert estimate.latency == pytest.approx(math.exp(mean))


def test_long_silence_makes_the_next_answer_count_alone() -> None:
    """After 10 s without a request one answer replaces what was known, errors included."""
    pool, estimate = PoolEstimate(10.0), CostEstimate()
    for step in range(50):
        estimate.learn(step * 0.1, 0.01, False, pool)
    assert estimate.mean_errors == pytest.approx(1.0)
    estimate.learn(5.0 + 10.2, 0.02, True, pool)
    estimate.price(pool)
    assert estimate.errors == 0.0
    assert estimate.latency == pytest.approx(0.02)


def test_two_errors_in_a_row_are_enough_where_errors_are_rare() -> None:
    """On an endpoint with a long record the first error is doubted, the second believed."""
    pool, estimate = PoolEstimate(10.0), CostEstimate()
    for step in range(5000):
        estimate.learn(step * 0.001, 0.01, True, pool)
    costs = []
    for step in range(3):
        estimate.learn(5.0 + step * 0.001, 0.001, False, pool)
        estimate.price(pool)
        costs.append(math.exp(estimate.log_cost) / 0.01)
    assert costs[0] < 3.0
    assert costs[1] > 50.0
    assert costs[2] > 90.0


# -- choosing ----------------------------------------------------------------------------------


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(
            st.sampled_from("ppppddfcxurw"), st.integers(0, 99), latencies, st.floats(0.0, 8.0)
        ),
        max_size=80,
    ),
    st.integers(1, 6),
    st.booleans(),
    st.integers(0, 2**32),
)
@example(  # the first date is that of somebody who has left
    [("p", 0, 1.0, 0.0), ("d", 0, 1.0, 0.0), ("u", 1, 1.0, 0.0), ("p", 0, 1.0, 5.0)], 2, False, 0
)
def test_the_board_stays_in_order(
    steps: list[tuple[str, int, float, float]], n: int, watched: bool, seed: int
) -> None:
    """Whatever happens the board's invariants hold, and ``explain`` foretells each pick."""
    clock = ManualClock()
    names = [str(i) for i in range(n)]
    weights = dict.fromkeys(names, 1.0)
    observer = RecordingObserver() if watched else None
    balancer = Adaptive(names, clock=clock, rng=Random(seed), observer=observer)
    leases: list[Pick] = []
    for what, place, latency, gap in steps:
        clock.advance(gap)
        if what in "px":
            exclude = {str(place % n), str(place % 7)} if what == "x" else set[str]()
            if exclude >= weights.keys():
                with pytest.raises(NoEligibleEndpointError):
                    balancer.pick(exclude=exclude)
                assert balancer.explain(exclude=exclude).chosen is None
                continue
            foretold = balancer.explain(exclude=exclude).chosen
            cost = 3.0 if what == "x" and place % 5 == 0 else 1.0
            leases.append(balancer.pick(exclude=exclude, cost=cost))
            assert leases[-1].endpoint.id not in exclude
            assert cost != 1.0 or leases[-1].endpoint is foretold
        elif what in "dfc" and leases:
            outcome = {"d": SUCCESS, "f": FAILURE, "c": CANCELLED}[what]
            hold = 5.0 if place % 10 == 0 else None
            leases.pop(place % len(leases)).done(outcome, latency=latency, retry_after=hold)
        elif what == "r" and leases and not watched:
            leases[place % len(leases)].responded()
        elif what in "uw":
            weights = dict.fromkeys(names[place % n :], 1.0 + place % 3 * (what == "w"))
            weights["new"] = 2.0
            balancer.update([Endpoint(name, weight=w) for name, w in weights.items()])
        check(balancer)
    for lease in leases:
        lease.done()
    assert sum(view.in_flight for view in balancer.snapshot().endpoints) == 0


def test_ties_are_even() -> None:
    """Of five endpoints with one history each gets a fifth of 2,000 serial picks, at 1e-9."""
    balancer = Adaptive([*"abcde"], clock=ManualClock(), rng=Random(5))
    counts: Counter[str] = Counter()
    for _ in range(2000):
        lease = balancer.pick()
        counts[lease.endpoint.id] += 1
        lease.done(latency=0.5)
    low, high = binomial_range(2000, Fraction(1, 5))
    assert all(low <= counts[name] <= high for name in "abcde")


def test_equal_latencies_make_it_least_connections() -> None:
    """Where all answer alike and none is over its share, the least loaded is picked."""
    balancer = Adaptive([str(i) for i in range(5)], clock=ManualClock(), rng=Random(6))
    for i in range(5):
        teach(balancer, str(i), 0.5)
    leases = []
    for _ in range(200):
        leases.append(balancer.pick())
        loads = [view.in_flight for view in balancer.snapshot().endpoints]
        assert max(loads) - min(loads) <= 1
    for lease in leases:
        lease.done(CANCELLED)


def test_the_quick_way_and_the_long_way_agree() -> None:
    """With an observer, which takes the long way, the picks are the same."""
    fleets = []
    for observer in (None, RecordingObserver()):
        clock, rng = ManualClock(), Random(7)
        balancer = Adaptive(
            [str(i) for i in range(6)], clock=clock, rng=Random(8), observer=observer
        )
        names = []
        for _ in range(3000):
            clock.advance(0.003)
            with balancer.pick() as lease:
                names.append(lease.endpoint.id)
                clock.advance(rng.expovariate(100.0))
        fleets.append(names)
        check(balancer)
    assert fleets[0] == fleets[1]


def test_it_holds_under_threads() -> None:
    """Eight threads that pick, fail and settle leave the board in order and nothing in flight."""
    balancer = Adaptive([str(i) for i in range(5)])

    def work(seed: int) -> None:
        rng = Random(seed)
        for _ in range(400):
            lease = balancer.pick()
            lease.done(FAILURE if rng.random() < 0.1 else SUCCESS)
            with balancer.pick():
                pass

    threads = [Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check(balancer)
    views = balancer.snapshot().endpoints
    assert sum(view.in_flight for view in views) == 0
    assert sum(view.picks for view in views) == 6400
    assert sum(gauge.estimate.samples for gauge in balancer._board.gauges.values()) == 6400


def test_bad_options() -> None:
    """Options out of range are refused, naming the value."""
    for cap in (1.0, 0.5, math.inf, math.nan):
        with pytest.raises(ValueError, match="share_cap"):
            Adaptive(["a"], share_cap=cap)
    for choices in (0, -1):
        with pytest.raises(ValueError, match="choices"):
            Adaptive(["a"], choices=choices)
    with pytest.raises(ValueError, match="decay"):
        Adaptive(["a"], decay=0.0)
    for wrong in (True, "2"):
        for option in ("share_cap", "choices", "decay"):
            with pytest.raises(TypeError, match=option):
                Adaptive(["a"], **{option: wrong})  # type: ignore[arg-type]
