"""What can be laid over any workload: who sends each request, and times of more traffic."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from balancers.simulation.engine import Batch
from balancers.simulation.workload import Workload, stream

__all__ = ["Crowd", "Surging"]


@dataclass(frozen=True, slots=True)
class Crowd:
    """A workload whose requests come from several clients, each by chance.

    Attributes:
        inner: The workload.
        clients: How many, ≥ 1.
        skew: Zipf exponent: client c sends in proportion to (c + 1)^−skew.
        seed: Of who sends what.
    """

    inner: Workload
    clients: int
    skew: float = 0.0
    seed: int = 0

    @property
    def count(self) -> int:
        """How many requests there are."""
        return self.inner.count

    @property
    def rate(self) -> float:
        """Mean arrivals per second."""
        return self.inner.rate

    def batches(self) -> Iterator[Batch]:
        """Yield the arrivals; see ``Workload.batches``."""
        rng = stream(self.seed, "clients")
        numbers = range(self.clients)
        weights = list(accumulate((c + 1.0) ** -self.skew for c in numbers))
        for batch in self.inner.batches():
            senders = rng.choices(numbers, cum_weights=weights, k=len(batch.times))
            yield replace(batch, clients=senders)

    def facts(self) -> dict[str, object]:
        """Return the parameters; see ``Workload.facts``."""
        return {**self.inner.facts(), "clients": self.clients, "client_skew": self.skew}

    def title(self) -> str:
        """Return what this is, in one phrase."""
        return self.inner.title()

    def note(self) -> str:
        """Return how it is made, in one phrase."""
        return f"{self.inner.note()}, from {self.clients:,} clients"


@dataclass(frozen=True, slots=True)
class Surging:
    """A workload that is denser at times: between ``begin`` and ``end``, ``factor`` times.

    Attributes:
        inner: The workload.
        surges: (begin, end, factor), in seconds of the result, apart from each other, rising.
    """

    inner: Workload
    surges: Sequence[tuple[float, float, float]]

    @property
    def count(self) -> int:
        """How many requests there are."""
        return self.inner.count

    @property
    def rate(self) -> float:
        """Mean arrivals per second."""
        span = self.inner.count / self.inner.rate
        return self.inner.count / next(self._warped(iter((span,)))) if span else self.inner.rate

    def _warped(self, times: Iterator[float]) -> Iterator[float]:
        """Yield each time of the inner workload as a time of this one.

        The inner time is the integral of the factor over the outer time; here it is inverted,
        piece by piece, in one pass.
        """
        edges: list[tuple[float, float]] = []  # (outer time at which it ends, factor)
        for begin, end, factor in self.surges:
            edges += [(begin, 1.0), (end, factor)]
        edges.append((float("inf"), 1.0))
        pieces = iter(edges)
        until, factor = next(pieces)
        inner = outer = 0.0
        for time in times:
            while time - inner > (until - outer) * factor:
                inner += (until - outer) * factor
                outer = until
                until, factor = next(pieces)
            outer += (time - inner) / factor
            inner = time
            yield outer

    def batches(self) -> Iterator[Batch]:
        """Yield the arrivals; see ``Workload.batches``."""
        batches = []

        def times() -> Iterator[float]:
            for batch in self.inner.batches():
                batches.append(batch)
                yield from batch.times

        warped = self._warped(times())
        for first in warped:
            batch = batches.pop()
            moved = [first, *(next(warped) for _ in range(len(batch.times) - 1))]
            yield replace(batch, times=moved)

    def facts(self) -> dict[str, object]:
        """Return the parameters; see ``Workload.facts``."""
        return {**self.inner.facts(), "surges": [list(surge) for surge in self.surges]}

    def title(self) -> str:
        """Return what this is, in one phrase."""
        return self.inner.title()

    def note(self) -> str:
        """Return how it is made, in one phrase."""
        return f"{self.inner.note()}, with surges"
