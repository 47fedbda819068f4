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

from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable
from random import Random
from typing import Any, ClassVar, Unpack

from balancers.core.checks import check_cost, check_key, checked_exclude
from balancers.core.hooks import Watch, tell_registry
from balancers.core.lease import Hook, Pick, RecordedPick, TrackedPick
from balancers.core.ledger import Cell, contained
from balancers.core.membership import Options
from balancers.core.reporting import Reporting
from balancers.core.view import View
from balancers.endpoint import EndpointLike
from balancers.errors import BalancerError, NoEligibleEndpointError, NoEndpointError
from balancers.hashing import Key
from balancers.protocol import (
    Outcome,
    Reason,
)

__all__ = ["Policy"]


class Policy(Reporting):
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
        if registry is None:
            cell = choose(key)
            if cell is None:
                return self._pick(key, exclude, cost)
            pick = Pick()
        else:
            clock = self._clock  # calling the attribute costs half as much again
            now = clock()
            if now >= registry.deadline:
                return self._pick(key, exclude, cost, now)
            cell = choose(key)
            if cell is None:
                return self._detour(key, now)
            # Whatever becomes of the registry meanwhile, the lease has what its class needs.
            pick = recorded = RecordedPick()
            recorded._started = now
        # Cell.issue, written out: the call would be a tenth of the quickest cycle.
        pick.endpoint = cell.endpoint
        pick._cell = cell
        pick._serial = serial = next(cell.serials)
        cell.open.add(serial)
        return pick

    def _detour(self, key: Key | None, now: float) -> Pick:
        """Pick where the quick way, under a registry, led to nobody."""
        return self._pick(key, (), 1.0, now)

    def _pick(
        self,
        key: Key | None,
        exclude: Collection[str],
        cost: float,
        now: float | None = None,
    ) -> Pick:
        """Pick the long way, where anything at all is out of the ordinary.

        ``now`` is the clock's reading of this pick, if there was one already.
        """
        ledger = self._ledger
        if ledger.abandoned:
            ledger.drain()
        if key is not None:
            self._check_key(key)
        exclude = checked_exclude(exclude)
        if cost != 1.0:
            check_cost(cost)
        if now is None and self._dated:
            now = ledger.clock()
        registry = self._registry
        if registry is not None and now is not None and now >= registry.deadline:
            registry.advance(now)
        pick = self._descend(self._view, key, exclude, cost, Reason.NORMAL, now)
        if self._watched:
            self._announce(pick)
        return pick

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
        held: dict[Cell, Any] = {}
        shut: list[str] = []
        for cell in view.probing:
            entry = cell.entry
            if entry is None:  # close() came between: nobody is asked any more
                continue
            if entry.take_probation_pick():
                held[cell] = entry
            else:
                shut.append(cell.endpoint.id)
        try:
            pick = self._grant(view, key, frozenset((*exclude, *shut)), cost, reason, now)
            held.pop(pick._cell, None)
            return pick
        finally:
            for entry in held.values():
                entry.return_probation_pick()

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

    def _trace(
        self,
        view: View,
        key: Key | None,
        exclude: Collection[str],
        reason: Reason,
        rng: Random,
    ) -> tuple[Cell | None, Reason, tuple[str, ...]]:
        """Return whom ``_descend`` would pick, why, and the levels gone through."""
        if view.probing:
            exclude = view.spent().union(exclude)
        chosen = self._peek(view, key, exclude, 1.0, rng) if view.cells else None
        return chosen, max(reason, view.reason), (type(self).__name__,)

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
        elif view.probing:
            text = f"exclude and probation leave none of {len(view.cells)} eligible endpoint(s)"
        else:
            text = f"exclude leaves none of {len(view.cells)} eligible endpoint(s)"
        return NoEligibleEndpointError(text, retry_after=retry_after)

    def _watchers(self) -> bool:
        return self._learns() or self._observer is not None

    def _own_hooks(self) -> tuple[Hook, ...]:
        # The policy first, then whoever watches it.
        hooks: list[Hook] = [self._learn] if self._learns() else []
        if self._registry is not None:
            hooks.append(tell_registry)
        if self._observer is not None:
            hooks.append(Watch(self._observer))
        return tuple(hooks)

    def _announce(self, pick: Pick) -> None:
        """Tell every observer the pick went past."""
        if isinstance(pick, TrackedPick):
            for hook in pick._hooks:
                if isinstance(hook, Watch):
                    contained("observer's on_pick", hook.observer.on_pick, pick)

    def _keyer(self) -> Callable[[Any], Key] | None:
        """Return what turns a key into what outer levels place by; None: the key itself."""
        return None

    def _is_keyed(self) -> bool:
        """Whether the key decides the choice, here or further in."""
        return self.keyed

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self._view.roster)} endpoint(s)>"
