"""First come, first served, with a speed that changes and a queue that has an end."""

from __future__ import annotations

from heapq import heappop, heappush, heapreplace
from typing import Any

from balancers import Outcome
from balancers.simulation.models.profile import Profile
from balancers.simulation.servers import Reply

__all__ = ["REJECTION", "QueueServer"]

REJECTION = 0.001
"""Seconds it takes to turn a request away."""


class QueueServer:
    """``workers`` workers behind one queue; whoever finds the queue full is turned away.

    A worker starts with the speed of the moment and follows its changes. All workers have one
    speed, so a request's end is known on arrival, as in ``FifoServer``.

    Invariants:
        1. ``_free`` holds, for each worker, when it falls idle, as a heap.
        2. ``_ends`` holds the ends of all requests inside, as a heap, if there is a limit; it
           is never longer than ``workers + limit``.

    Args:
        profile: Speed over time.
        workers: ≥ 1.
        limit: Requests that may wait, ≥ 0; None: any number.

    Attributes:
        rejected: Requests turned away, in ``picks`` too.

    Runtime complexity: O(log (workers + limit)) a request.
    """

    __slots__ = ("_ends", "_free", "_places", "_profile", "busy", "picks", "rejected", "workers")

    def __init__(self, profile: Profile, workers: int = 1, limit: int | None = None) -> None:
        self._profile = profile
        self._free = [0.0] * workers
        self._ends: list[float] = []
        self._places = None if limit is None else workers + limit
        self.workers: int = workers
        self.picks: int = 0
        self.rejected: int = 0
        self.busy: float = 0.0

    def serve(self, now: float, demand: float, key: Any, ticket: int) -> Reply:
        """Queue the request or turn it away; see ``Server.serve``."""
        self.picks += 1
        ends = self._ends
        if self._places is not None:
            while ends and ends[0] <= now:
                heappop(ends)
            if len(ends) >= self._places:
                self.rejected += 1
                return now + REJECTION, Outcome.FAILURE
        start = max(now, self._free[0])
        end = self._profile.finish(start, demand)
        heapreplace(self._free, end)
        if self._places is not None:
            heappush(ends, end)
        self.busy += end - start
        return end, Outcome.SUCCESS

    def outlook(self, now: float, present: int) -> float:
        """Return the expected delay of one more request, in mean service times.

        ``present`` requests are inside. All workers count as one of their joint speed, which
        is exact while the queue is not empty, and else spreads requests over more machines.
        """
        if self._places is not None and present >= self._places:
            return float("inf")
        return (present + 1) / (self.workers * self._profile.speed(now))

    def _check(self) -> None:
        assert self._places is None or len(self._ends) <= self._places
        assert len(self._free) == self.workers
