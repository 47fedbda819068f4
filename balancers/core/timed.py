"""Leases whose latency the policy itself learns from, at little more than the plain lease's price."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, TypeAlias

from balancers.core.lease import Pick, TrackedPick
from balancers.core.policy import Policy
from balancers.hashing import Key
from balancers.protocol import Outcome

if TYPE_CHECKING:
    from types import TracebackType

    from balancers.core.ledger import Cell
    from balancers.core.view import View

__all__ = ["TimedPick", "TimedPolicy", "Timely"]

Learn: TypeAlias = Callable[[Pick, Outcome, float | None, float | None, float | None], object]

Timely: TypeAlias = "Callable[[float], Cell | None]"
"""Chooses, given the clock's reading; None where the long way is needed."""


class TimedPick(Pick):
    """A lease that one policy learns from, and the health registry if there is one.

    What ``TrackedPick`` does for any number of hooks, this does for the usual one.
    """

    __slots__ = ("_latency", "_learn", "_started")

    _learn: Learn
    _started: float
    _latency: float

    def responded(self) -> None:
        """Tell that the first byte came; see ``Pick.responded``."""
        cell = self._cell
        if cell.discharge(self._serial):
            self._latency = max(0.0, cell.ledger.clock() - self._started)
            if cell.tell is not None:
                cell.tell(self)

    def _settle(
        self,
        outcome: Outcome,
        latency: float | None,
        load: float | None,
        retry_after: float | None,
    ) -> bool:
        if not self._release():
            return False
        cell = self._cell
        if latency is None:
            latency = getattr(self, "_latency", None)  # set where the first byte came
        if latency is None:
            latency = max(0.0, cell.ledger.clock() - self._started)
        self._learn(self, outcome, latency, load, retry_after)
        if cell.entry is not None:
            cell.entry.settle(outcome, latency, retry_after, self._started)
        return True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        outcome = Outcome.SUCCESS
        if error is not None:
            outcome = self._cell.ledger.classified(error)
        self._settle(outcome, None, None, None)


class TimedPolicy(Policy):
    """A policy that learns from every lease how long it took.

    A subclass overrides ``_learn``, and ``_timely`` for a quick way to choose.
    """

    _timely_chooser: Timely | None = None

    @abstractmethod
    def _timely(self, view: View) -> Timely | None:
        """Return the quickest way to a choice from this view, or None; like ``_shortcut``."""

    def pick(
        self, key: Key | None = None, *, exclude: Collection[str] = (), cost: float = 1.0
    ) -> Pick:
        """Lease one endpoint; see ``Balancer.pick``."""
        choose = self._timely_chooser
        if choose is None or key is not None or exclude or cost != 1.0 or self._abandoned:
            return self._pick(key, exclude, cost)
        now = self._ledger.clock()
        registry = self._registry
        if registry is not None and now >= registry.deadline:
            return self._pick(key, exclude, cost)
        cell = choose(now)
        if cell is None:
            return self._pick(key, exclude, cost)
        pick = TimedPick()
        pick.endpoint = cell.endpoint
        pick._learn = self._learned
        pick._started = now
        pick._cell = cell
        pick._serial = serial = next(cell.serials)
        cell.open.add(serial)
        return pick

    def _publish(self, view: View) -> None:
        super()._publish(view)
        self._learned: Learn = self._learn  # bound once, not at every pick
        plain = self._is_plain(view)
        self._timely_chooser = self._timely(view) if plain else None

    def _restart(self) -> None:
        super()._restart()
        self._timely_chooser = None
