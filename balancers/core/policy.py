"""``Policy``: the base of every balancer that chooses by an algorithm of its own.

A policy says how to choose; everything else is here and in ``membership``: accounting,
exclusion, observers, explanation. To write one, subclass ``Policy`` and give it

* ``_choose(view, key, exclude, cost, rng)``: the cell of the endpoint to lease, or None if
  ``exclude`` leaves nobody. It may read the load of the cells; it must not wait.
* optionally ``_build(view)``: what is worth computing once per membership rather than once
  per pick; the result is ``view.state``.
* optionally ``_learn(...)``: called once with the end of every lease.

``balancers.testing`` holds any policy, yours too, to the contract.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping
from random import Random
from typing import Any, ClassVar, TypeAlias, Unpack

from balancers.core.checks import check_cost, check_key, checked_exclude
from balancers.core.lease import Hook, Pick, TrackedPick
from balancers.core.ledger import Cell, contained
from balancers.core.membership import Membership, Options
from balancers.core.view import View
from balancers.endpoint import EndpointLike
from balancers.errors import BalancerError, NoEligibleEndpointError, NoEndpointError
from balancers.hashing import Key
from balancers.health.states import HealthState
from balancers.protocol import (
    Candidate,
    EndpointView,
    Explanation,
    Observer,
    Outcome,
    Reason,
    Snapshot,
)

__all__ = ["Policy", "Quick", "Watch"]


Quick: TypeAlias = Callable[[Key | None], Pick]
"""Makes a pick in one go: everything the choice depends on is at hand."""


class Watch:
    """The hook that tells one observer."""

    __slots__ = ("observer",)

    def __init__(self, observer: Observer) -> None:
        self.observer = observer

    def __call__(
        self,
        pick: TrackedPick,
        outcome: Outcome,
        latency: float | None,
        load: float | None,
        retry_after: float | None,
        /,
    ) -> None:
        """Tell of a settlement."""
        contained("observer's on_settle", self.observer.on_settle, pick, outcome, latency)


class Policy(Membership):
    """A balancer over one set of endpoints; see the module for how to write one.

    Args:
        endpoints: The membership; a plain str stands for ``Endpoint(str)``. May be empty.
        health: The registry to follow and to tell; may be shared with other balancers.
        clock: Seconds, never going backwards; the registry's or ``time.monotonic`` if None.
        rng: Source of every random choice; one of its own, freshly seeded, if None.
        observer: Told of picks, settlements and updates.
        classify: Turns the exception that ended a ``with`` block into an ``Outcome``.
        panic_threshold: Health is ignored while eligible weight is below this fraction
            of the enabled weight, 0..1; 0: never.

    Raises:
        InvalidEndpointError: For a membership the policy cannot balance over.
        TypeError: For an argument of the wrong type.
        ValueError: For an option out of range.
    """

    aliases: ClassVar[tuple[str, ...]] = ()
    """Short names the command line knows the class by."""

    keyed: ClassVar[bool] = False
    """Whether the key decides the choice."""

    key_kind: ClassVar[str] = "any"
    """What keys it takes: "any" of ``Key``, "address", or "prefix" (blocks of a prompt)."""

    def __init__(self, endpoints: Iterable[EndpointLike], **options: Unpack[Options]) -> None:
        self._wants_key = self.keyed
        super().__init__(endpoints, **options)

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

    def _peek(
        self,
        view: View,
        key: Key | None,
        exclude: Collection[str],
        cost: float,
        rng: Random,
    ) -> Cell | None:
        """Return what ``_choose`` would, moving nothing but ``rng``, which is a copy."""
        return self._choose(view, key, exclude, cost, rng)

    def _learn(
        self,
        pick: TrackedPick,
        outcome: Outcome,
        latency: float | None,
        load: float | None,
        retry_after: float | None,
    ) -> None:
        """Learn from a settlement; called for every lease if a subclass overrides it."""

    def _learns(self) -> bool:
        """Whether ``_learn`` is to be called."""
        return type(self)._learn is not Policy._learn

    def _details(self) -> Mapping[str, float]:
        """Numbers of the whole balancer, for ``snapshot``."""
        return {}

    def _cell_details(self, cell: Cell) -> Mapping[str, float]:
        """Numbers of one endpoint, for ``snapshot``."""
        return {}

    def _latency(self, cell: Cell) -> float | None:
        """The policy's latency estimate in seconds, for ``snapshot``."""
        return None

    def _score(self, cell: Cell, cost: float) -> float | None:
        """What the policy compares, lower is better, for ``explain``."""
        return None

    # -- the contract ----------------------------------------------------------------------

    def pick(
        self, key: Key | None = None, *, exclude: Collection[str] = (), cost: float = 1.0
    ) -> Pick:
        """Lease one endpoint; see ``Balancer.pick``."""
        choose = self._chooser
        if (
            choose is None
            or exclude
            or cost != 1.0
            or self._abandoned
            or (key is None) is self._wants_key
        ):
            return self._pick(key, exclude, cost)
        registry = self._registry
        if registry is not None:
            now = self._ledger.clock()
            if now >= registry.deadline:
                return self._pick(key, exclude, cost)
        cell = choose(key)
        if cell is None:
            return self._pick(key, exclude, cost)
        # Cell.issue, written out: the call would be a tenth of the quickest cycle.
        pick = cell.make()
        pick.endpoint = cell.endpoint
        pick._cell = cell
        pick._serial = serial = next(cell.serials)
        if registry is not None:
            pick._started = now  # type: ignore[attr-defined]  # then make is RecordedPick
        cell.open.add(serial)
        return pick

    def _pick(self, key: Key | None, exclude: Collection[str], cost: float) -> Pick:
        """Pick the long way, where anything at all is out of the ordinary."""
        ledger = self._ledger
        if ledger.abandoned:
            ledger.drain()
        if key is not None:
            self._check_key(key)
        exclude = checked_exclude(exclude)
        if cost != 1.0:
            check_cost(cost)
        now = ledger.clock() if self._dated else None
        registry = self._registry
        if registry is not None and now is not None and now >= registry.deadline:
            registry.advance(now)
        pick = self._descend(self._view, key, exclude, cost, Reason.NORMAL, now)
        if self._watched:
            self._announce(pick)
        return pick

    def snapshot(self) -> Snapshot:
        """Return load, health and latency of every endpoint at this moment. O(n).

        Takes no lock, so that a finalizer or a signal handler may call it anywhere.
        """
        if self._ledger.abandoned:
            self._ledger.drain()
        if self._registry is not None:
            self._registry.tick()
        views = tuple(self._seen(cell) for cell in self._members())
        return Snapshot(type(self).__name__, views, self._details())

    def explain(self, key: Key | None = None, *, exclude: Collection[str] = ()) -> Explanation:
        """Say what ``pick`` would do now, moving no cursor, rng or ledger. O(n)."""
        if key is not None:
            self._check_key(key)
        exclude = checked_exclude(exclude)
        view = self._view
        try:
            rng = copy.copy(self._rng)
        except NotImplementedError:  # SystemRandom: there is no state that could be moved
            rng = self._rng
        chosen, reason, path = self._trace(view, key, exclude, Reason.NORMAL, rng)
        return Explanation(
            chosen=None if chosen is None else chosen.endpoint,
            reason=reason,
            candidates=tuple(self._candidates(view, exclude, chosen)),
            path=path,
        )

    # -- the mechanism ---------------------------------------------------------------------

    def _descend(
        self,
        view: View,
        key: Key | None,
        exclude: Collection[str],
        cost: float,
        reason: Reason,
        now: float | None,
    ) -> Pick:
        """Pick in the view, everything checked; ``reason`` is the outer levels' so far."""
        if not view.cells:
            raise self._nobody(view, exclude)
        reason = max(reason, view.reason)
        if not view.probing:
            return self._grant(view, key, exclude, cost, reason, now)
        # An endpoint on probation takes a bounded number of picks: hold a permit of each that
        # has one while choosing, pass over the others, and give back those not used.
        held = {cell for cell in view.probing if cell.entry.take_probation_pick()}
        shut = [cell.endpoint.id for cell in view.probing if cell not in held]
        try:
            pick = self._grant(view, key, frozenset((*exclude, *shut)), cost, reason, now)
            held.discard(pick._cell)
            return pick
        finally:
            for cell in held:
                cell.entry.return_probation_pick()

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

    def _lease_on(
        self,
        view: View,
        cell: Cell,
        key: Key | None,
        cost: float,
        reason: Reason,
        now: float | None,
    ) -> Pick | None:
        """Lease this very member, which an outer level chose; None if that may not be.

        The member need not be a candidate. A policy that counts what it grants overrides this.
        """
        return self._lease(cell, cost, max(reason, view.reason), now)

    def _quick(self, view: View, reason: Reason) -> Quick | None:
        """Return the shortest way to a pick of cost 1 without ``exclude``, for an outer level.

        None where there is none: whoever asked takes the long way, ``_descend``. Both ways draw
        the same numbers from the rng.
        """
        if not view.cells or view.ramps or view.probing:
            return None
        grant, clock = self._grant, self._ledger.clock
        reason = max(reason, view.reason)
        if self._dated:
            return lambda key: grant(view, key, (), 1.0, reason, clock())
        return lambda key: grant(view, key, (), 1.0, reason, None)

    def _candidates(
        self, view: View, exclude: Collection[str], chosen: Cell | None
    ) -> list[Candidate]:
        """Return what ``explain`` says of each member. O(n)."""
        able = {cell.endpoint.id: cell for cell in view.cells}
        found = []
        for endpoint in view.roster:
            cell = able.get(endpoint.id)
            if cell is None:
                found.append(Candidate(endpoint, False, view.skipped[endpoint.id]))
            elif endpoint.id in exclude:
                found.append(Candidate(endpoint, False, "excluded"))
            else:
                why = "chosen" if cell is chosen else "eligible"
                found.append(Candidate(endpoint, True, why, self._score(cell, 1.0)))
        return found

    def _trace(
        self,
        view: View,
        key: Key | None,
        exclude: Collection[str],
        reason: Reason,
        rng: Random,
    ) -> tuple[Cell | None, Reason, tuple[str, ...]]:
        """Return whom ``_descend`` would pick, why, and the levels gone through."""
        chosen = self._peek(view, key, exclude, 1.0, rng) if view.cells else None
        return chosen, max(reason, view.reason), (type(self).__name__,)

    def _members(self) -> tuple[Cell, ...]:
        return self._view.members

    def _seen(self, cell: Cell) -> EndpointView:
        entry = cell.entry
        return EndpointView(
            endpoint=cell.endpoint,
            in_flight=cell.in_flight,
            load=cell.load,
            state=HealthState.UNKNOWN if entry is None else entry.standing.state,
            latency=self._latency(cell),
            picks=cell.picks,
            details=self._cell_details(cell),
        )

    def _check_key(self, key: Key) -> None:
        check_key(key)

    def _nobody(self, view: View, exclude: Collection[str]) -> BalancerError:
        if not view.roster:
            return NoEndpointError("the membership is empty")
        names = [endpoint.id for endpoint in view.roster if endpoint.id not in exclude]
        retry_after = None
        if self._registry is not None:
            retry_after = self._registry.retry_after(names, self._ledger.clock())
        if not view.cells:
            text = f"none of {len(view.roster)} endpoint(s) is eligible"
        else:
            text = f"exclude leaves none of {len(view.cells)} eligible endpoint(s)"
        return NoEligibleEndpointError(text, retry_after=retry_after)

    def _watchers(self) -> bool:
        return self._learns() or self._observer is not None

    def _own_hooks(self) -> tuple[Hook, ...]:
        # The policy first, then whoever watches it.
        hooks: list[Hook] = [self._learn] if self._learns() else []
        if self._registry is not None:
            hooks.append(_tell_registry)
        if self._observer is not None:
            hooks.append(Watch(self._observer))
        return tuple(hooks)

    @property
    def _watched(self) -> bool:
        """Whether an observer, here or further in, is to be told of picks."""
        return self._observer is not None

    def _announce(self, pick: Pick) -> None:
        """Tell every observer the pick went past."""
        if isinstance(pick, TrackedPick):
            for hook in pick._hooks:
                if isinstance(hook, Watch):
                    contained("observer's on_pick", hook.observer.on_pick, pick)

    def _as_key(self, key: Any) -> Key:
        """Return what outer levels place by instead of the key; it has passed ``_check_key``."""
        return key  # type: ignore[no-any-return]

    def _path_to(self, view: View, cell: Cell) -> tuple[str, ...]:
        """Return the levels gone through to a member, this one first."""
        return (type(self).__name__,)

    def _is_keyed(self) -> bool:
        """Whether the key decides the choice, here or further in."""
        return self.keyed

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self._view.roster)} endpoint(s)>"


def _tell_registry(
    pick: TrackedPick,
    outcome: Outcome,
    latency: float | None,
    load: float | None,
    retry_after: float | None,
    /,
) -> None:
    """The hook that tells the health registry."""
    entry = pick._cell.entry
    if entry is not None:
        entry.settle(outcome, latency, retry_after, pick._started)
