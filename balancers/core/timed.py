"""Leases whose latency the policy itself learns from, hardly dearer than the plain ones."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable
from threading import Lock
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar, Unpack

from balancers.core.lease import Pick
from balancers.core.membership import Options
from balancers.core.policy import Policy
from balancers.endpoint import EndpointLike
from balancers.hashing import Key
from balancers.protocol import Outcome, Reason

if TYPE_CHECKING:
    from types import TracebackType

    from balancers.core.lease import TrackedPick
    from balancers.core.ledger import Cell
    from balancers.core.view import View

__all__ = ["BoardPolicy", "TimedPick", "TimedPolicy", "Timely"]

Timely: TypeAlias = "Callable[[float], Cell | None]"
"""Chooses, given the clock's reading; None where the long way is needed."""


class _HasItem(Protocol):
    item: Cell


Holder = TypeVar("Holder", bound=_HasItem)


class TimedPick(Pick):
    """A lease that one policy learns from, and the health registry if there is one.

    What ``TrackedPick`` does for any number of hooks, this does for the usual one.
    """

    __slots__ = ("_latency", "_policy", "_started")

    _policy: TimedPolicy
    _started: float
    _latency: float

    def responded(self) -> None:
        """Tell that the first byte came; see ``Pick.responded``."""
        cell = self._cell
        if cell.discharge(self._serial):
            self._latency = max(0.0, cell.ledger.clock() - self._started)
            if cell.tell is not None:
                cell.tell(cell)
            self._policy._eased(cell)

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
        now = cell.ledger.clock()
        if latency is None:
            latency = getattr(self, "_latency", None)  # set where the first byte came
        if latency is None:
            latency = max(0.0, now - self._started)
        self._policy._learn_at(now, cell, outcome, latency, load, retry_after)
        if cell.entry is not None:
            cell.entry.settle(outcome, latency, retry_after, self._started)
        return True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        cell = self._cell
        if error is not None:
            self._settle(cell.ledger.classified(error), None, None, None)
            return
        calm = cell.calm
        if cell.costly or (calm is None and cell.entry is not None):
            self._settle(Outcome.SUCCESS, None, None, None)
            return
        # _settle, written out for the usual request: nothing has responded before its end, and
        # a success on an endpoint in good standing says nothing new to the registry.
        try:
            cell.open.remove(self._serial)
        except KeyError:
            return
        if cell.after is not None:
            cell.after(self)
        self._serial = -1
        if calm is not None:
            calm.good += 1
        now = cell.ledger.clock()
        latency = now - self._started
        self._policy._learn_at(now, cell, Outcome.SUCCESS, max(0.0, latency), None, None)


class TimedPolicy(Policy):
    """A policy that learns from every lease how long it took.

    A subclass gives ``_learn_at``, and ``_timely`` for a quick way to choose.
    """

    _timely_chooser: Timely | None = None

    @abstractmethod
    def _learn_at(
        self,
        now: float,
        cell: Cell,
        outcome: Outcome,
        latency: float,
        load: float | None,
        retry_after: float | None,
    ) -> None:
        """Learn from a settlement; called once, outside every lock, and must not raise."""

    def _learn(
        self,
        pick: TrackedPick,
        outcome: Outcome,
        latency: float | None,
        load: float | None,
        retry_after: float | None,
    ) -> None:
        if latency is not None:
            now = self._ledger.clock()
            self._learn_at(now, pick._cell, outcome, latency, load, retry_after)

    def _eased(self, cell: Cell) -> None:
        """Take note that a lease has responded: its cost has left the load of the cell."""

    def _lease(self, cell: Cell, cost: float, reason: Reason, now: float | None) -> Pick:
        if type(self)._eased is not TimedPolicy._eased:
            # A tracked lease knows nobody to tell that it has responded; a timed one does.
            cell.watch(self._noted)
        return super()._lease(cell, cost, reason, now)

    def _noted(self, news: Pick | Cell) -> None:
        if not isinstance(news, Pick):  # a lease that ends is learned from
            self._eased(news)

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
        now = self._clock()
        registry = self._registry
        if registry is not None and now >= registry.deadline:
            return self._pick(key, exclude, cost)
        cell = choose(now)
        if cell is None:
            return self._pick(key, exclude, cost)
        pick = TimedPick()
        pick.endpoint = cell.endpoint
        pick._policy = self
        pick._started = now
        pick._cell = cell
        pick._serial = serial = next(cell.serials)
        cell.open.add(serial)
        return pick

    def _outside(
        self, exclude: Collection[str], choose: Callable[[Collection[Cell]], Holder | None]
    ) -> Holder | None:
        """Return what ``choose`` gives when told whom to leave out, or None."""
        cells = self._ledger.cells
        out = dict.fromkeys(cells[name] for name in sorted(cells.keys() & exclude))
        while True:
            found = choose(out.keys())
            if found is None or found.item.endpoint.id not in exclude:
                return found
            # An update is under way: the ledger knows another cell of that id already, or none.
            out[found.item] = None

    def _publish(self, view: View) -> None:
        super()._publish(view)
        plain = self._is_plain(view)
        self._timely_chooser = self._timely(view) if plain else None

    def _restart(self) -> None:
        super()._restart()
        self._timely_chooser = None


class BoardPolicy(TimedPolicy):
    """A policy that chooses by a board of its own, which one private lock guards.

    A settlement must not wait: it may run in a finalizer, inside a pick of its own thread. So it
    leaves word and catches up where the lock is free; else the next pick or settlement does.
    """

    def __init__(self, endpoints: Iterable[EndpointLike], **options: Unpack[Options]) -> None:
        self._lock = Lock()
        super().__init__(endpoints, **options)

    @abstractmethod
    def _catch_up(self) -> None:
        """Take note of what settlements have left; needs the lock."""

    def _catch_up_if_free(self) -> None:
        if self._lock.acquire(False):
            try:
                self._catch_up()
            finally:
                self._lock.release()

    def _private_locks(self) -> list[Lock]:
        return [self._lock]

    def _renew_locks(self) -> None:
        super()._renew_locks()
        self._lock = Lock()
