"""What goes wrong with a machine, from when to when.

=================  =============================================================  =============
kind               what happens to a request that arrives meanwhile               numbers
=================  =============================================================  =============
slow               it is ``factor`` times the work                                factor
intermittent       the same for a share ``share`` of them, by chance              factor, share
fail               it gets an error after ``after`` seconds, and costs nothing    after
hang               the same; another name for another ``after``                   after
=================  =============================================================  =============

A lost region is ``fail`` or ``hang`` on all its machines at once.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from balancers import Outcome
from balancers.simulation.models.llm import LlmServer
from balancers.simulation.servers import Reply, Server

__all__ = ["KINDS", "Fault", "FaultyServer"]

KINDS = ("slow", "intermittent", "fail", "hang")


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of one machine.

    Attributes:
        kind: One of ``KINDS``.
        begin: Seconds of simulated time.
        end: The first moment it is over.
        factor: How much more work, > 0.
        share: Of requests, 0..1.
        after: Seconds until the error, ≥ 0.
    """

    kind: str
    begin: float
    end: float = inf
    factor: float = 10.0
    share: float = 1.0
    after: float = 0.001

    def __post_init__(self) -> None:
        """Check it.

        Raises:
            ValueError: For an unknown kind or a number out of range.
        """
        if self.kind not in KINDS:
            raise ValueError(f"unknown fault {self.kind!r}; known: {', '.join(KINDS)}")
        if not 0.0 <= self.begin <= self.end:
            raise ValueError(f"a fault ends after it begins, not {self.begin} … {self.end}")
        if not (0.0 < self.factor < inf and 0.0 <= self.share <= 1.0 and 0.0 <= self.after < inf):
            raise ValueError(f"a fault's numbers are out of range: {self}")


class FaultyServer:
    """A machine with faults; between them it is the one inside.

    Attributes:
        wasted: Requests that arrived while a fault was on.

    Args:
        inner: The machine.
        faults: In any order; where several are on, the first of them.
        rng: For the intermittent ones.
    """

    __slots__ = ("_faults", "_inner", "_rng", "picks", "wasted")

    def __init__(self, inner: Server, faults: Sequence[Fault], rng: random.Random) -> None:
        self._inner = inner
        self._faults = tuple(faults)
        self._rng = rng
        self.picks: int = 0
        self.wasted: int = 0

    @property
    def busy(self) -> float:
        """Seconds of work received."""
        return self._inner.busy

    @property
    def inner(self) -> Server:
        """The machine without its faults."""
        return self._inner

    def active(self, now: float) -> Fault | None:
        """Return the fault that is on."""
        for fault in self._faults:
            if fault.begin <= now < fault.end:
                return fault
        return None

    def serve(self, now: float, demand: float, key: Any, ticket: int) -> Reply | None:
        """Take a request; see ``Server.serve``."""
        self.picks += 1
        fault = self.active(now)
        if fault is None:
            return self._inner.serve(now, demand, key, ticket)
        self.wasted += 1
        if fault.kind in ("fail", "hang"):
            return now + fault.after, Outcome.FAILURE
        if fault.kind == "intermittent" and self._rng.random() >= fault.share:
            return self._inner.serve(now, demand, key, ticket)
        if isinstance(self._inner, LlmServer):
            self._inner.serve_slowed(now, fault.factor, key, ticket)
            return None
        return self._inner.serve(now, demand * fault.factor, key, ticket)

    def outlook(self, now: float, present: int) -> float:
        """Return the expected delay, in mean service times; infinite while it fails."""
        outlook: float = getattr(self._inner, "outlook", lambda now, present: present + 1.0)(
            now, present
        )
        fault = self.active(now)
        if fault is None:
            return outlook
        if fault.kind in ("fail", "hang"):
            return inf
        share = fault.share if fault.kind == "intermittent" else 1.0
        return outlook * (1.0 + share * (fault.factor - 1.0))
