"""Processor sharing: everybody present is served at once, each at an equal part of the speed.

What an operating system does with threads and a model server with its batch. A request's end
moves whenever another one comes or goes, so the model answers later.
"""

from __future__ import annotations

from heapq import heappop, heappush
from math import inf
from typing import TYPE_CHECKING, Any

from balancers import Outcome
from balancers.simulation.models.profile import Profile
from balancers.simulation.models.queue import REJECTION
from balancers.simulation.servers import Reply

if TYPE_CHECKING:
    from balancers.simulation.stage import Stage

__all__ = ["SharingServer"]

_INSTANT = 1e-9
"""Seconds: a rest of work that would take no longer is done; covers rounding, changes nothing."""


class SharingServer:
    """Up to ``workers`` requests at full speed; beyond that all share alike.

    With n requests inside each proceeds at ``speed · min(1, workers/n)``.

    Invariants:
        1. ``_got`` is the work a request present from the start would have got by ``_seen``.
        2. ``_inside`` is a heap of (value of ``_got`` at which it ends, ticket).
        3. While somebody is inside, the stage will wake this server at ``_planned``, which is
           no later than the next end.

    Args:
        stage: Where it wakes and completes.
        profile: Speed over time.
        workers: > 0.
        limit: Requests that may be inside beyond ``workers``; None: any number.

    Runtime complexity: O(log present) a request.
    """

    __slots__ = (
        "_got", "_inside", "_places", "_planned", "_profile", "_seen", "_stage", "busy", "picks",
        "rejected", "workers",
    )  # fmt: skip

    def __init__(
        self, stage: Stage, profile: Profile, workers: int = 1, limit: int | None = None
    ) -> None:
        self._stage = stage
        self._profile = profile
        self._inside: list[tuple[float, int]] = []
        self._places = None if limit is None else workers + limit
        self._got = 0.0
        self._seen = stage.clock.now
        self._planned = inf
        self.workers: int = workers
        self.picks: int = 0
        self.rejected: int = 0
        self.busy: float = 0.0

    def serve(self, now: float, demand: float, key: Any, ticket: int) -> Reply | None:
        """Let the request in or turn it away; see ``Server.serve``."""
        self.picks += 1
        if self._places is not None and len(self._inside) >= self._places:
            self.rejected += 1
            return now + REJECTION, Outcome.FAILURE
        self._advance(now)
        heappush(self._inside, (self._got + demand, ticket))
        self.busy += demand
        self._plan(now)
        return None

    def outlook(self, now: float, present: int) -> float:
        """Return the expected delay of one more request, in mean service times.

        ``present`` requests are inside. All workers count as one of their joint speed, which
        is exact while the queue is not empty, and else spreads requests over more machines.
        """
        if self._places is not None and present >= self._places:
            return inf
        return (present + 1) / (self.workers * self._profile.speed(now))

    def _share(self) -> float:
        return min(1.0, self.workers / len(self._inside))

    def _advance(self, now: float) -> None:
        if self._inside:
            self._got += self._profile.work(self._seen, now) * self._share()
        else:
            self._got = 0.0  # an empty machine forgets, so the number stays small and exact
        self._seen = now

    def _plan(self, now: float) -> None:
        rest = max(0.0, self._inside[0][0] - self._got)
        due = max(now, self._profile.finish(now, rest / self._share()))
        if due < self._planned:  # a later end is noticed when the earlier wake finds nothing done
            self._planned = due
            self._stage.at(due, self._wake)

    def _wake(self, now: float) -> None:
        if now != self._planned:
            return  # an end came forward since then, and has been dealt with
        self._planned = inf
        self._advance(now)
        speed = self._profile.speed(now)
        while self._inside:
            rest = (self._inside[0][0] - self._got) / (self._share() * speed)
            if rest > max(_INSTANT, 1e-12 * now):
                self._plan(now)
                return
            _, ticket = heappop(self._inside)
            self._stage.complete(ticket, Outcome.SUCCESS)

    def _check(self) -> None:
        assert not self._inside or self._planned < inf
        assert self._places is None or len(self._inside) <= self._places
