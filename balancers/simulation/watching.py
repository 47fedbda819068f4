"""What is seen of a run besides its numbers: where keys go, and how long trouble lasts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from balancers import NoEligibleEndpointError, NoEndpointError
from balancers.simulation.engine import Run
from balancers.simulation.keys import Prompt, adapter, session
from balancers.simulation.timeline import Slice

__all__ = ["KeyWatch", "MoveWatch", "recovery"]

WATCHED = 4096
SAMPLE = 100
CHANGES = 4
LEVEL = 0.97
"""What recovery looks at: high enough to see one server of twenty, low enough to be no accident."""


class KeyWatch:
    """How often a key goes where it went the time before.

    The first ``WATCHED`` different keys are followed, so memory is flat.

    Attributes:
        asked: Requests of a followed key after its first.
        kept: Those that went where the one before went.
    """

    __slots__ = ("_last", "asked", "kept")

    def __init__(self) -> None:
        self._last: dict[Any, str | None] = {}
        self.asked: int = 0
        self.kept: int = 0

    def __call__(self, keys: Sequence[Any], chosen: Sequence[str | None]) -> None:
        """Note where a batch went; see ``Run``'s ``watch``."""
        last = self._last
        prompts = bool(keys) and isinstance(keys[0], Prompt)
        for key, target in zip(map(session, keys) if prompts else keys, chosen, strict=True):
            if key in last:
                self.asked += 1
                self.kept += last[key] == target
                last[key] = target
            elif len(last) < WATCHED:
                last[key] = target

    @property
    def affinity(self) -> float | None:
        """Share of requests that went where their key went before, 0..1; None for no such."""
        return self.kept / self.asked if self.asked else None


class MoveWatch:
    """What part of a sample of keys a change of membership moves.

    Asked by ``explain``, which moves nothing; of the first ``CHANGES`` changes, since asking is
    slow.

    Args:
        run: The run.
        kind: The policy's kind of key.
        keys: The sample, as the workload made them.
    """

    __slots__ = ("_adapt", "_keys", "_run", "moves")

    def __init__(self, run: Run, kind: str, keys: Sequence[Any]) -> None:
        self._run = run
        self._adapt = adapter(kind)
        self._keys = keys
        self.moves: list[float] = []

    def __call__(self, change: Callable[[], None]) -> None:
        """Make a change and compare before and after."""
        if len(self.moves) >= CHANGES or not self._keys:
            change()
            return
        before = self._owners()
        change()
        after = self._owners()
        moved = sum(a != b for a, b in zip(before, after, strict=True))
        self.moves.append(moved / len(self._keys))

    def _owners(self) -> list[str | None]:
        keys = self._adapt(self._keys) if self._adapt else self._keys
        found: list[str | None] = []
        for key in keys:
            try:
                chosen = self._run.balancer.explain(key).chosen
            except (NoEligibleEndpointError, NoEndpointError):
                chosen = None
            found.append(chosen.id if chosen else None)
        return found

    @property
    def moved(self) -> float | None:
        """Mean share of keys that a change moved, 0..1; None without a change."""
        return sum(self.moves) / len(self.moves) if self.moves else None


def recovery(slices: Sequence[Slice], width: float, disturbed: float) -> float | None:
    """Return the seconds from a disturbance until things are, for good, as they were before.

    A slice is as before if its p97 is at most half above the highest one before the
    disturbance, and its share of errors at most one point above. The end of the run ends the
    count: who never recovers gets the time that was left.

    Args:
        slices: The run.
        width: Seconds of a slice.
        disturbed: When it began, seconds.

    Returns:
        Seconds, a multiple of ``width``; None if there was too little before to compare with.
    """
    first = int(disturbed / width)
    before = [part for part in slices[1:first] if part.latencies.count]  # the first one fills up
    if len(before) < 3:
        return None
    slow = 1.5 * max(part.latencies.quantile(LEVEL) or 0.0 for part in before)
    bad = 0.01 + max(part.lost / part.arrived for part in before)
    wrong = [
        index
        for index in range(first, len(slices))
        if slices[index].arrived
        and (
            (slices[index].latencies.quantile(LEVEL) or 0.0) > slow
            or slices[index].lost / slices[index].arrived > bad
        )
    ]
    return (wrong[-1] + 1) * width - disturbed if wrong else 0.0
