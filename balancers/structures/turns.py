"""Turns for those who would never be chosen for no good reason.

Among endpoints that are alike, the one whose answers happened to be a little quicker is chosen
again and again, and the others get no opportunity to show that it was chance. Who has not answered
for ``NEGLECT`` seconds, nor been picked while its fair share was a whole bucket of picks, holds no
request, and is about as good as the typical endpoint, is preferred by ``BONUS`` whenever it is
idle, until it has used its tokens up. At low load everybody then gets about its share; at high load
nobody is idle, or neglected for so long, and next to nothing changes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from heapq import heapify, heappop, heappush, heapreplace
from math import inf
from typing import Any, Generic, TypeVar

from balancers.structures.cost_estimate import PoolEstimate
from balancers.structures.gauge import Gauge
from balancers.structures.share_cap import ShareCap

__all__ = ["Turns"]

Item = TypeVar("Item")

NEGLECT = 3.5
"""Seconds without an answer after which an endpoint may be preferred."""

BONUS = 0.6
"""What the logarithm of the score of the neglected is lowered by."""

ALIKE = 0.5
"""By how much the logarithm of its cost may exceed the pool's."""

_SLACK = 64


class Turns(Generic[Item]):
    """When to see who has been neglected, counted in the common credit of a share cap.

    Attributes:
        next: The credit at which to look again; infinity if there is nobody.
    """

    __slots__ = ("_credit", "_dates", "_first", "_pace", "_since", "next")

    def __init__(self) -> None:
        self._dates: list[tuple[float, Gauge[Item]]] = []
        self._since = self._credit = 0.0  # a moment, and the credit then
        self._pace = 0.0  # credit a second, of late
        self._first = 0.0  # the first date of whoever came last
        self.next: float = inf

    def add(self, gauge: Gauge[Item], cap: ShareCap, now: float) -> None:
        """Have an endpoint looked at, once it has been neglected long enough. O(log n)."""
        if not self._dates:
            self._since, self._credit = now, cap.credit
        first = gauge.mark + _patience(gauge, cap)
        if first != self._first:  # else one number for all that are alike
            self._first = first
        heappush(self._dates, (self._first, gauge))
        self.next = self._dates[0][0]

    def neglected(
        self,
        now: float,
        gauges: Mapping[Item, Gauge[Item]],
        pool: PoolEstimate,
        cap: ShareCap,
    ) -> list[Gauge[Item]]:
        """Return those whose turn it is to be preferred. O(log n) each looked at."""
        if not gauges:  # all have left
            self._dates, self.next = [], inf
            return []
        dates, credit = self._dates, cap.credit
        elapsed = now - self._since
        # Over fewer picks than a bucket each, chance would decide.
        enough = cap.cap * cap.burst * len(gauges) / cap.total
        if elapsed > 0.0 and credit - self._credit >= enough:
            self._pace = (credit - self._credit) / elapsed
            if elapsed >= 1.0:
                self._since, self._credit = now, credit
        found = []
        while dates and dates[0][0] <= credit:
            gauge = dates[0][1]
            if gauges.get(gauge.item) is not gauge:  # it has left
                heappop(dates)
                continue
            patience = _patience(gauge, cap)
            missing = NEGLECT - (now - gauge.estimate.at)
            if missing <= 0.0 and gauge.mark + patience <= credit:
                idle = gauge.entry is not None and not gauge.open
                if idle and gauge.log_cost - pool.log_latency < ALIKE:
                    found.append(gauge)
                date = credit + patience
            else:  # not before the time has come, at the present pace
                later = credit + self._pace * missing
                date = max(credit + patience / 4, gauge.mark + patience, later)
            heapreplace(dates, (date, gauge))
        self.next = dates[0][0] if dates else inf
        return found

    def tidy(self, gauges: Mapping[Item, Gauge[Item]]) -> None:
        """Drop the dates of those that have left, if they are many; O(n), amortised O(1)."""
        if len(self._dates) > 2 * len(gauges) + _SLACK:
            self._dates = [date for date in self._dates if gauges.get(date[1].item) is date[1]]
            heapify(self._dates)
            self.next = self._dates[0][0] if self._dates else inf

    def copy(self, copies: Mapping[Any, Gauge[Item]]) -> Turns[Item]:
        """Return the dates of the copies of these endpoints. O(n)."""
        twin: Turns[Item] = Turns()
        twin._since, twin._credit, twin._pace = self._since, self._credit, self._pace
        twin._dates = [(date, copies[gauge]) for date, gauge in self._dates if gauge in copies]
        heapify(twin._dates)
        twin.next = twin._dates[0][0] if twin._dates else inf
        return twin

    def _check(self, gauges: Collection[Gauge[Item]]) -> None:
        assert {gauge for _, gauge in self._dates} >= set(gauges)
        assert self.next <= min((date for date, _ in self._dates), default=inf)


def _patience(gauge: Gauge[Item], cap: ShareCap) -> float:
    """Return the credit in which an endpoint's fair share is a whole bucket of picks."""
    return cap.cap * cap.burst / gauge.weight
