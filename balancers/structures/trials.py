"""When to try an endpoint again that nobody has asked for a while.

Who is slow or failing is left alone, and would be for ever: nothing else could show that it has
been repaired. So everybody has a date. One that costs c times the typical endpoint waits for
1 - 1/c of ``TRIAL_AGE``: the worse, the longer, but never longer than the whole, nor less than a
quarter; one that nobody has heard of waits for a quarter. And so many picks must have gone to
others that trials stay a small part of the traffic of a slow client: ``TRIAL_PICKS`` for each
endpoint of the pool, in the same proportion.

Dates are kept in a heap and looked at when they come, one at a pick; an endpoint that has been
asked meanwhile is put off. Nothing is done when it is asked.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from heapq import heapify, heappop, heappush, heapreplace
from math import exp, inf
from typing import Any, Generic, TypeVar

from balancers.structures.cost_estimate import PoolEstimate
from balancers.structures.gauge import Gauge
from balancers.structures.share_cap import ShareCap

__all__ = ["Trials"]

Item = TypeVar("Item")

TRIAL_AGE = 20.0
"""Seconds without an answer after which the worst of endpoints is tried again."""

TRIAL_PICKS = 50
"""Picks, for each endpoint of the pool, that must have gone to others meanwhile."""

_SLACK = 64

LEAST_WAIT = 0.25
"""The part of both that everybody waits."""


class Trials(Generic[Item]):
    """The dates of the endpoints of one board.

    Attributes:
        next: The first date, seconds; infinity if there is none.
    """

    __slots__ = ("_dates", "_first", "next")

    def __init__(self) -> None:
        self._dates: list[tuple[float, Gauge[Item]]] = []
        self._first = 0.0  # the first date of whoever came last
        self.next: float = inf

    def add(self, gauge: Gauge[Item], now: float) -> None:
        """Give a new endpoint its first date. O(log n)."""
        first = now + LEAST_WAIT * TRIAL_AGE
        if first != self._first:  # else one number for all that join together
            self._first = first
        self.put(gauge, self._first)

    def put(self, gauge: Gauge[Item], date: float) -> None:
        """Give an endpoint one more date. O(log n)."""
        heappush(self._dates, (date, gauge))
        self.next = self._dates[0][0]

    def due(
        self,
        now: float,
        gauges: Mapping[Item, Gauge[Item]],
        pool: PoolEstimate,
        cap: ShareCap,
        exclude: Collection[Item],
    ) -> Gauge[Item] | None:
        """Look at the first date, which has come; return its endpoint if it is to be tried now.

        Runtime complexity: O(log n), amortised over those that have left.
        """
        dates = self._dates
        while dates and gauges.get(dates[0][1].item) is not dates[0][1]:  # it has left
            heappop(dates)
        self.next = dates[0][0] if dates else inf
        if self.next > now:
            return None
        gauge = dates[0][1]
        wait = LEAST_WAIT
        if gauge.known:
            over = gauge.log_cost - pool.log_latency
            wait = max(wait, 1.0 - exp(-max(0.0, over)))
        date = gauge.held or gauge.estimate.at + wait * TRIAL_AGE
        ready = False
        if date <= now:
            date = now + TRIAL_AGE / 20  # if not now, then soon
            others = (cap.credit - gauge.mark) / cap.rate  # picks since its last one
            enough = bool(gauge.held) or others > wait * TRIAL_PICKS * len(gauges)
            ready = enough and not gauge.barred and not gauge.open
        if ready:
            gauge.held = 0.0
            date = now + LEAST_WAIT * TRIAL_AGE
        heapreplace(dates, (date, gauge))
        self.next = dates[0][0]
        return gauge if ready and gauge.item not in exclude else None

    def tidy(self, gauges: Mapping[Item, Gauge[Item]]) -> None:
        """Drop the dates of those that have left, if they are many; O(n), amortised O(1)."""
        if len(self._dates) <= 2 * len(gauges) + _SLACK:
            return
        self._dates = [date for date in self._dates if gauges.get(date[1].item) is date[1]]
        heapify(self._dates)
        self.next = self._dates[0][0] if self._dates else inf

    def copy(self, copies: Mapping[Any, Gauge[Item]]) -> Trials[Item]:
        """Return the dates of the copies of these endpoints. O(n)."""
        twin: Trials[Item] = Trials()
        twin._dates = [(date, copies[gauge]) for date, gauge in self._dates if gauge in copies]
        heapify(twin._dates)
        twin.next = twin._dates[0][0] if twin._dates else inf
        return twin

    def _check(self, gauges: Mapping[Item, Gauge[Item]]) -> None:
        assert {gauge for _, gauge in self._dates} >= set(gauges.values())
        assert self.next == (self._dates[0][0] if self._dates else inf)
        assert sorted(self._dates)[:1] == self._dates[:1]
