"""Stand-ins for what a balancer is given: a clock, a source of chance, an observer."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any, Literal, Self

from balancers.protocol import Delta, Outcome, Reason

if TYPE_CHECKING:
    from balancers.core.lease import Pick

__all__ = ["Event", "ManualClock", "RecordingObserver", "ScriptedRandom"]


class ManualClock:
    """A clock that stands still until it is told to go on.

    Call it to read it, as a balancer does::

        clock = ManualClock()
        balancer = RoundRobin(["a", "b"], clock=clock)
        clock.advance(1.5)

    Args:
        start: The first reading, in seconds.
    """

    __slots__ = ("_now",)

    def __init__(self, start: float = 0.0) -> None:
        self._now = float(start)

    @property
    def now(self) -> float:
        """The reading, in seconds."""
        return self._now

    def __call__(self) -> float:
        """Return the reading, in seconds."""
        return self._now

    def advance(self, seconds: float) -> float:
        """Go on by ``seconds`` and return the new reading.

        Raises:
            ValueError: If ``seconds`` is negative, NaN or infinite: a clock of ours never
                goes back.
        """
        if not 0.0 <= seconds < math.inf:
            raise ValueError(f"a clock advances by a finite number ≥ 0, not {seconds!r}")
        self._now += seconds
        return self._now

    def __repr__(self) -> str:
        return f"ManualClock({self._now!r})"


class ScriptedRandom(Random):
    """A ``random.Random`` whose draws are given beforehand.

    ``random()`` returns the numbers of the script in turn. ``randrange(n)``, ``choice``,
    ``sample`` and ``shuffle`` are worked out from ``random()``, so that a draw x chooses
    position ⌊x·n⌋. ``seed`` does nothing. A copy goes on from the same place of the script.

    Args:
        script: Numbers in [0, 1).

    Raises:
        ValueError: If a number is out of range.
    """

    def __new__(cls, script: Iterable[float]) -> Self:
        """Keep the script from ``Random``, which would take it for a seed."""
        return super().__new__(cls)

    def __init__(self, script: Iterable[float]) -> None:
        self._script = tuple(script)
        self._at = 0
        for draw in self._script:
            if not 0.0 <= draw < 1.0:
                raise ValueError(f"a draw is in [0, 1), not {draw!r}")
        super().__init__()

    @property
    def drawn(self) -> int:
        """How many numbers of the script were used."""
        return self._at

    def random(self) -> float:
        """Return the next number of the script.

        Raises:
            LookupError: If the script has ended.
        """
        if self._at >= len(self._script):
            raise LookupError(f"the script of {len(self._script)} draw(s) has ended")
        self._at += 1
        return self._script[self._at - 1]

    def getrandbits(self, k: int, /) -> int:
        """Return the first ``k`` bits of the next number; 53 at most are from the script."""
        return int(self.random() * (1 << k))

    def _randbelow(self, n: int) -> int:
        # Random's own would draw bits until they are below n: a script could not tell how often.
        return int(self.random() * n)

    def seed(self, a: Any = None, version: int = 2) -> None:
        """Do nothing: the script stands."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _resumed, (self._script, self._at)


def _resumed(script: tuple[float, ...], at: int) -> ScriptedRandom:
    copied = ScriptedRandom(script)
    copied._at = at
    return copied


@dataclass(frozen=True, slots=True)
class Event:
    """One call of an observer. It holds no lease, so that a dropped one is still noticed.

    Attributes:
        kind: Which call.
        id: Id of the endpoint; "" for an update.
        reason: Of the pick; None for an update.
        outcome: Of the settlement, else None.
        latency: Of the settlement in seconds, else None.
        delta: Of the update, else None.
    """

    kind: Literal["pick", "settle", "update"]
    id: str = ""
    reason: Reason | None = None
    outcome: Outcome | None = None
    latency: float | None = None
    delta: Delta | None = None


class RecordingObserver:
    """An ``Observer`` that writes down what it is told, in order.

    Attributes:
        events: Every call so far; clear it as you like.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []

    def on_pick(self, pick: Pick) -> None:
        """Record a pick."""
        self.events.append(Event("pick", pick.endpoint.id, pick.reason))

    def on_settle(self, pick: Pick, outcome: Outcome, latency: float | None) -> None:
        """Record a settlement."""
        self.events.append(Event("settle", pick.endpoint.id, pick.reason, outcome, latency))

    def on_update(self, delta: Delta) -> None:
        """Record an update."""
        self.events.append(Event("update", delta=delta))

    @property
    def picks(self) -> list[str]:
        """Ids picked, in order."""
        return [event.id for event in self.events if event.kind == "pick"]

    @property
    def outcomes(self) -> list[tuple[str, Outcome]]:
        """Ids and outcomes settled, in order."""
        return [(event.id, event.outcome) for event in self.events if event.outcome is not None]

    @property
    def deltas(self) -> list[Delta]:
        """Updates that changed something, in order."""
        return [event.delta for event in self.events if event.delta is not None]
