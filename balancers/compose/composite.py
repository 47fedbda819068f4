"""``Composite``: the base of balancers made of balancers.

A composite sorts its endpoints into groups and gives each group a balancer of its own. A pick
goes to one group, by the shares the composite planned, and to the others in a stated order if
nobody there may be had. It is made by the leaf it ends in; the leaf's lease is the only one,
and its settlement climbs back through the hooks each level added when it adopted the one below.

Guarantees:
    One ledger, at the root: an endpoint that changes group keeps its load and latency.
    One view, at the root: a pick sees all levels of one membership, never a mixture.
    Shares are a function of membership and health alone: whatever is taken away and put back
    is routed to as before. Where the leaf places by key, so does every level above it, by a
    hash of its own: the same in every process.
"""

from __future__ import annotations

import copy
from bisect import bisect_right
from collections.abc import Collection, Hashable, Iterator
from random import Random
from typing import Any

from balancers.compose.grouping import Branch, Group, Grouping, PolicyFactory, State
from balancers.compose.spread import Spread
from balancers.core.lease import Pick
from balancers.core.ledger import Cell
from balancers.core.membership import Chooser
from balancers.core.view import View
from balancers.errors import BalancerError, NoEligibleEndpointError, NoEndpointError
from balancers.hashing import Key
from balancers.protocol import Reason
from balancers.structures.split import position_of

__all__ = ["Branch", "Composite", "Group", "PolicyFactory", "State"]


class Composite(Grouping):
    """A balancer over groups of its endpoints; see ``Grouping`` for what makes one."""

    def _spread(self, plan: Any, key: Key | None) -> Spread:
        """Return the spread of this pick; the plan itself, unless it depends on the pick."""
        return plan  # type: ignore[no-any-return]

    def _first(self, spread: Spread, key: Key | None, rng: Random) -> int | None:
        """Return the index of the group to try first; None if none has a share."""
        names = spread.names
        if len(names) < 2:
            return 0 if names else None
        if key is None or not self._by_key:
            return bisect_right(spread.ends, rng.random())
        return bisect_right(spread.ends, position_of(self._as_key(key), self._seed))

    def _descend(
        self,
        view: View,
        key: Key | None,
        exclude: Collection[str],
        cost: float,
        reason: Reason,
        now: float | None,
    ) -> Pick:
        state: State = view.state
        spread = self._spread(state.plan, key)
        first: Hashable = None
        error: BalancerError | None = None
        at = self._first(spread, key, self._rng)
        if at is not None:
            first = spread.names[at]
            branch = state.branches[first]
            try:
                return branch.child._descend(branch.view, key, exclude, cost, reason, now)
            except (NoEligibleEndpointError, NoEndpointError) as problem:
                error = problem
        why = max(reason, Reason.FALLBACK)
        for name in spread.order:
            if at is None or name != first:
                branch = state.branches[name]
                try:
                    return branch.child._descend(branch.view, key, exclude, cost, why, now)
                except (NoEligibleEndpointError, NoEndpointError) as problem:
                    error = error or problem
        raise self._nobody(view, exclude) from error

    def _nobody(self, view: View, exclude: Collection[str]) -> BalancerError:
        error = super()._nobody(view, exclude)
        if isinstance(error, NoEligibleEndpointError):
            for endpoint in view.endpoints:
                if endpoint.id not in exclude:
                    # Eligible, but not here or not now: no clock says when that ends.
                    return NoEligibleEndpointError("no eligible endpoint has room for this pick")
        return error

    def _lease_on(
        self,
        view: View,
        cell: Cell,
        key: Key | None,
        cost: float,
        reason: Reason,
        now: float | None,
    ) -> Pick | None:
        state: State = view.state
        branch = state.branches.get(self._group_of(state.plan, cell.endpoint))
        if branch is None:
            return None
        return branch.child._lease_on(branch.view, cell, key, cost, reason, now)

    # -- the short way, by the same draws --------------------------------------------------

    def _shortcut(self, view: View) -> Chooser | None:
        state: State = view.state
        if not isinstance(state.plan, Spread):
            return None
        return self._shortcut_by(state, state.plan)

    def _shortcut_by(self, state: State, spread: Spread) -> Chooser | None:
        """Return the quickest way to a choice by the spread, or None."""
        found: list[Chooser] = []
        for name in spread.names:
            branch = state.branches[name]
            view = branch.view
            if not view.cells or view.reason or view.ramps or view.probing:
                return None
            choose = branch.child._shortcut(view)
            if choose is None:
                return None
            found.append(choose)
        if len(found) < 2:
            return found[0] if found else None
        # Where a short cut gives up, its group is drawn already: go on there the long way.
        others = tuple(_long_way(state.branches[name]) for name in spread.names)
        choosers, ends, random, seed = tuple(found), spread.ends, self._rng.random, self._seed
        if not self._by_key:
            return lambda key: choosers[at := bisect_right(ends, random())](key) or others[at](key)
        as_key = self._as_key
        return lambda key: (
            choosers[at := bisect_right(ends, position_of(as_key(key), seed))](key)
            or others[at](key)
        )

    # -- the same, moving nothing ----------------------------------------------------------

    def _choose(
        self,
        view: View,
        key: Key | None,
        exclude: Collection[str],
        cost: float,
        rng: Random,
    ) -> Cell | None:
        return self._trace(view, key, exclude, Reason.NORMAL, rng)[0]

    def _trace(
        self,
        view: View,
        key: Key | None,
        exclude: Collection[str],
        reason: Reason,
        rng: Random,
    ) -> tuple[Cell | None, Reason, tuple[str, ...]]:
        state: State = view.state
        for name, why in self._turns(self._spread(state.plan, key), key, rng):
            branch = state.branches[name]
            draws = rng if branch.child._given_rng is None else copy.copy(branch.child._rng)
            chosen, grave, path = branch.child._trace(
                branch.view, key, exclude, max(reason, why), draws
            )
            if chosen is not None:
                return chosen, grave, (self._label(name), *path)
        return None, max(reason, view.reason), (self._label(),)

    def _turns(
        self, spread: Spread, key: Key | None, rng: Random
    ) -> Iterator[tuple[Hashable, Reason]]:
        """Yield the groups in the order ``_descend`` tries them."""
        first: list[Hashable] = []
        at = self._first(spread, key, rng)
        if at is not None:
            first.append(spread.names[at])
            yield spread.names[at], Reason.NORMAL
        for name in spread.order:
            if name not in first:
                yield name, Reason.FALLBACK


def _long_way(branch: Branch) -> Chooser:
    """Return how to choose in a group whose short cut gave up, drawing nothing twice."""
    child, view = branch.child, branch.view
    if not isinstance(child, Composite):
        return lambda key: child._choose(view, key, (), 1.0, child._rng)
    state: State = view.state
    if isinstance(state.plan, Spread) and len(state.plan.names) == 1:
        return _long_way(state.branches[state.plan.names[0]])
    return lambda key: None  # it drew, and went the long way itself
