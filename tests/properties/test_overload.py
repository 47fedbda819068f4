"""Retry budgets and throttling: exact against slow models, and gRPC's own sequences."""

import threading
from fractions import Fraction
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancers.overload import AdaptiveThrottle, RetryBudget, RetryShare, RetryTokens
from balancers.structures.sliding_sum import SlidingSum
from balancers.testing import ManualClock, ScriptedRandom

pauses = st.sampled_from((0.0, 0.25, 0.5, 1.0, 3.0, 9.0, 11.0))


@given(st.lists(st.tuples(st.integers(0, 5), pauses), max_size=60), st.integers(1, 10))
def test_sliding_sum(script: list[tuple[int, float]], slices: int):
    """The sum is over the running slice and those before it, as a list of all events says."""
    total = SlidingSum(10.0, slices)
    events: list[tuple[float, int]] = []
    now = 0.0
    width = 10.0 / slices
    for amount, pause in script:
        now += pause
        total.add(now, amount)
        events.append((now, amount))
        total._check()
        first = int(now // width) - slices + 1
        assert total.sum(now) == sum(n for at, n in events if int(at // width) >= first)
    assert total.sum(now - 5.0) == total.sum(now)  # time does not go back
    assert total.sum(now + 20.0) == 0


@given(
    st.lists(st.tuples(st.sampled_from(["request", "retry"]), pauses), max_size=120),
    st.sampled_from((0.0, 0.1, 0.2, 1.0)),
    st.sampled_from((0.0, 0.1, 0.5)),
)
def test_retries_are_bounded_in_every_window(
    script: list[tuple[str, float]], ratio: float, floor: float
):
    """A retry is granted just where retries ≤ ratio · requests + floor · ttl over the last ttl."""
    clock = ManualClock()
    budget = RetryBudget(ratio, min_per_second=floor, ttl=10.0, clock=clock)
    requests: list[float] = []
    retries: list[float] = []
    for kind, pause in script:
        clock.advance(pause)
        if kind == "request":
            budget.deposit()
            requests.append(clock())
            continue
        first = clock() // 1.0 - 9  # slices of a second, ten of them
        recent = sum(1 for at in requests if at // 1.0 >= first)
        granted = sum(1 for at in retries if at // 1.0 >= first)
        allowed = Fraction(str(ratio)) * recent + Fraction(str(floor)) * 10
        assert budget.balance == pytest.approx(float(allowed - granted))
        assert budget.withdraw() == (granted + 1 <= allowed)
        if granted + 1 <= allowed:
            retries.append(clock())
        budget._check()


def test_a_fifth_of_the_requests():
    """The defaults: 20 % of requests, and ten a second for whoever makes few."""
    clock = ManualClock()
    budget = RetryBudget(clock=clock)
    assert sum(budget.withdraw() for _ in range(500)) == 100  # ten seconds' worth of the floor
    for _ in range(1_000):
        budget.deposit()
    assert sum(budget.withdraw() for _ in range(500)) == 200
    clock.advance(11.0)
    assert sum(budget.withdraw() for _ in range(500)) == 100


def test_an_outage_is_not_multiplied():
    """Everything fails, everything is retried three times: load stays within 1 + ratio."""
    clock = ManualClock()
    budget = RetryBudget(0.2, min_per_second=0.0, clock=clock)
    sent = 0
    for _ in range(10_000):
        clock.advance(0.01)
        budget.deposit()
        sent += 1
        for _ in range(3):
            if not budget.withdraw():
                break
            sent += 1
    assert sent <= 12_000 + 200  # a window's worth beside the rate


@given(st.lists(st.sampled_from(["start", "finish", "retry", "done"]), max_size=80))
def test_retry_share(script: list[str]):
    """Retries in flight ≤ max(3, 20 % of all in flight), at the moment one is granted."""
    share = RetryShare()
    requests = retries = 0
    for step in script:
        if step == "start":
            share.start()
            requests += 1
        elif step == "finish" and requests:
            share.finish()
            requests -= 1
        elif step == "retry":
            allowed = retries + 1 <= max(3, Fraction(1, 5) * (requests + retries))
            assert share.start_retry() == allowed
            retries += allowed
        elif step == "done" and retries:
            share.finish_retry()
            retries -= 1
        assert share.in_flight == (requests + retries, retries)


def test_ends_without_beginnings_are_refused():
    """What did not start cannot finish, and counts nothing."""
    share = RetryShare()
    with pytest.raises(RuntimeError):
        share.finish()
    with pytest.raises(RuntimeError):
        share.finish_retry()
    assert share.start_retry()
    with pytest.raises(RuntimeError):
        share.finish()
    assert share.in_flight == (1, 1)


@given(st.lists(st.booleans(), max_size=100), st.integers(1, 20), st.integers(1, 999))
def test_retry_tokens(outcomes: list[bool], most: int, milli: int):
    """As gRFC A6 says, in thousandths: −1 a failure, +ratio a success, retries above half."""
    tokens = RetryTokens(most, milli / 1000)
    level = most * 1000
    for succeeded in outcomes:
        if succeeded:
            tokens.succeeded()
            level = min(most * 1000, level + milli)
        else:
            level = max(0, level - 1000)
            assert tokens.failed() == (2 * level > most * 1000)
        assert tokens.tokens == level / 1000


N, Y = False, True
SEQUENCES = [
    (1.1, 8.0, [N] * 8 + [Y] * 5 + [N] * 3 + [Y] * 3),
    (1.1, 7.0, [N] * 7 + [Y] * 12),
    (1.4, 8.0, [N] * 8 + [Y] * 2 + [N] * 9),
]


@pytest.mark.parametrize(("k", "padding", "expected"), SEQUENCES)
def test_grpc_sequences(k: float, padding: float, expected: list[bool]):
    """grpc-go's TestShouldThrottleOptions: 9 refused, 6 accepted, 4 refused, at a draw of ½.

    Its requests are counted when answered, so they are put into the window by hand.
    """
    throttle = AdaptiveThrottle(k, padding=padding, clock=ManualClock())
    for answer, throttled in zip("T" * 9 + "A" * 6 + "T" * 4, expected, strict=True):
        throttle._requests.add(0.0)
        if answer == "A":
            throttle._accepts.add(0.0)
        assert (throttle.chance > 0.5) == throttled
        if throttled:
            throttle._requests.add(0.0)


@given(
    st.lists(st.tuples(st.sampled_from(["admit", "accept"]), pauses), max_size=80),
    st.sampled_from((1.0, 1.5, 2.0)),
)
def test_the_chance_is_the_books(script: list[tuple[str, float]], k: float):
    """max(0, (requests − k · accepts) / (requests + 1)) over the window, counted at the start."""
    clock = ManualClock()
    throttle = AdaptiveThrottle(k, window=60.0, clock=clock, rng=ScriptedRandom([0.5] * 100))
    asked: list[float] = []
    taken: list[float] = []
    for kind, pause in script:
        clock.advance(pause)
        first = int(clock()) - 59
        requests = sum(1 for at in asked if int(at) >= first)
        accepts = sum(1 for at in taken if int(at) >= first)
        chance = max(0.0, (requests - k * accepts) / (requests + 1.0))
        assert throttle.chance == pytest.approx(chance)
        if kind == "admit":
            assert throttle.admit() == (chance <= 0.5)
            asked.append(clock())
        else:
            throttle.accepted()
            taken.append(clock())
        throttle._check()


@pytest.mark.parametrize("accepting", [1.0, 0.6, 0.25, 0.0])
def test_a_struggling_server_is_asked_k_times_what_it_takes(accepting: float):
    """In the long run about 1/k of what is sent is accepted, and nothing is refused above that."""
    chance, clock = Random(4), ManualClock()
    throttle = AdaptiveThrottle(2.0, window=60.0, clock=clock, rng=Random(5))
    sent = accepted = 0
    capacity = 100.0 * accepting  # accepted a second, of 100 asked
    for second in range(300):
        clock.advance(1.0)
        took = 0
        for _ in range(100):
            if throttle.admit():
                sent += second >= 100
                if took < capacity or chance.random() < 0.0:
                    took += 1
                    accepted += second >= 100
                    throttle.accepted()
    if accepting >= 0.5:
        assert sent == 200 * 100
    elif accepting:
        assert 1.9 <= sent / accepted <= 2.1
    else:
        assert 0 < sent < 200


def test_nothing_is_lost_between_threads():
    """Counts are exact under threads: a budget grants exactly what it holds."""
    budget = RetryBudget(0.5, min_per_second=0.0, clock=ManualClock())
    granted: list[bool] = []

    def work() -> None:
        for _ in range(500):
            budget.deposit()
        granted.extend(budget.withdraw() for _ in range(500))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(granted) == 1_000


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: RetryBudget(-0.1), ValueError),
        (lambda: RetryBudget(True), TypeError),
        (lambda: RetryBudget(ttl=0.0), ValueError),
        (lambda: RetryBudget(min_per_second=float("nan")), ValueError),
        (lambda: RetryShare("a"), TypeError),
        (lambda: RetryShare(least=-1), ValueError),
        (lambda: RetryTokens(0), ValueError),
        (lambda: RetryTokens(1001), ValueError),
        (lambda: RetryTokens(10, 0.0004), ValueError),
        (lambda: AdaptiveThrottle(0.5), ValueError),
        (lambda: AdaptiveThrottle(window=-1.0), ValueError),
        (lambda: AdaptiveThrottle(padding=0.0), ValueError),
        (lambda: AdaptiveThrottle(rng=3), TypeError),
        (lambda: AdaptiveThrottle(clock=3), TypeError),
        (lambda: RetryBudget(clock=3), TypeError),
    ],
)
def test_bad_options(make: Any, error: type[Exception]):
    """Options out of range raise at once."""
    with pytest.raises(error):
        make()
