"""What one endpoint did in the current interval, for the rules that compare endpoints."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Sample", "Tally"]


class Sample(NamedTuple):
    """One interval of one endpoint.

    Attributes:
        good: Requests that succeeded.
        bad: Requests that failed.
        seconds: Sum of the latencies known, of successes.
        timed: How many are known.
    """

    good: int
    bad: int
    seconds: float = 0.0
    timed: int = 0

    @property
    def total(self) -> int:
        """Requests."""
        return self.good + self.bad

    @property
    def latency(self) -> float | None:
        """Mean seconds of a success, None if none is known."""
        return self.seconds / self.timed if self.timed else None


class Tally:
    """Counts; ``outliers`` and ``latency`` judge at the end of the interval.

    A ``Detector`` that never trips by itself. Every success takes the registry's lock while
    a rule that compares is on.
    """

    __slots__ = ("bad", "good", "seconds", "timed")

    def __init__(self) -> None:
        self.reset()

    @property
    def quiet(self) -> bool:
        """Whether a success would change nothing."""
        return False

    def failed(self, at: float) -> str | None:
        """Learn of a failure; return a reason to eject, or None."""
        self.bad += 1
        return None

    def succeeded(self, at: float, latency: float | None) -> None:
        """Learn of a success."""
        self.good += 1
        if latency is not None:
            self.seconds += latency
            self.timed += 1

    def reset(self) -> None:
        """Forget everything."""
        self.good: int = 0
        self.bad: int = 0
        self.seconds: float = 0.0
        self.timed: int = 0

    def report(self) -> dict[str, float]:
        """Return numbers for the snapshot."""
        return {"interval_failures": self.bad, "interval_successes": self.good}

    def take(self) -> Sample:
        """Return the interval's counts and begin the next interval."""
        sample = Sample(self.good, self.bad, self.seconds, self.timed)
        self.reset()
        return sample
