"""Interleaved timing: every contender runs in every round, so that drift hits all alike.

A machine's speed wanders by tens of percent within seconds. Timing one side and then the
other measures the wander; here the sides take turns in short batches, forwards and
backwards, and the best batch of each side is kept: the one least disturbed.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from statistics import median
from typing import Any

__all__ = ["CLOCK", "Batch", "Timing", "contest", "loop", "sized", "table"]

CLOCK = (
    time.thread_time if time.get_clock_info("thread_time").resolution < 1e-6 else time.perf_counter
)
"""Seconds of this thread's work, where the system can tell: a busy neighbour then costs nothing."""

AGREEMENT = 0.05
"""How far the best and the median ratio may be apart, relatively."""

Batch = Callable[[Callable[[], float]], float]
"""Runs one batch; given a clock, returns the seconds one step took."""


@dataclass(frozen=True)
class Timing:
    """What one side of a contest took.

    Attributes:
        best: Seconds a step in the best batch.
        rounds: Seconds a step in each batch.
        floor: Those of the side it is measured against, round by round.
    """

    best: float
    rounds: tuple[float, ...]
    floor: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """The best batch in units of the floor's best batch."""
        return self.best / min(self.floor)

    @property
    def median_ratio(self) -> float:
        """The median over the rounds of the ratio within the round: a check on ``ratio``."""
        return median(mine / base for mine, base in zip(self.rounds, self.floor, strict=True))

    @property
    def settled(self) -> bool:
        """Whether the two ratios agree, so that no burst of speed or noise made the best."""
        return abs(self.ratio / self.median_ratio - 1.0) <= AGREEMENT

    @property
    def nanoseconds(self) -> float:
        """The best batch, in nanoseconds a step."""
        return self.best * 1e9


def loop(step: str, steps: int = 20_000, keys: Sequence[Any] | None = None, **names: Any) -> Batch:
    """Compile a statement into a batch: the loop around it costs what ``for`` costs, no call.

    Args:
        step: A statement; it sees ``key`` and the names given, all of them as locals.
        steps: How often a batch runs it, where no keys are given.
        keys: What ``key`` takes in turn: a batch runs once over all of them.
        names: Values for the names of the statement.

    Returns:
        The batch.
    """
    body = "\n".join("        " + line for line in step.splitlines())
    source = (
        f"def batch(clock, *, feed, count, {', '.join(names)}):\n"
        "    turns = feed()\n"
        "    start = clock()\n"
        "    for key in turns:\n"
        f"{body}\n"
        "    return (clock() - start) / count\n"
    )
    scope: dict[str, Any] = {}
    exec(compile(source, f"<{step}>", "exec"), scope)
    batch = scope["batch"]
    count = steps if keys is None else len(keys)

    def feed() -> Iterable[Any]:
        return repeat(None, steps) if keys is None else keys

    return lambda clock: float(batch(clock, feed=feed, count=count, **names))


def sized(
    make: Callable[[int], Batch],
    *,
    seconds: float = 0.005,
    limit: int = 20_000,
    clock: Callable[[], float] = CLOCK,
) -> Batch:
    """Return ``make(steps)`` with as many steps as take about ``seconds``, at most ``limit``.

    Short batches are what makes interleaving work: drift falls between them, not within.
    """
    steps = 16
    while steps < limit:
        took = make(steps)(clock) * steps
        if took >= seconds / 2:
            return make(max(1, min(limit, round(steps * seconds / took))))
        steps *= 4
    return make(limit)


def contest(
    floor: Batch,
    sides: Mapping[str, Batch],
    *,
    rounds: int = 25,
    patience: int = 8,
    clock: Callable[[], float] = CLOCK,
) -> dict[str, Timing]:
    """Time the sides against the floor, interleaved, and return a timing of each.

    Goes on, up to ``patience`` times as long, until best and median ratios agree: a machine
    may change gear in between, and the best batch of one side then meets no like of the other.

    Args:
        floor: What the sides are measured against.
        sides: Batches by name.
        rounds: How often each runs before the ratios are compared; one round before the first
            is a warm-up and not counted.
        patience: How often to go on for as many rounds.
        clock: Seconds.
    """
    if rounds < 1:
        raise ValueError(f"rounds must be ≥ 1, not {rounds}")
    batches = [floor, *sides.values()]
    taken: list[list[float]] = [[] for _ in batches]
    collecting = gc.isenabled()
    gc.disable()  # a collection would fall on whoever happens to run
    try:
        for batch in batches:
            batch(clock)
        for _ in range(patience):
            _take_turns(batches, taken, rounds, clock)
            base, *others = (tuple(times) for times in taken)
            timings = [Timing(min(times), times, base) for times in others]
            if all(timing.settled for timing in timings):
                break
    finally:
        if collecting:
            gc.enable()
    return dict(zip(sides, timings, strict=True))


def _take_turns(
    batches: Sequence[Batch], taken: list[list[float]], rounds: int, clock: Callable[[], float]
) -> None:
    """Run every batch once a round, forwards and backwards in turn."""
    for turn in range(rounds):
        order = range(len(batches))
        for at in reversed(order) if turn % 2 else order:
            taken[at].append(batches[at](clock))


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, text: int = 1) -> str:
    """Lay rows out as a Markdown table: ``text`` columns to the left, the numbers to the right."""
    lines = [list(head), *(list(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]

    def laid(cells: Sequence[str]) -> str:
        padded = [
            cell.ljust(width) if i < text else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return "| " + " | ".join(padded) + " |"

    marks = ["-" * (width + 1) + ("-" if i < text else ":") for i, width in enumerate(widths)]
    return "\n".join([laid(lines[0]), "|" + "|".join(marks) + "|", *map(laid, lines[1:])])
