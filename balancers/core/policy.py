"""``Policy``: the base of every balancer that chooses by an algorithm of its own.

A policy says how to choose; everything else is here: membership, accounting, exclusion,
observers, explanation. To write one, subclass ``Policy`` and give it

* ``_choose(view, key, exclude, cost, rng)``: the cell of the endpoint to lease, or None if
  ``exclude`` leaves nobody. It may read the load of the cells; it must not wait.
* optionally ``_build(view)``: what is worth computing once per membership rather than once
  per pick; the result is ``view.state``.

``balancers.testing`` holds any policy, yours too, to the contract.

Two rules for everything in this file:

1. ``pick`` and settlements never take ``_control``; only what changes or copies the whole
   membership does. A view is built aside and published by one assignment.
2. No observer, callback or warning runs while a lock is held.
"""

from __future__ import annotations

import copy
import os
import threading
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping
from random import Random
from typing import Any, ClassVar

from balancers.core.checks import (
    check_cost,
    check_key,
    checked_exclude,
    checked_fraction,
    difference,
)
from balancers.core.lease import Hook, Pick, TrackedPick
from balancers.core.ledger import Cell, Classify, Ledger, contained
from balancers.core.view import View, view_of
from balancers.endpoint import Endpoint, EndpointLike, as_endpoints
from balancers.errors import BalancerError, NoEligibleEndpointError, NoEndpointError
from balancers.hashing import Key
from balancers.health.states import HealthState
from balancers.protocol import (
    Candidate,
    Clock,
    Delta,
    EndpointView,
    Explanation,
    Observer,
    Outcome,
    Reason,
    Snapshot,
    Unsubscribe,
)

__all__ = ["Policy"]

_alive: weakref.WeakSet[Policy] = weakref.WeakSet()


class Policy(ABC):
    """A balancer over one set of endpoints; see the module for how to write one.

    Args:
        endpoints: The membership; a plain str stands for ``Endpoint(str)``. May be empty.
        clock: Seconds, never going backwards; ``time.monotonic`` if None.
        rng: Source of every random choice; one of its own, freshly seeded, if None.
        observer: Told of picks, settlements and updates.
        classify: Turns the exception that ended a ``with`` block into an ``Outcome``.
        panic_threshold: Health is ignored while eligible weight is below this fraction
            of the enabled weight, 0..1.

    Raises:
        InvalidEndpointError: For a membership the policy cannot balance over.
        TypeError: For an argument of the wrong type.
        ValueError: For an option out of range.
    """

    aliases: ClassVar[tuple[str, ...]] = ()
    """Short names the command line knows the class by."""

    keyed: ClassVar[bool] = False
    """Whether the key decides the choice."""

    def __init__(
        self,
        endpoints: Iterable[EndpointLike],
        *,
        clock: Clock | None = None,
        rng: Random | None = None,
        observer: Observer | None = None,
        classify: Classify | None = None,
        panic_threshold: float = 0.5,
    ) -> None:
        for name, option in (("clock", clock), ("classify", classify)):
            if option is not None and not callable(option):
                raise TypeError(f"{name} is callable or None, not {option!r}")
        self._panic_threshold = checked_fraction("panic_threshold", panic_threshold)
        self._panic: bool | None = None  # an outer level's word, once there is one
        self._given_rng = rng
        self._rng = Random() if rng is None else rng
        self._observer = observer
        self._ledger = Ledger(time.monotonic if clock is None else clock, classify)
        self._abandoned = self._ledger.abandoned
        # Who learns from a settlement: the policy itself first, then whoever watches it.
        learns = type(self)._learn is not Policy._learn
        self._watchers: tuple[Hook, ...] = () if observer is None else (self._tell_settle,)
        self._hooks: tuple[Hook, ...] = ((self._learn,) if learns else ()) + self._watchers
        self._control = threading.Lock()
        self._listeners: dict[object, Callable[[], object]] = {}
        self._view = View()
        self._fast: Any = None
        roster = as_endpoints(endpoints)
        self._admit(roster)
        self._install(roster)
        _alive.add(self)

    # -- what a policy says of itself ------------------------------------------------------

    @abstractmethod
    def _choose(
        self,
        view: View,
        key: Key | None,
        exclude: Collection[str],
        cost: float,
        rng: Random,
    ) -> Cell | None:
        """Return the cell to lease, or None if ``exclude`` leaves nobody.

        Args:
            view: The membership; ``view.cells`` is not empty.
            key: The key given, already checked.
            exclude: Ids that must not be chosen; a set, or empty.
            cost: What the request will add to the load.
            rng: The only source of chance.
        """

    def _build(self, view: View) -> Any:
        """Return what ``_choose`` finds as ``view.state``; must not touch the old state."""
        return None

    def _peek(
        self, view: View, key: Key | None, exclude: Collection[str], cost: float
    ) -> Cell | None:
        """Return what ``_choose`` would, moving nothing."""
        return self._choose(view, key, exclude, cost, copy.copy(self._rng))

    def _admit(self, roster: tuple[Endpoint, ...]) -> None:
        """Raise ``InvalidEndpointError`` for a membership this policy cannot take."""

    def _publish(self, view: View) -> None:
        """Make the view the one that picks read; called with ``_control`` held."""
        self._view = view
        plain = view.cells and not view.reason and not self._watchers
        self._fast = view.state if plain else None

    def _learn(
        self,
        pick: TrackedPick,
        outcome: Outcome,
        latency: float | None,
        load: float | None,
        retry_after: float | None,
    ) -> None:
        """Learn from a settlement; called for every lease if a subclass overrides it."""

    def _renew(self) -> None:
        """Redraw, in a forked child, what the policy drew by an rng of its own."""

    def _details(self) -> Mapping[str, float]:
        """Numbers of the whole balancer, for ``snapshot``."""
        return {}

    def _cell_details(self, cell: Cell) -> Mapping[str, float]:
        """Numbers of one endpoint, for ``snapshot``."""
        return {}

    def _score(self, cell: Cell, cost: float) -> float | None:
        """What the policy compares, lower is better, for ``explain``."""
        return None

    # -- the contract ----------------------------------------------------------------------

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """The membership, in the order given."""
        return self._view.roster

    def pick(
        self, key: Key | None = None, *, exclude: Collection[str] = (), cost: float = 1.0
    ) -> Pick:
        """Lease one endpoint; see ``Balancer.pick``."""
        ledger = self._ledger
        if ledger.abandoned:
            ledger.drain()
        if key is not None:
            self._check_key(key)
        exclude = checked_exclude(exclude)
        if cost != 1.0:
            check_cost(cost)
        now = ledger.clock() if self._hooks else None
        pick = self._descend(key, exclude, cost, Reason.NORMAL, now)
        if self._observer is not None:
            contained("observer's on_pick", self._observer.on_pick, pick)
        return pick

    def _descend(
        self,
        key: Key | None,
        exclude: Collection[str],
        cost: float,
        reason: Reason,
        now: float | None,
    ) -> Pick:
        """Pick below this level, everything checked; ``reason`` is the outer levels' so far."""
        view = self._view
        if not view.cells:
            raise self._nobody(view, exclude)
        return self._grant(view, key, exclude, cost, max(reason, view.reason), now)

    def _grant(
        self,
        view: View,
        key: Key | None,
        exclude: Collection[str],
        cost: float,
        reason: Reason,
        now: float | None,
    ) -> Pick:
        """Choose and charge; a policy whose choice and charge are one step overrides this.

        ``now`` is the clock's reading of this pick, None where nobody learns from leases.
        """
        cell = self._choose(view, key, exclude, cost, self._rng)
        if cell is None:
            raise self._nobody(view, exclude)
        return self._lease(cell, cost, reason, now)

    def _lease(self, cell: Cell, cost: float, reason: Reason, now: float | None) -> Pick:
        """Open the lightest lease that tells everybody who wants to know."""
        hooks = self._hooks
        if not hooks and not reason and cost == 1.0:
            return cell.issue()
        return cell.issue_tracked(reason, cost, now, hooks)

    def update(self, endpoints: Iterable[EndpointLike]) -> Delta:
        """Replace the membership, all of it, or raise and change nothing.

        Endpoints whose id stays keep load, latency and health, in whatever order they come.

        Returns:
            What was added, removed and changed.

        Runtime complexity: O(n), plus what the policy builds; picks go on meanwhile.
        """
        if self._ledger.abandoned:
            self._ledger.drain()
        roster = as_endpoints(endpoints)
        self._admit(roster)
        with self._control:
            delta = difference(self._view.roster, roster)
            if roster != self._view.roster:
                self._install(roster)
        if delta:
            if self._observer is not None:
                contained("observer's on_update", self._observer.on_update, delta)
            self._tell_listeners()
        return delta

    def snapshot(self) -> Snapshot:
        """Return load, health and latency of every endpoint at this moment. O(n)."""
        ledger = self._ledger
        if ledger.abandoned:
            ledger.drain()
        with self._control:
            cells = [ledger.cells[endpoint.id] for endpoint in self._view.roster]
            views = tuple(
                EndpointView(
                    endpoint=cell.endpoint,
                    in_flight=cell.in_flight,
                    load=cell.load,
                    state=HealthState.UNKNOWN,
                    latency=self._latency(cell),
                    picks=cell.picks,
                    details=self._cell_details(cell),
                )
                for cell in cells
            )
            return Snapshot(type(self).__name__, views, self._details())

    def _latency(self, cell: Cell) -> float | None:
        """The policy's latency estimate in seconds, for ``snapshot``."""
        return None

    def explain(self, key: Key | None = None, *, exclude: Collection[str] = ()) -> Explanation:
        """Say what ``pick`` would do now, moving no cursor, rng or ledger. O(n)."""
        if key is not None:
            self._check_key(key)
        exclude = checked_exclude(exclude)
        view = self._view
        chosen = self._peek(view, key, exclude, 1.0) if view.cells else None
        able = {cell.endpoint.id: cell for cell in view.cells}
        candidates = []
        for endpoint in view.roster:
            cell = able.get(endpoint.id)
            if cell is None:
                candidates.append(Candidate(endpoint, False, view.skipped[endpoint.id]))
            elif endpoint.id in exclude:
                candidates.append(Candidate(endpoint, False, "excluded"))
            else:
                why = "chosen" if cell is chosen else "eligible"
                candidates.append(Candidate(endpoint, True, why, self._score(cell, 1.0)))
        return Explanation(
            chosen=None if chosen is None else chosen.endpoint,
            reason=view.reason,
            candidates=tuple(candidates),
            path=(type(self).__name__,),
        )

    def changed(self, callback: Callable[[], object]) -> Unsubscribe:
        """Call ``callback()`` after whatever may make a failed pick succeed.

        It runs outside every lock; an exception is logged and contained.
        """
        if not callable(callback):
            raise TypeError(f"callback is callable, not {callback!r}")
        token = object()
        self._listeners[token] = callback

        def unsubscribe() -> None:
            self._listeners.pop(token, None)

        return unsubscribe

    def close(self) -> None:
        """Leave the registry; idempotent. Picks go on, without health."""

    # -- the mechanism ---------------------------------------------------------------------

    def _check_key(self, key: Key) -> None:
        check_key(key)

    def _nobody(self, view: View, exclude: Collection[str]) -> BalancerError:
        if not view.roster:
            return NoEndpointError("the membership is empty")
        if not view.cells:
            return NoEligibleEndpointError(f"none of {len(view.roster)} endpoint(s) is eligible")
        return NoEligibleEndpointError(
            f"exclude leaves none of {len(view.cells)} eligible endpoint(s): "
            + ", ".join(sorted(exclude)[:5])
        )

    def _install(self, roster: tuple[Endpoint, ...]) -> None:
        """Build a view of the roster aside, then publish it."""
        cells = self._ledger.plan(roster)
        view = view_of(roster, cells, self._panic_threshold, self._panic)
        view.state = self._build(view)
        self._ledger.commit(cells, roster)
        self._publish(view)

    def _tell_settle(
        self,
        pick: TrackedPick,
        outcome: Outcome,
        latency: float | None,
        load: float | None,
        retry_after: float | None,
    ) -> None:
        if self._observer is not None:
            contained("observer's on_settle", self._observer.on_settle, pick, outcome, latency)

    def _tell_listeners(self) -> None:
        for callback in list(self._listeners.values()):
            contained("a callback of changed()", callback)

    def _after_fork(self) -> None:
        self._control = threading.Lock()
        if self._given_rng is None:
            self._rng = Random()
            self._renew()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self._view.roster)} endpoint(s)>"


def _renew_all() -> None:
    for policy in list(_alive):
        policy._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
