"""What stands around a run: its clock, a piece of the arrivals, and what may be asked of it."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from balancers import Balancer, Endpoint, Outcome
from balancers.simulation.servers import Server

__all__ = ["Batch", "Build", "SimulatedClock", "Stage", "Timer", "Watch"]

Timer: TypeAlias = Callable[[float], object]
"""Called with the simulated time it was set for."""


class SimulatedClock:
    """A clock that shows what the run last set: seconds from the start of the simulation."""

    __slots__ = ("now",)

    def __init__(self) -> None:
        self.now: float = 0.0

    def __call__(self) -> float:
        """Return the simulated time."""
        return self.now


@dataclass(frozen=True, slots=True)
class Batch:
    """A piece of the arrivals, as columns of equal length.

    Attributes:
        times: Seconds of simulated time, never falling, across batches too.
        keys: What each request is placed by; None for nothing. Anything a server model may
            want too, see ``keys``.
        demands: Seconds of work at speed 1, > 0, drawn by request and not by endpoint, so that
            every policy meets the same work.
        clients: Which client sends each request, by number; None: all come from the first.
    """

    times: Sequence[float]
    keys: Sequence[Any]
    demands: Sequence[float]
    clients: Sequence[int] | None = None


@dataclass(frozen=True, slots=True)
class Stage:
    """What the things on stage may use: policies, oracles, server models, scenarios.

    Attributes:
        endpoints: The membership at the start.
        clock: Simulated time.
        rng: The run's own generator, seeded by the run's name.
        servers: The models, by endpoint id. Oracles look here; ordinary policies do not.
        at: ``at(time, timer)`` calls ``timer(time)`` when simulated time gets there.
        complete: ``complete(ticket, outcome)`` ends a request whose model returned None.
        respond: ``respond(ticket)`` says that such a request's first byte is out.
        join: ``join(endpoint)`` puts a fresh server behind an endpoint about to be added.
    """

    endpoints: tuple[Endpoint, ...]
    clock: SimulatedClock
    rng: random.Random
    servers: Mapping[str, Server]
    at: Callable[[float, Timer], None]
    complete: Callable[[int, Outcome], None]
    respond: Callable[[int], None]
    join: Callable[[Endpoint], None]


Build: TypeAlias = Callable[[Stage], Balancer]

Watch: TypeAlias = Callable[[Sequence[Any], Sequence[str | None]], object]
