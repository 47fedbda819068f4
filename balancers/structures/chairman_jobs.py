"""The jobs of the chairman rule as integers: releases and due times that compare exactly.

Number the steps t = 1, 2, ... and let D = 1/(2n-2). An id with share p of the weights and lag l
before step 1 has jobs number c = 0, 1, ... Job c is *released* at the first t with
``l + p*t - c >= D``, and *due* at the real time ``x = (c + 1 - D - l)/p``: if it is undone after a
step beyond x, the lag is above 1 - D.

An id has one pending job at a time, held as one integer, its *key*: x in fixed point with k
fraction bits, rounded up, plus 2**64 rounding units for each place of the id's position, then the
position once more in low bits of its own. The next job's key is the key plus the id's *stride*; the
next job's release is the key plus the id's *gap*, shifted right. Nothing is divided on the way.

Why that is exact. Lags are counted in 1/unit; unit is a multiple of (2n-2) times the sum of the
whole weights, so D * unit and every rate a = p * unit are integers, and x is a multiple of 1/a.
Hence two different due times, of rates a and b, are at least 1/(a*b) apart, and x is at least 1/a
below the next step if it is not a step itself. Each job adds less than one rounding unit of 2**-k,
so for the first 2**64 jobs rounding and position together stay below (n+1) * 2**(64-k), and k is so
large that this is less than a quarter of 1/(a*b) for any a and b. So different due times compare as
they should, equal ones compare by position, and a shift to the right gives the exact integer part.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["ChairmanJobs", "lags_at_phase", "twice_the_others"]

JOB_BITS = 64


class ChairmanJobs:
    """Fixed weights, the lags before step 1, and the arithmetic of jobs that follows from both.

    Args:
        ids: Ids of positive weight, in order; an id's index is its position.
        whole: Their weights as positive integers.
        lags: Their lags before step 1, in ``1/unit``.
        unit: A multiple of ``twice_the_others(n) * sum(whole)``.

    Runtime complexity: O(n).
    """

    __slots__ = (
        "first",
        "ids",
        "lags",
        "margin",
        "mask",
        "rates",
        "releases",
        "rows",
        "shift",
        "unit",
        "whole",
    )

    def __init__(
        self, ids: Sequence[str], whole: Sequence[int], lags: Sequence[int], unit: int
    ) -> None:
        per_weight = unit // max(1, sum(whole))
        rates = [per_weight * weight for weight in whole]
        margin = unit // twice_the_others(len(ids))
        position_bits = len(ids).bit_length()
        fraction_bits = JOB_BITS + 2 + position_bits + 2 * max(rates, default=0).bit_length()
        self.ids: Sequence[str] = ids
        self.whole: Sequence[int] = whole
        self.lags: Sequence[int] = lags
        self.unit: int = unit
        self.margin: int = margin  # D
        self.rates: list[int] = rates  # what each lag gains in a step
        self.shift: int = fraction_bits + position_bits
        self.mask: int = (1 << position_bits) - 1
        self.first: list[int] = []  # the key of job 0, by position
        self.releases: list[int] = []  # the release of job 0, by position; may lie in the past
        self.rows: list[tuple[int, int, str]] = []  # (gap, stride, id), by position
        steps: dict[int, tuple[int, int]] = {}  # equal weights share theirs
        for position, (id_, rate, lag) in enumerate(zip(ids, rates, lags, strict=True)):
            step = steps.get(rate)
            if step is None:
                stride = _ceil_div(unit << fraction_bits, rate)
                # A job is released 2D/p after its forerunner was due, at the first step from then.
                gap = _ceil_div(2 * margin + rate - 1 << fraction_bits, rate)
                steps[rate] = step = (gap << position_bits, stride << position_bits)
            due = _ceil_div(unit - margin - lag << fraction_bits, rate) + (position << JOB_BITS)
            self.first.append(due << position_bits | position)
            self.releases.append(_ceil_div(margin - lag, rate))
            self.rows.append((*step, id_))

    def key(self, position: int, lag: int, finer: int = 0) -> int:
        """Return the key of job 0 of an id whose lag before step 1 is ``lag``.

        Args:
            position: That of the id.
            lag: In ``1/unit``, over ``2**finer``.
            finer: >= 0.
        """
        position_bits = self.mask.bit_length()
        left = (self.unit - self.margin << finer) - lag << self.shift - position_bits
        due = _ceil_div(left, self.rates[position] << finer) + (position << JOB_BITS)
        return due << position_bits | position

    def done(self, key: int) -> int:
        """Return how many jobs its id had done before the job of ``key``."""
        position = key & self.mask
        return (key - self.first[position]) // self.rows[position][1]

    def offset(self, key: int) -> int:
        """Return the lag, in ``1/unit``, less what the rate adds with time, while ``key`` pends."""
        return self.lags[key & self.mask] - self.done(key) * self.unit


def lags_at_phase(whole: Sequence[int], unit: int, phase: int) -> list[int]:
    """Return the lags, in ``1/unit``, of the schedule that started from lags 0 ``phase`` steps ago.

    With share p, jobs j = 1, 2, ... with ``j < phase*p + D`` are done, because they had to be. The
    others of the ``phase`` picks went to released jobs, ``j <= phase*p - D + 1``, those due first.
    An id has at most one such job, and there are enough of them because a schedule that meets
    all due times exists (Tijdeman).

    Runtime complexity: O(n log n), whatever the phase.
    """
    ids = [""] * len(whole)
    margin = unit // twice_the_others(len(whole))
    per_weight = unit // sum(whole) * phase
    entitled = [per_weight * weight for weight in whole]
    done = [_ceil_div(due + margin, unit) - 1 for due in entitled]
    lags = [due - jobs * unit for due, jobs in zip(entitled, done, strict=True)]
    jobs_left = ChairmanJobs(ids, whole, lags, unit)
    released = [key for key, lag in zip(jobs_left.first, lags, strict=True) if lag >= margin]
    for key in sorted(released)[: phase - sum(done)]:
        lags[key & jobs_left.mask] -= unit
    return lags


def twice_the_others(n: int) -> int:
    """Return 2n - 2, which is 1/D for n >= 2 ids.

    A single id gets 2, as if D = 1/2: it is then released and due at every step.
    """
    return max(2, 2 * n - 2)


def _ceil_div(top: int, bottom: int) -> int:
    return -(-top // bottom)
