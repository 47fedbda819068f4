"""Averages of latency that forget with time, read without being changed.

Two rules hold for the classes here. Reading projects: what a reader sees depends on the samples and
on the time of reading, never on who has read before. (Averages that decay when they are read
weigh the next sample by the time since the last *read*, so that frequent readers make them
ignore it.) And an update replaces the state by one assignment, so that readers need no lock; of two
updates at the very same moment, in two threads, one may be lost.
"""

from __future__ import annotations

import math
from math import exp, log

__all__ = ["Ewma", "FadingEwma", "PeakEwmaCell"]

LEAST = 5e-324
"""The least positive float: what a latency of 0 counts as where its logarithm is needed."""


class Ewma:
    """The mean of samples, each older one weighing exp(-age/decay) of a newer one.

    Between samples that come at a steady pace much quicker than ``decay`` it is the plain mean of
    the last few ``decay``; the first sample sets it.

    Args:
        decay: Time constant in seconds, finite and > 0.

    Raises:
        ValueError: If ``decay`` is out of range.
    """

    __slots__ = ("_state", "decay")

    def __init__(self, decay: float = 10.0) -> None:
        self.decay: float = checked_decay(decay)
        self._state: tuple[float, float] | None = None

    def observe(self, sample: float, now: float) -> None:
        """Take a sample of time ``now``, seconds; time going backwards counts as standing. O(1)."""
        state = self._state
        if state is None:
            self._state = sample, now
            return
        value, stamp = state
        keep = exp(min(0.0, stamp - now) / self.decay)
        self._state = value * keep + sample * (1.0 - keep), max(stamp, now)

    @property
    def value(self) -> float | None:
        """The mean, or None before the first sample. It does not change with time alone."""
        state = self._state
        return None if state is None else state[0]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.value!r}>"


class FadingEwma:
    """The plain mean over time, fading while nothing is heard.

    With v the value after the last sample, dt the seconds since, and d = exp(-dt/decay):

    * a sample x makes the value v·d + x·(1 - d); the first one sets it;
    * read at any time, it is v·d: an idle endpoint looks better and better, until it is tried.

    All readings of estimates with one ``decay`` fade by the same factor, so that their order does
    not change between samples: ``rank`` is in that order, and has no time in it.

    Args:
        decay: Time constant in seconds, finite and > 0.

    Attributes:
        rank: ``log(read(t)) + t/decay``, whatever the time t; infinity before the first sample.

    Raises:
        ValueError: If ``decay`` is out of range.
    """

    __slots__ = ("_state", "decay", "rank")

    def __init__(self, decay: float = 10.0) -> None:
        self.decay: float = checked_decay(decay)
        self.rank: float = math.inf
        self._state: tuple[float, float] | None = None

    @property
    def known(self) -> bool:
        """Whether there was a sample."""
        return self._state is not None

    def observe(self, sample: float, now: float) -> None:
        """Take a sample of time ``now``, seconds; time going backwards counts as standing. O(1)."""
        state = self._state
        if state is not None:
            value, stamp = state
            now = max(stamp, now)
            keep = exp((stamp - now) / self.decay)
            sample = value * keep + sample * (1.0 - keep)
        self._set(sample, now)

    def observe_peak(self, sample: float, now: float) -> None:
        """Take a sample that may make the value worse, but not better than v·d. O(1)."""
        state = self._state
        if state is not None:
            value, stamp = state
            now = max(stamp, now)
            if sample < value:
                keep = exp((stamp - now) / self.decay)
                sample = value * keep + sample * (1.0 - keep)
        self._set(sample, now)

    def _set(self, value: float, now: float) -> None:
        self._state = value, now
        self.rank = log(value or LEAST) + now / self.decay

    def read(self, now: float) -> float | None:
        """Return the value at time ``now``, or None before the first sample. O(1)."""
        state = self._state
        if state is None:
            return None
        value, stamp = state
        return value * exp(min(0.0, stamp - now) / self.decay)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._state!r}>"


class PeakEwmaCell(FadingEwma):
    """Finagle's peak rule: jumps to whatever is worse, decays towards whatever is better.

    With v the value after the last sample, dt the seconds since, and d = exp(-dt/decay):

    * a sample x ≥ v makes the value x;
    * a sample x < v makes it v·d + x·(1 - d);
    * read at any time, it is v·d: an idle endpoint looks better and better, until it is tried.

    So it is never below the last sample at its time, nor below any sample so decayed, and it is
    monotone in every sample.
    """

    __slots__ = ()

    def observe(self, sample: float, now: float) -> None:
        """Take a sample of time ``now``, seconds; time going backwards counts as standing. O(1)."""
        self.observe_peak(sample, now)


def checked_decay(decay: float) -> float:
    """Return the time constant as a float, or raise for what is none."""
    if isinstance(decay, bool) or not isinstance(decay, int | float):
        raise TypeError(f"decay is a number of seconds, not {decay!r}")
    if not 0.0 < decay < math.inf:
        raise ValueError(f"decay must be finite and > 0, not {decay!r}")
    return float(decay)
