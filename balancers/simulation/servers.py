"""What stands behind an endpoint while it is simulated.

A model answers one question: when is this request done? If that is known the moment the request
arrives, as in a first-come-first-served queue, ``serve`` returns it. If later arrivals change it,
as in processor sharing, ``serve`` returns None, the model keeps the ticket, asks the run to wake
it (``Stage.at``) and closes the ticket itself (``Stage.complete``).

A new model is one class with ``serve``, ``picks`` and ``busy``, and a factory from an endpoint
and the stage; nothing in the engine names the models.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from heapq import heapreplace
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from balancers import Endpoint, Outcome

if TYPE_CHECKING:
    from balancers.simulation.stage import Stage

__all__ = ["FifoServer", "Reply", "Server", "ServerFactory", "fifo", "speed_of"]

Reply: TypeAlias = tuple[float, Outcome]
"""When the request ends, seconds of simulated time, and how."""


class Server(Protocol):
    """A model of one endpoint's machine.

    Attributes:
        picks: Requests received.
        busy: Seconds of work received, over all workers.
    """

    picks: int

    @property
    def busy(self) -> float:
        """Seconds of work received."""
        ...

    def serve(self, now: float, demand: float, key: Any, ticket: int) -> Reply | None:
        """Take a request.

        Args:
            now: Simulated time, seconds; never earlier than in the call before.
            demand: Seconds of work at speed 1, > 0.
            key: The request's key as the workload made it, for models that cache.
            ticket: Names the request towards ``Stage.complete``.

        Returns:
            When it ends (≥ ``now``) and how, or None if the model will call ``Stage.complete``.
        """
        ...


ServerFactory: TypeAlias = Callable[[Endpoint, "Stage"], Server]


class FifoServer:
    """``workers`` equal workers behind one first-come-first-served queue.

    Whoever arrives takes the worker that is free first, so the end is known on arrival and the
    queue needs no representation of its own.

    Invariants:
        1. ``_free`` holds, for each worker, the time it falls idle (or 0), as a heap.
        2. ``busy`` is the sum of the service times handed out.

    Args:
        speed: Work done per second by one worker, > 0.
        workers: ≥ 1.

    Runtime complexity: O(log workers) a request.
    """

    __slots__ = ("_free", "_slowness", "busy", "picks")

    def __init__(self, speed: float = 1.0, workers: int = 1) -> None:
        self._slowness = 1.0 / speed
        self._free = [0.0] * workers
        self.picks: int = 0
        self.busy: float = 0.0

    def serve(self, now: float, demand: float, key: Any, ticket: int) -> Reply:
        """Queue the request; see ``Server.serve``."""
        free = self._free
        start = free[0]
        if start < now:
            start = now
        time = demand * self._slowness
        end = start + time
        heapreplace(free, end)
        self.picks += 1
        self.busy += time
        return end, _SUCCESS

    def wait(self, now: float) -> float:
        """Return the seconds a request arriving now would queue; what an oracle may look at."""
        return max(0.0, self._free[0] - now)

    def outlook(self, now: float, present: int) -> float:
        """Return the expected delay of one more request, in mean service times.

        ``present`` requests are inside. All workers count as one of their joint speed, which
        is exact while the queue is not empty, and else spreads requests over more machines.
        """
        return (present + 1) * self._slowness / len(self._free)

    def _check(self) -> None:
        free = self._free
        assert all(free[(i - 1) // 2] <= free[i] for i in range(1, len(free)))
        assert self.busy >= 0.0
        assert all(map(math.isfinite, free))


_SUCCESS = Outcome.SUCCESS


def speed_of(endpoint: Endpoint) -> float:
    """Return the speed the weight stands for.

    A drained endpoint (weight 0) says nothing of its speed; should a policy pick it against the
    contract, it serves at speed 1 and the share error tells.
    """
    return endpoint.weight or 1.0


def fifo(workers: int = 1) -> ServerFactory:
    """Return a factory of first-come-first-served servers whose speed is the weight.

    Raises:
        ValueError: If ``workers`` < 1.
    """
    if workers < 1:
        raise ValueError(f"workers must be ≥ 1, not {workers}")

    def build(endpoint: Endpoint, stage: Stage) -> FifoServer:
        return FifoServer(speed_of(endpoint), workers)

    return build
