"""``Ticker``: each number is handed out once."""

from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from balancers.core.ticker import Ticker
from balancers.testing.threads import switching


@given(st.integers(0, 2**70), st.integers(0, 20))
def test_peek_tells_the_next(start, turns):
    """``peek`` is what ``next`` gives, and moves nothing; also far beyond 64 bits."""
    ticker = Ticker(start)
    for turn in range(turns):
        assert ticker.peek() == ticker.peek() == start + turn
        assert ticker.next() == start + turn


def test_threads_share_the_numbers_out():
    """Eight threads take 20,000 numbers each: none twice, none left out."""
    ticker = Ticker()
    taken: list[list[int]] = [[] for _ in range(8)]

    def take(mine: list[int]) -> None:
        for _ in range(20_000):
            mine.append(ticker.next())

    with switching():
        threads = [threading.Thread(target=take, args=(mine,)) for mine in taken]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(number for mine in taken for number in mine) == list(range(160_000))
    assert ticker.peek() == 160_000
