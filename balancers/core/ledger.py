"""The ledger of one tree of balancers: who holds which lease on whom.

Invariants (checked by ``Ledger._check``):

1. A cell belongs to an identity, not to a position or an address: a cell lives from the
   update that brought its id to the update that removed it, and is never handed on.
2. ``in_flight`` is the number of open serials, ``load`` the sum of their costs; neither is
   stored, so neither can drift.
3. ``costs`` names open serials alone: those whose cost is not 1, or no longer 1. It stays
   empty until ``costly`` is set.
4. Every open serial belongs to one lease that is referenced by its holder, or is on the way
   to ``abandoned``.
"""

from __future__ import annotations

import logging
import math
import sys
import warnings
from collections.abc import Callable, Iterable
from itertools import count
from typing import Any, TypeVar

from balancers.core.lease import Hook, Pick, TrackedPick
from balancers.core.ticker import position
from balancers.endpoint import Endpoint
from balancers.protocol import Clock, Outcome, Reason

__all__ = ["Cell", "Classify", "Errand", "Ledger", "contained", "default_classify"]

log: logging.Logger = logging.getLogger("balancers")

Fact = TypeVar("Fact")

Classify = Callable[[BaseException], Outcome]


class Cell:
    """What the ledger knows of one endpoint.

    Attributes:
        endpoint: The endpoint as of the last update.
        open: Serials of the open leases.
        costs: Cost by open serial, where it is not 1.
        serials: Numbers the leases: each takes ``next(serials)``; its position is the count of
            picks.
        ledger: The ledger it belongs to.
        entry: What the health registry holds of it, or None.
        calm: Where to count a success that tells the registry nothing new; None: tell ``entry``.
        facts: What policies learn of the endpoint; see ``fact``.
        costly: Whether a cost other than 1 was ever open.
        tell: Called with each lease that ends or responds, or None; see ``watch``.
        tellers: Whom that reaches.
        after: What ends a lease beside taking its serial from ``open``: called with the lease
            while it still has its serial; None while there is nothing to do.
    """

    __slots__ = (
        "after",
        "calm",
        "costly",
        "costs",
        "endpoint",
        "entry",
        "facts",
        "ledger",
        "open",
        "serials",
        "tell",
        "tellers",
    )

    def __init__(self, endpoint: Endpoint, ledger: Ledger) -> None:
        self.endpoint: Endpoint = endpoint
        self.ledger: Ledger = ledger
        self.open: set[int] = set()
        self.costs: dict[int, float] = {}
        self.serials: count[int] = count()
        self.entry: Any = None
        self.calm: Any = None
        self.facts: list[Any] = []  # a dict of one or two would take three times the room
        self.costly: bool = False
        self.tell: Callable[[Pick | Cell], object] | None = None
        self.tellers: tuple[Callable[[Pick | Cell], object], ...] = ()
        self.after: Callable[[Pick], object] | None = None

    def enter(self, entry: Any) -> None:
        """Note the registry's entry of the endpoint, or that there is none."""
        self.entry = entry
        # The registry sets ``calm``, too: where we meet, the last to write has seen both.
        while True:
            quiet = entry is not None and entry.quiet
            self.calm = entry.pool if quiet else None
            if entry is None or entry.quiet is quiet:
                return

    def issue(self) -> Pick:
        """Open a plain lease of cost 1. O(1)."""
        pick = Pick()
        pick.endpoint = self.endpoint
        pick._cell = self
        pick._serial = serial = next(self.serials)
        self.open.add(serial)
        return pick

    def issue_tracked(
        self,
        reason: Reason,
        cost: float,
        started: float | None,
        hooks: tuple[Hook, ...],
    ) -> TrackedPick:
        """Open a lease whose end somebody learns from. O(1)."""
        pick = TrackedPick()
        pick.endpoint = self.endpoint
        pick.reason = reason
        pick.affinity = None
        pick._hooks = hooks
        pick._started = started
        pick._first_byte = None
        pick._cell = self
        pick._serial = serial = next(self.serials)
        if cost != 1.0:
            self._expect_costs()
            self.costs[serial] = cost
        self.open.add(serial)
        return pick

    def discharge(self, serial: int) -> bool:
        """Take the cost of an open lease out of the load; True the first time. O(1)."""
        if serial not in self.open or self.costs.get(serial) == 0.0:
            return False
        self._expect_costs()
        self.costs[serial] = 0.0
        if serial not in self.open:  # settled meanwhile: invariant 3
            self.costs.pop(serial, None)
            return False
        return True

    def watch(self, tell: Callable[[Pick | Cell], object]) -> None:
        """Have ``tell`` called whenever the load has fallen.

        It is handed the lease that ended, or the cell itself where a lease has responded: one
        that is still open must not be held on to, or nobody would find it abandoned.

        The call comes outside every lock, from any thread, even from a destructor's drain: it
        must be short and not raise. Most cells have one watcher; subsets that overlap make more.
        """
        if tell not in self.tellers:
            self._set_tellers((*self.tellers, tell))

    def unwatch(self, tell: Callable[[Pick | Cell], object]) -> None:
        """Call ``tell`` no more; nothing if it was not called."""
        if tell in self.tellers:
            self._set_tellers(tuple(other for other in self.tellers if other != tell))

    def _set_tellers(self, tellers: tuple[Callable[[Pick | Cell], object], ...]) -> None:
        self.tellers = tellers

        def all_of_them(fallen: Pick | Cell) -> None:
            for tell in tellers:
                tell(fallen)

        self.tell = all_of_them if len(tellers) > 1 else tellers[0] if tellers else None
        self._set_after()

    def _expect_costs(self) -> None:
        # Until ``after`` forgets costs, one that is opened could outlive its lease.
        if self.after is not _forget and self.after is not _forget_and_tell:
            self.ledger.costly = self.costly = True
            self._set_after()

    def _set_after(self) -> None:
        # Until it stays: where two threads meet, the last to write has seen both flags.
        while self.after is not (wanted := self._wanted()):
            self.after = wanted

    def _wanted(self) -> Callable[[Pick], object] | None:
        if not self.costly:
            return self.tell
        return _forget if self.tell is None else _forget_and_tell

    def fact(self, kind: type[Fact], make: Callable[[], Fact]) -> Fact:
        """Return what is known of the endpoint under ``kind``, made on the first call.

        Args:
            kind: The class of the fact.
            make: Makes one, of exactly that class.

        Runtime complexity: O(kinds), of which there are one or two.
        """
        found = self.known(kind)
        if found is None:
            # Where two threads meet, the first to append wins, and both go on with the same fact.
            self.facts.append(make())
            found = self.known(kind)
            assert found is not None, f"{make!r} makes no {kind.__name__}"
        return found

    def known(self, kind: type[Fact]) -> Fact | None:
        """Return what is known of the endpoint under ``kind``, None before it is made."""
        for fact in self.facts:
            if fact.__class__ is kind:
                found: Fact = fact
                return found
        return None

    @property
    def in_flight(self) -> int:
        """Leases open. O(1)."""
        return len(self.open)

    @property
    def load(self) -> float:
        """Sum of the open costs, exact: O(1) with unit costs, else O(open leases)."""
        if not self.costs:
            return float(len(self.open))
        serials = list(self.open)
        costs = self.costs
        try:
            return math.fsum([costs.get(serial, 1.0) for serial in serials])
        except OverflowError:  # legal costs, whose sum is beyond any float
            return math.inf

    @property
    def picks(self) -> int:
        """Leases granted so far. O(1)."""
        return position(self.serials)


def _forget(pick: Pick) -> None:
    """Drop the cost of a lease that ends: invariant 3."""
    pick._cell.costs.pop(pick._serial, None)


def _forget_and_tell(pick: Pick) -> None:
    cell = pick._cell
    cell.costs.pop(pick._serial, None)
    tell = cell.tell
    if tell is not None:
        tell(pick)


class Errand:
    """What a settlement has left for the next pick to do, as it could not wait for a lock."""

    __slots__ = ("run",)

    def __init__(self, run: Callable[[], None]) -> None:
        self.run: Callable[[], None] = run


class Ledger:
    """Cells by id, and what every lease of a tree of balancers shares.

    Args:
        clock: Dates the leases.
        classify: Turns the exception that ended a block into an outcome.
    """

    __slots__ = ("_classify", "abandoned", "cells", "clock", "costly")

    def __init__(self, clock: Clock, classify: Classify | None) -> None:
        self.clock: Clock = clock
        self.cells: dict[str, Cell] = {}
        self.abandoned: list[Pick | Errand] = []
        self.costly: bool = False  # whether any cell, present or past, ever was
        self._classify = default_classify if classify is None else classify

    def plan(self, endpoints: Iterable[Endpoint]) -> dict[str, Cell]:
        """Return the cells of a membership to come: survivors' own, new ones for the rest.

        Changes nothing; ``commit`` does. O(n).
        """
        cells = self.cells
        return {e.id: cells.get(e.id) or Cell(e, self) for e in endpoints}

    def commit(self, cells: dict[str, Cell], endpoints: Iterable[Endpoint]) -> None:
        """Adopt what ``plan`` returned: the others' cells are dropped with their facts. O(n)."""
        for endpoint in endpoints:
            cells[endpoint.id].endpoint = endpoint
        self.cells = cells

    def drain(self) -> None:
        """Settle the leases that were dropped unsettled, as CANCELLED; run the errands left.

        Warns:
            ResourceWarning: One for all of them, after the last is settled.
        """
        found: list[str] = []
        while self.abandoned:
            try:
                pick = self.abandoned.pop()
            except IndexError:  # another thread was faster
                break
            if isinstance(pick, Errand):
                pick.run()
            elif pick.done(Outcome.CANCELLED):
                found.append(pick.endpoint.id)
        if found:
            warnings.warn(
                f"{len(found)} pick(s) were dropped unsettled, on {', '.join(sorted(set(found)))}: "
                "use `with balancer.pick()` or call done()",
                ResourceWarning,
                stacklevel=_outside(),
            )

    def classified(self, error: BaseException) -> Outcome:
        """Return what the exception says of the endpoint; a failing classifier is contained."""
        try:
            outcome = self._classify(error)
        except Exception:
            log.exception("classify raised; the default rule is used")
        else:
            if isinstance(outcome, Outcome):
                return outcome
            log.error(  # type: ignore[unreachable]
                "classify returned %r, not an Outcome; the default rule is used", outcome
            )
        return default_classify(error)

    def _check(self) -> None:
        for name, cell in self.cells.items():
            assert cell.endpoint.id == name
            assert cell.ledger is self
            assert cell.costs.keys() <= cell.open
            assert cell.costly or not cell.costs
            assert cell.after is cell._wanted()
            assert all(0 <= serial < cell.picks for serial in cell.open)
            assert cell.open or cell.load == 0.0


def _outside() -> int:
    """Return the ``stacklevel`` of the nearest caller that is not of this package."""
    level = 1
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("balancers."):
        frame = frame.f_back
        level += 1
    return level


def default_classify(error: BaseException) -> Outcome:
    """Return FAILURE for an ``Exception``, CANCELLED for any other ``BaseException``."""
    return Outcome.FAILURE if isinstance(error, Exception) else Outcome.CANCELLED


def contained(what: str, call: Callable[..., object], *args: object) -> None:
    """Call somebody else's code; an ``Exception`` of its is logged and goes no further."""
    try:
        call(*args)
    except Exception:
        log.exception("%s raised", what)
