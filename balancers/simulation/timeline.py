"""A run cut into slices of time, so that one can see when it went wrong and when it was over.

The number of slices is fixed, and with it the memory, however long the run: each holds a
histogram, which has an end of its own (see ``quantiles``).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from balancers.simulation.quantiles import LatencyHistogram

__all__ = ["Slice", "Slicing"]


@dataclass(frozen=True, slots=True)
class Slicing:
    """How a run is cut.

    Attributes:
        width: Seconds, > 0.
        count: ≥ 1; the last slice takes whatever comes later.
    """

    width: float
    count: int

    def index(self, time: float) -> int:
        """Return the slice a time belongs to."""
        return min(self.count - 1, int(time / self.width))

    def end(self, index: int) -> float:
        """Return the time at which a slice ends; infinity for the last."""
        return (index + 1) * self.width if index + 1 < self.count else float("inf")


@dataclass(slots=True)
class Slice:
    """What became of the requests that arrived within one slice.

    Attributes:
        arrived: Requests.
        lost: Those refused or failed.
        latencies: Of the answered ones.
    """

    arrived: int = 0
    lost: int = 0
    latencies: LatencyHistogram = field(default_factory=LatencyHistogram)
