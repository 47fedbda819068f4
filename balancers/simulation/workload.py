"""What drives a simulation: where arrivals come from, and the built-in source of them.

A workload hands out batches (see ``engine.Batch``) and can do so again and again, the same each
time. Randomness is split into streams, one a purpose, each seeded by the workload's seed and the
stream's name: another service law leaves the arrival times and keys as they were.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Protocol

from balancers.simulation.engine import Batch
from balancers.simulation.service import ServiceLaw

__all__ = ["BATCH", "SyntheticWorkload", "Workload", "stream"]

BATCH = 8192
"""Requests a batch: enough to hide the cost of changing policies, few enough for memory."""


class Workload(Protocol):
    """A source of arrivals."""

    @property
    def count(self) -> int:
        """How many requests there are."""
        ...

    @property
    def rate(self) -> float:
        """Mean arrivals per second of simulated time."""
        ...

    def batches(self) -> Iterator[Batch]:
        """Yield the arrivals from the beginning; the same every time."""
        ...

    def facts(self) -> dict[str, object]:
        """Return what a reader must know to repeat this workload, ready for JSON."""
        ...

    def title(self) -> str:
        """Return what this is, in one phrase."""
        ...

    def note(self) -> str:
        """Return what else a reader should know, in one phrase."""
        ...


def stream(seed: int, purpose: str) -> random.Random:
    """Return the generator of one purpose.

    Seeding by text goes through SHA-512, so it is the same in every process.
    """
    return random.Random(f"{seed}/{purpose}")


@lru_cache(maxsize=2)  # every policy of a scenario meets the same population
def _population(keys: int, skew: float) -> tuple[Sequence[str], Sequence[float] | None]:
    """Return the keys and their cumulative weights, None if all are alike."""
    names = [f"10.{k >> 16}.{k >> 8 & 255}.{k & 255}" for k in range(keys)]
    return names, list(accumulate((k + 1.0) ** -skew for k in range(keys))) if skew else None


class SyntheticWorkload:
    """Poisson arrivals of keys drawn by Zipf's law.

    Key ``k``, from 0, is drawn in proportion to (k + 1)^−skew. Measured web traffic has exponents
    of 0.64 to 0.83 (Breslau et al., INFOCOM 1999), hence the default. A key is the text of an
    address in 10.0.0.0/8, so that policies which take addresses alone can run too.

    Args:
        rate: Arrivals per second, finite and > 0.
        service: Law of demands.
        count: Requests, ≥ 1.
        keys: How many different keys, 1 … 10⁶.
        skew: Zipf exponent, ≥ 0; 0 is uniform.
        seed: Of all streams.

    Raises:
        ValueError: For a number out of range.
    """

    __slots__ = ("_cumulative", "_keys", "count", "rate", "seed", "service", "skew")

    def __init__(
        self,
        rate: float,
        service: ServiceLaw,
        *,
        count: int = 100_000,
        keys: int = 10_000,
        skew: float = 0.8,
        seed: int = 0,
    ) -> None:
        if not (math.isfinite(rate) and rate > 0.0):
            raise ValueError(f"rate must be finite and > 0, not {rate}")
        if count < 1:
            raise ValueError(f"the number of requests must be ≥ 1, not {count}")
        if not 1 <= keys <= 1_000_000:
            raise ValueError(f"the number of keys must be within 1 … 1,000,000, not {keys}")
        if not 0.0 <= skew <= 10.0:
            raise ValueError(f"the Zipf exponent must be within 0 … 10, not {skew}")
        if service.needs_sizes:
            raise ValueError(
                f"the service law {service.name!r} needs a trace; the built-in one has no sizes"
            )
        self.rate: float = rate
        self.service: ServiceLaw = service
        self.count: int = count
        self.skew: float = skew
        self.seed: int = seed
        self._keys, self._cumulative = _population(keys, skew)

    def batches(self) -> Iterator[Batch]:
        """Yield the arrivals; see ``Workload.batches``."""
        arrivals = stream(self.seed, "arrivals").random
        keys, demands = stream(self.seed, "keys"), stream(self.seed, "demands")
        log, mean_gap = math.log, 1.0 / self.rate
        now, left = 0.0, self.count
        while left:
            size = min(BATCH, left)
            left -= size
            times: list[float] = []
            for _ in range(size):
                now -= mean_gap * log(1.0 - arrivals())
                times.append(now)
            yield Batch(
                times,
                keys.choices(self._keys, cum_weights=self._cumulative, k=size),
                self.service.draw(demands, [1.0] * size),
            )

    def facts(self) -> dict[str, object]:
        """Return the parameters; see ``Workload.facts``."""
        return {
            "source": "synthetic",
            "arrivals": "poisson",
            "requests": self.count,
            "rate": self.rate,
            "keys": len(self._keys),
            "skew": self.skew,
            "service": str(self.service),
            "seed": self.seed,
        }

    def title(self) -> str:
        """Return what this is, in one phrase."""
        return f"{self.count:,} requests of the built-in workload"

    def note(self) -> str:
        """Return how it is made, in one phrase."""
        keys = f"{len(self._keys):,} keys" if len(self._keys) > 1 else "1 key"
        return f"Poisson arrivals, {keys} by Zipf's law with exponent {self.skew:g}"
