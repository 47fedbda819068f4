"""A recorded trace as a workload: which request, how far apart, how much work.

The file is read twice, once to survey it and once to play it, and never held. The rules that turn
log lines into arrivals:

1. **Times are spread.** A log that counts whole seconds piles requests up at their start. Each
   time gets a uniform part of ``spread`` seconds added, from a seeded stream.
2. **Order is restored** in a window of ``WINDOW`` requests by default: a log is written as
   requests end, not as they arrive. A request that comes later than that takes the time of the
   one before it, and is counted in ``late``.
3. **Silence is cut.** A trace sampled one minute an hour, or a site asleep at night, offers no
   load most of the time and all of it at once. A gap longer than ``LONG_GAP`` times the median
   gap is cut to about that (Poisson arrivals have one such gap in a million). ``keep_gaps``
   turns this off.
4. **Time is scaled** so that arrivals have the mean ``rate`` asked for. With ``speed`` instead,
   the recorded time runs that many times faster and rule 3 does not apply.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappushpop
from itertools import islice
from pathlib import Path, PurePath
from typing import Any

from balancers.simulation.engine import Batch
from balancers.simulation.readers import BadLines, Parse, TraceError, read
from balancers.simulation.service import ServiceLaw
from balancers.simulation.workload import BATCH, stream

__all__ = ["LONG_GAP", "WINDOW", "Survey", "TraceFile", "TraceWorkload"]

WINDOW = 16_384
"""Requests over which order is restored; about 5 MB."""

LONG_GAP = 20.0
"""A gap this many times the median gap is silence."""

_Arrival = tuple[float, int, Any, float]  # time, number in the file, key, size


@dataclass(frozen=True, slots=True)
class TraceFile:
    """A trace and how to read it.

    Attributes:
        path: The file.
        parse: Reader of one line.
        format: Name of the format, for the reader of the result.
        spread: Resolution of the times in seconds, ≥ 0: rule 1.
        limit: At most this many requests, from the beginning; None for all.
        seed: Of the spread.
        window: Over how many requests order is restored, ≥ 1.
        name: What to call the trace; the path if empty.
    """

    path: Path
    parse: Parse
    format: str
    spread: float = 0.0
    limit: int | None = None
    seed: int = 0
    name: str = ""
    window: int = WINDOW

    def arrivals(self, bad: BadLines, late: list[int], limit: int | None) -> Iterator[_Arrival]:
        """Yield the requests by rules 1 and 2, times rising."""
        records = islice(read(self.path, self.parse, bad), limit)
        spread, jitter = self.spread, stream(self.seed, "spread").random
        numbered = (
            (time + spread * jitter(), number, key, size)
            for number, (time, key, size) in enumerate(records)
        )
        window = list(islice(numbered, self.window))
        heapify(window)
        last = -math.inf
        for arrival in numbered:
            first = heappushpop(window, arrival)
            if first[0] < last:
                late[0] += 1
                first = (last, *first[1:])
            last = first[0]
            yield first
        while window:
            yield heappop(window)

    def survey(self, progress: Callable[[int], object] | None = None) -> Survey:
        """Read the trace once and say what is in it.

        Args:
            progress: Called now and then with the number of requests read so far.

        Raises:
            TraceError: If it cannot be read, or holds no request.
        """
        bad, late = BadLines(), [0]
        gaps = _Gaps()
        count, sizes, first, last = 0, 0.0, 0.0, 0.0
        for time, _, _, size in self.arrivals(bad, late, self.limit):
            if count:
                gaps.add(time - last)
            else:
                first = time
            last = time
            count += 1
            sizes += size
            if progress is not None and not count % 10_000:
                progress(count)
        if not count:
            raise TraceError(
                f"no request could be read from {self.name or self.path}"
                + (f" as {self.format}: {bad}" if bad.count else ": it is empty")
            )
        return Survey(count, last - first, sizes / count, late[0], bad, gaps)


@dataclass(frozen=True, slots=True)
class Survey:
    """What a trace holds.

    Attributes:
        count: Requests.
        span: Seconds from the first to the last.
        mean_size: Mean recorded size.
        late: Requests too far out of order to be put right.
        bad: Lines that could not be read.
    """

    count: int
    span: float
    mean_size: float
    late: int
    bad: BadLines
    gaps: _Gaps


@dataclass(slots=True)
class _Gaps:
    """Gaps between arrivals in buckets a sixteenth of an octave wide, each with its exact sum."""

    buckets: dict[int, list[float]] = field(default_factory=dict)

    def add(self, gap: float) -> None:
        if gap > 0.0:  # requests at one instant leave nothing to cut, nor say how long gaps are
            bucket = self.buckets.setdefault(math.floor(16.0 * math.log2(gap)), [0.0, 0.0])
            bucket[0] += 1.0
            bucket[1] += gap

    def cut(self) -> tuple[float, float]:
        """Return where gaps are cut, and the sum of all gaps so cut, in seconds.

        The place is infinity if no gap is that long, else the upper edge of the bucket of
        ``LONG_GAP`` times the median, so that the sum is exact.
        """
        middle = sum(bucket[0] for bucket in self.buckets.values()) / 2.0
        for index in sorted(self.buckets):
            middle -= self.buckets[index][0]
            if middle <= 0.0:
                edge = index + math.ceil(16.0 * math.log2(LONG_GAP))
                if max(self.buckets) <= edge:
                    break  # nothing is that long
                longest = 2.0 ** ((edge + 1) / 16.0)
                return longest, math.fsum(
                    total if index <= edge else number * longest
                    for index, (number, total) in self.buckets.items()
                )
        return math.inf, math.fsum(total for _, total in self.buckets.values())


class TraceWorkload:
    """A trace, scaled to a rate or replayed at a speed.

    Args:
        file: The trace.
        survey: What ``file.survey()`` said.
        service: Law of demands.
        rate: Mean arrivals per second wanted, > 0; or
        speed: how many times faster than recorded, > 0. Exactly one of the two.
        keep_gaps: Leave long gaps as they are (rule 3).

    Raises:
        TraceError: If no rate can be derived because all requests carry one time, or the law
            follows sizes and the trace has none.
        ValueError: If not exactly one of ``rate`` and ``speed`` is given, or it is out of range.
    """

    __slots__ = ("_cut", "_scale", "count", "file", "rate", "service", "speed", "survey")

    def __init__(
        self,
        file: TraceFile,
        survey: Survey,
        service: ServiceLaw,
        *,
        rate: float | None = None,
        speed: float | None = None,
        keep_gaps: bool = False,
    ) -> None:
        if (rate is None) == (speed is None):
            raise ValueError("give exactly one of rate and speed")
        given = rate if speed is None else speed
        if given is None or not (math.isfinite(given) and given > 0.0):
            raise ValueError(f"rate and speed must be finite and > 0, not {given}")
        if service.needs_sizes and not survey.mean_size > 0.0:
            raise TraceError(
                f"the service law {service.name!r} needs sizes, and the trace records none"
            )
        cut, span = survey.gaps.cut()
        if keep_gaps or speed is not None:
            cut, span = math.inf, survey.span
        if survey.count > 1 and not span > 0.0:
            raise TraceError(
                f"all {survey.count:,} requests carry the same time, so no rate can be derived; "
                "--spread SECONDS spreads them"
            )
        self.file: TraceFile = file
        self.survey: Survey = survey
        self.service: ServiceLaw = service
        self.count: int = survey.count
        steps = max(1, survey.count - 1)
        if rate is not None:
            self._scale = steps / (span * rate) if span else 1.0
        else:
            self._scale = 1.0 / given
        self._cut = cut
        self.speed: float = 1.0 / self._scale
        self.rate: float = steps / (span * self._scale) if span else given

    def batches(self) -> Iterator[Batch]:
        """Yield the arrivals; see ``Workload.batches``."""
        rng: random.Random = stream(self.file.seed, "demands")
        mean_size = self.survey.mean_size or 1.0
        known = self.survey.mean_size > 0.0
        cut, scale = self._cut, self._scale
        # A log that grows meanwhile must not change the run: no more requests than surveyed.
        arrivals = self.file.arrivals(BadLines(), [0], self.count)
        now, last = 0.0, math.nan
        while piece := list(islice(arrivals, BATCH)):
            times: list[float] = []
            for time, _, _, _ in piece:
                gap = time - last  # not a number for the first, which is at 0
                if gap > 0.0:
                    now += scale * min(gap, cut)
                last = time
                times.append(now)
            sizes = [size / mean_size if known else 1.0 for _, _, _, size in piece]
            yield Batch(times, [key for _, _, key, _ in piece], self.service.draw(rng, sizes))

    def facts(self) -> dict[str, object]:
        """Return the parameters; see ``Workload.facts``."""
        file, survey = self.file, self.survey
        return {
            "source": file.name or str(file.path),
            "format": file.format,
            "requests": self.count,
            "bad_lines": survey.bad.count,
            "late": survey.late,
            "spread": file.spread,
            "recorded_span": survey.span,
            "gaps_cut_to": None if math.isinf(self._cut) else self._cut,
            "speed": self.speed,
            "rate": self.rate,
            "service": str(self.service),
            "seed": file.seed,
        }

    def title(self) -> str:
        """Return what this is, in one phrase."""
        name = self.file.name or str(self.file.path)
        return f"{self.count:,} requests of {PurePath(name).name}"

    def note(self) -> str:
        """Return what was done to its times, in one phrase."""
        cut = "" if math.isinf(self._cut) else f", silences cut to {self._cut:.3g} s before that"
        return f"replayed {self.speed:,.3g} times as fast as recorded{cut}"
