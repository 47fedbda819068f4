"""How well one could do: a policy that knows what no client knows, and a bound from theory.

``ShortestExpectedDelay`` sees every request in the fleet, whoever sent it, each machine's true
speed of the moment, and which machines are failing; it sends a request where the expected delay
is least. It does not know how much work a request is. The M/M/k bound is the fleet as one queue
before all workers: no policy that must choose at once can be faster in the mean.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from typing import Any, cast

from balancers import Balancer, Endpoint, NoEndpointError, Outcome
from balancers.simulation.contenders import Contender
from balancers.simulation.engine import Stage
from balancers.simulation.keys import Prompt
from balancers.simulation.models import FaultyServer, LlmServer

__all__ = ["ORACLE", "MmkBound", "Seat", "ShortestExpectedDelay", "erlang_c", "oracle"]

ORACLE = "oracle"


class Seat:
    """A lease of a policy that counts no more than what is open."""

    __slots__ = ("_count", "endpoint")

    def __init__(self, endpoint: Endpoint, count: list[int]) -> None:
        self.endpoint: Endpoint = endpoint
        self._count: list[int] | None = count

    def responded(self) -> None:
        """Nothing: the oracle looks at the machines."""

    def done(self, outcome: Outcome = Outcome.SUCCESS) -> bool:
        """Settle it; True for the call that did."""
        count, self._count = self._count, None
        if count is None:
            return False
        count[0] -= 1
        return True


class ShortestExpectedDelay:
    """Sends each request where its expected delay is least, ties by chance.

    Args:
        stage: Whose servers it looks at.

    Runtime complexity: O(endpoints) a pick.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        # One cell an endpoint, which its leases hold: who leaves and comes back gets a new one.
        self._counts: dict[str, list[int]] = {}
        self.endpoints: tuple[Endpoint, ...] = ()
        self.update(stage.endpoints)

    def update(self, endpoints: Iterable[Endpoint]) -> None:
        """Replace the membership; who stays keeps its count."""
        self.endpoints = tuple(endpoints)
        self._counts = {each.id: self._counts.get(each.id, [0]) for each in self.endpoints}

    def pick(self, key: Any = None, *, exclude: Collection[str] = (), cost: float = 1.0) -> Seat:
        """Lease the endpoint with the least expected delay.

        Raises:
            NoEndpointError: The membership is empty.
        """
        if not self.endpoints:
            raise NoEndpointError("no endpoint")
        now, servers, counts = self._stage.clock.now, self._stage.servers, self._counts
        best: list[Endpoint] = []
        least = math.inf
        for endpoint in self.endpoints:
            delay = _delay(servers[endpoint.id], now, counts[endpoint.id][0], key)
            if delay < least:
                best, least = [endpoint], delay
            elif delay == least:
                best.append(endpoint)
        chosen = best[0] if len(best) == 1 else self._stage.rng.choice(best)
        count = counts[chosen.id]
        count[0] += 1
        return Seat(chosen, count)

    def close(self) -> None:
        """Nothing to leave."""


def _delay(server: Any, now: float, present: int, key: Any) -> float:
    if isinstance(key, Prompt):
        inner = server.inner if isinstance(server, FaultyServer) else server
        if isinstance(inner, LlmServer):
            return inner.prefill_wait(now) + inner.new_work(key)
    outlook: float = server.outlook(now, present)
    return outlook


def oracle() -> Contender:
    """Return the oracle as a contender."""
    return Contender(
        ORACLE,
        lambda stage: cast("Balancer", ShortestExpectedDelay(stage)),
        key_kind="raw",
        oracle=True,
    )


def erlang_c(workers: int, offered: float) -> float:
    """Return the chance of waiting in M/M/k.

    Args:
        workers: k, ≥ 1.
        offered: λ/μ in erlangs, within 0 … k.

    Runtime complexity: O(workers).
    """
    blocked = 1.0  # Erlang's B, by its recurrence in k
    for k in range(1, workers + 1):
        blocked = offered * blocked / (k + offered * blocked)
    rho = offered / workers
    return blocked / (1.0 - rho + rho * blocked)


class MmkBound:
    """Latency in M/M/k: Poisson arrivals, exponential work, one queue before k workers.

    Args:
        workers: k, ≥ 1.
        load: ρ, within 0 … 1, exclusive.
        mean: Mean service time, seconds.
    """

    __slots__ = ("_mean", "_rest", "_waits")

    def __init__(self, workers: int, load: float, mean: float) -> None:
        self._mean = mean
        self._waits = erlang_c(workers, load * workers)
        self._rest = workers * (1.0 - load)  # kμ − λ, in units of μ

    @property
    def mean(self) -> float:
        """Mean latency, seconds."""
        return self._mean * (1.0 + self._waits / self._rest)

    def beyond(self, latency: float) -> float:
        """Return the share of requests slower than ``latency`` seconds."""
        t, waits, rest = latency / self._mean, self._waits, self._rest
        alone = math.exp(-t)
        if abs(rest - 1.0) < 1e-9:  # the sum of two exponentials of one rate
            return (1.0 - waits) * alone + waits * (1.0 + t) * alone
        both = (rest * alone - math.exp(-rest * t)) / (rest - 1.0)
        return (1.0 - waits) * alone + waits * both

    def quantile(self, q: float) -> float:
        """Return the latency that a share ``q`` does not exceed, 0 ≤ q < 1, by bisection."""
        low, high = 0.0, self._mean
        while self.beyond(high) > 1.0 - q:
            high *= 2.0
        for _ in range(80):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if self.beyond(middle) > 1.0 - q else (low, middle)
        return high
