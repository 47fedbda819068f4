"""``Pick``: a lease on one endpoint, settled exactly once.

The settle-once rule rests on one atomic step. A lease owns a serial number in the set of open
leases of its cell; whoever removes the number has settled the lease, everybody else gets a
``KeyError``. The size of that set *is* the in-flight count, so a count cannot drift from the
leases it counts, and needs no lock on any build of CPython.

``Pick`` is the plain lease: nobody waits for its outcome. ``RecordedPick`` tells the health
registry. ``TrackedPick`` is the one that anybody may learn from: an observer, a latency
estimate, an outer balancer. All give the number back in ``done`` and nowhere else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn, Protocol

from balancers.core.checks import LARGEST
from balancers.protocol import Outcome, Reason

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from balancers.core.ledger import Cell
    from balancers.endpoint import Endpoint

__all__ = ["FallbackPick", "Hook", "Pick", "RecordedPick", "TrackedPick"]


class Hook(Protocol):
    """What a level of balancers wants called when a tracked lease is settled.

    Called once, outside every lock, on the thread that settled. It must not raise.
    """

    def __call__(
        self,
        pick: TrackedPick,
        outcome: Outcome,
        latency: float | None,
        load: float | None,
        retry_after: float | None,
        /,
    ) -> object:
        """Learn from the settlement."""


class Pick:
    """A lease on one endpoint; use it as a context manager, or call ``done``.

    As a context manager it settles by how the block ends: no exception is ``SUCCESS``, any
    other is what the balancer's ``classify`` says (by default an ``Exception`` is ``FAILURE``,
    any other ``BaseException`` is ``CANCELLED``).

    A lease that is dropped unsettled is found by the balancer's next ``pick``, ``update`` or
    ``snapshot``, settled as ``CANCELLED`` and reported by a ``ResourceWarning``.

    Attributes:
        endpoint: The endpoint leased, as it was at the pick.
        reason: Why this endpoint.
        affinity: A token to hand back to the client, None if the client's own still holds.
    """

    __slots__ = ("__weakref__", "_cell", "_serial", "endpoint")

    reason: Reason = Reason.NORMAL
    affinity: str | None = None

    endpoint: Endpoint
    _cell: Cell
    _serial: int

    def responded(self) -> None:
        """Tell that the first byte came: latency ends here and the cost leaves the load.

        The lease stays in flight until ``done``. Calls after the first, or after ``done``,
        change nothing.
        """
        cell = self._cell
        if cell.discharge(self._serial) and cell.tell is not None:
            cell.tell(cell)

    def done(
        self,
        outcome: Outcome = Outcome.SUCCESS,
        *,
        latency: float | None = None,
        load: float | None = None,
        retry_after: float | None = None,
    ) -> bool:
        """Settle the lease.

        Args:
            outcome: How the request ended.
            latency: Seconds the answer took, ≥ 0; by default the clock now (or at
                ``responded``) minus the clock at the pick, where somebody uses it.
            load: What the server says of its own utilisation, ≥ 0.
            retry_after: Seconds the server asked to be left alone, ≥ 0.

        Returns:
            True for the one call that settled the lease, False for any other.

        Raises:
            TypeError: If ``outcome`` is not an ``Outcome`` or a number is none.
            ValueError: If a number is negative, NaN or infinite; the lease stays open.

        Runtime complexity: O(1), plus what the policy says of its own ledger.
        """
        check_settlement(outcome, latency, load, retry_after)
        return self._settle(outcome, latency, load, retry_after)

    def _settle(
        self,
        outcome: Outcome,
        latency: float | None,
        load: float | None,
        retry_after: float | None,
    ) -> bool:
        return self._release()

    def _release(self) -> bool:
        cell = self._cell
        try:
            cell.open.remove(self._serial)
        except KeyError:
            return False
        if cell.after is not None:
            cell.after(self)
        self._serial = -1  # never a serial: tells __del__ at a glance
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            # _release, written out: a call less is a tenth of the whole cycle.
            cell = self._cell
            try:
                cell.open.remove(self._serial)
            except KeyError:
                return
            if cell.after is not None:
                cell.after(self)
            self._serial = -1
        else:
            self._settle(self._cell.ledger.classified(error), None, None, None)

    def __del__(self) -> None:
        # May run anywhere, even inside one of our own locks: append and nothing else.
        try:
            if self._serial >= 0:
                self._cell.ledger.abandoned.append(self)
        except AttributeError:  # interrupted before it became a lease
            pass

    def __reduce__(self) -> NoReturn:
        # A copy would be a second lease on one serial: dropping it would settle the first.
        raise TypeError("a lease can be neither copied nor pickled")

    def __repr__(self) -> str:
        state = "open" if self._serial >= 0 else "settled"
        return f"<{type(self).__name__} {self.endpoint.id!r} {self.reason.name} {state}>"


class RecordedPick(Pick):
    """A lease whose end the health registry is told, and nobody else.

    A success on an endpoint in good standing says nothing new and costs one addition.
    """

    __slots__ = ("_latency", "_started")

    _started: float
    _latency: float

    def responded(self) -> None:
        """Tell that the first byte came; see ``Pick.responded``."""
        cell = self._cell
        if cell.discharge(self._serial):
            self._latency = max(0.0, cell.ledger.clock() - self._started)
            if cell.tell is not None:
                cell.tell(cell)

    def _settle(
        self,
        outcome: Outcome,
        latency: float | None,
        load: float | None,
        retry_after: float | None,
    ) -> bool:
        if not self._release():
            return False
        entry = self._cell.entry
        if entry is not None:
            if latency is None:
                latency = getattr(self, "_latency", None)  # set where the first byte came
            if latency is None:
                latency = max(0.0, self._cell.ledger.clock() - self._started)
            entry.settle(outcome, latency, retry_after, self._started)
        return True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self._settle(self._cell.ledger.classified(error), None, None, None)
            return
        cell = self._cell
        calm = cell.calm
        if calm is None:
            self._settle(Outcome.SUCCESS, None, None, None)
            return
        # _settle, written out for the usual request; entry.settle would do the same.
        try:
            cell.open.remove(self._serial)
        except KeyError:
            return
        if cell.after is not None:
            cell.after(self)
        self._serial = -1
        calm.good += 1


class TrackedPick(Pick):
    """A lease whose end somebody learns from."""

    __slots__ = ("_first_byte", "_hooks", "_started", "affinity", "reason")

    reason: Reason
    affinity: str | None
    _hooks: tuple[Hook, ...]
    _started: float | None
    _first_byte: float | None

    def responded(self) -> None:
        """Tell that the first byte came; see ``Pick.responded``."""
        cell = self._cell
        if not cell.discharge(self._serial):
            return
        if self._started is not None:
            self._first_byte = cell.ledger.clock()
        if cell.tell is not None:
            cell.tell(cell)

    def _settle(
        self,
        outcome: Outcome,
        latency: float | None,
        load: float | None,
        retry_after: float | None,
    ) -> bool:
        if not self._release():
            return False
        started = self._started
        if latency is None and started is not None:
            end = self._first_byte
            if end is None:
                end = self._cell.ledger.clock()
            latency = max(0.0, end - started)
        for hook in self._hooks:
            hook(self, outcome, latency, load, retry_after)
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


class FallbackPick(RecordedPick):
    """A recorded lease on another endpoint than the key's own."""

    __slots__ = ()

    reason: Reason = Reason.FALLBACK


def check_settlement(
    outcome: Outcome, latency: float | None, load: float | None, retry_after: float | None
) -> None:
    """Raise for whatever a settlement must not be told."""
    if outcome.__class__ is not Outcome:
        raise TypeError(f"outcome is an Outcome, not {outcome!r}")
    if latency is not None:
        _check_amount("latency", latency)
    if load is not None:
        _check_amount("load", load)
    if retry_after is not None:
        _check_amount("retry_after", retry_after)


def _check_amount(name: str, value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} is a number or None, not {value!r}")
    if not 0.0 <= value <= LARGEST:
        raise ValueError(f"{name} must be finite and ≥ 0, not {value!r}")
