"""``Composite``: the base of balancers made of balancers.

A composite sorts its endpoints into groups and gives each group a balancer of its own. A pick
goes to one group, by the shares the composite planned, and to the others in a stated order if
nobody there may be had. It is made by the leaf it ends in; the leaf's lease is the only one,
and its settlement climbs back through the hooks each level added when it adopted the one below.

Guarantees:
    One ledger, at the root: an endpoint that changes group keeps its load and latency.
    One view, at the root: a pick goes by all levels of one membership. The leaf it ends in may
    be an update ahead, never behind.
    Shares are a function of membership and health alone: whatever is taken away and put back
    is routed to as before. Where the leaf places by key, so does every level above it, by a
    hash of its own: the same in every process.
"""

from __future__ import annotations

import copy
from bisect import bisect_right
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from random import Random
from typing import Any, TypeAlias, Unpack

from balancers.compose.bell import Bell
from balancers.compose.foreign import Foreign
from balancers.compose.grouping import Branch, Group, Grouping, PolicyFactory, State
from balancers.compose.spread import Spread
from balancers.core.lease import Pick
from balancers.core.ledger import Cell
from balancers.core.membership import Options
from balancers.core.policy import Policy
from balancers.core.view import View
from balancers.endpoint import Endpoint, EndpointLike
from balancers.errors import BalancerError, NoEligibleEndpointError, NoEndpointError
from balancers.hashing import Key
from balancers.protocol import Reason
from balancers.structures.split import position_of

__all__ = ["Branch", "Composite", "Group", "PolicyFactory", "State", "Taker", "taker_of"]

Taker: TypeAlias = Callable[[Key | None], Pick]
"""Makes a pick in one go."""


class Composite(Grouping):
    """A balancer over groups of its endpoints; see ``Grouping`` for what makes one."""

    _take: Taker | None = None

    def __init__(
        self,
        endpoints: Iterable[EndpointLike],
        *,
        policy: PolicyFactory,
        **options: Unpack[Options],
    ) -> None:
        self._bell = Bell()
        self._sorted: tuple[tuple[Endpoint, ...], Mapping[Any, tuple[Endpoint, ...]]] = (), {}
        super().__init__(endpoints, policy=policy, **options)

    def _parts(
        self, roster: tuple[Endpoint, ...], field: Callable[[Endpoint], Any]
    ) -> Mapping[Any, tuple[Endpoint, ...]]:
        """Return the endpoints by the value of a field, the least first and None last.

        The same roster, as after a change of health, gives the same tuples. O(n) else.
        """
        if self._sorted[0] is not roster:
            found: dict[Any, list[Endpoint]] = {}
            for endpoint in roster:
                found.setdefault(field(endpoint), []).append(endpoint)
            # By name, not in the order of the membership: a key's place must not depend on that.
            names = sorted(found.keys() - {None}) + [None] * (None in found)
            self._sorted = roster, {name: tuple(found[name]) for name in names}
        return self._sorted[1]

    def _spread(self, plan: Any, key: Key | None) -> Spread:
        """Return the spread of this pick; the plan itself, unless it depends on the pick."""
        return plan  # type: ignore[no-any-return]

    def _drawn(self, spread: Spread, key: Key | None, rng: Random) -> int:
        """Return the index of the group to try first, of several."""
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
        plan = state.plan
        spread: Spread = plan if plan.__class__ is Spread else self._spread(plan, key)
        names = spread.names
        if not names:
            return self._elsewhere(view, spread, (), key, exclude, cost, reason, now)
        first = names[0]
        if len(names) > 1:
            first = names[self._drawn(spread, key, self._rng)]
        branch = state.branches[first]
        try:
            return branch.child._descend(branch.view, key, exclude, cost, reason, now)
        except (NoEligibleEndpointError, NoEndpointError):
            return self._elsewhere(view, spread, (first,), key, exclude, cost, reason, now)

    def _elsewhere(
        self,
        view: View,
        spread: Spread,
        tried: Collection[Hashable],
        key: Key | None,
        exclude: Collection[str],
        cost: float,
        reason: Reason,
        now: float | None,
    ) -> Pick:
        """Pick in a group that is not the first choice."""
        branches: Mapping[Hashable, Branch] = view.state.branches
        reason = max(reason, Reason.FALLBACK)
        for name in spread.order:
            if name not in tried:
                branch = branches[name]
                try:
                    return branch.child._descend(branch.view, key, exclude, cost, reason, now)
                except (NoEligibleEndpointError, NoEndpointError):
                    continue
        raise self._nobody(view, exclude)

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

    def _made_room(self) -> None:
        """Tell whoever waits further out that a refused pick may succeed now.

        The caller may be in the middle of a pick. A level that holds a lock while levels below
        pick overrides this: it takes note, and passes it on when the lock is free.
        """
        parent = self._parent
        if parent is None:
            self._bell.ring(super()._tell_listeners)
        elif isinstance(parent, Composite):
            parent._made_room()

    def _renew_locks(self) -> None:
        super()._renew_locks()
        self._bell = Bell()

    # -- the short way, by the same draws --------------------------------------------------

    def pick(
        self, key: Key | None = None, *, exclude: Collection[str] = (), cost: float = 1.0
    ) -> Pick:
        """Lease one endpoint; see ``Balancer.pick``."""
        take = self._take
        if (
            take is None
            or exclude
            or cost != 1.0
            or self._abandoned
            or not (key is None or key.__class__ is str)
        ):
            return self._pick(key, exclude, cost)
        try:
            return take(key)
        except (NoEligibleEndpointError, NoEndpointError):
            return self._pick(key, exclude, cost)  # somebody else may have room

    def _publish(self, view: View) -> None:
        super()._publish(view)
        lonely = self._is_alone() and not self._watched and not self._inner
        self._take = self._taker(view) if lonely and view.cells else None

    def _restart(self) -> None:
        super()._restart()
        self._take = None

    def _taker(self, view: View) -> Taker | None:
        """Return the quickest way to a pick of cost 1 without ``exclude``, or None.

        It ends in the quick way of a leaf. A composite that does more than choose a group has
        none.
        """
        state: State = view.state
        if not isinstance(state.plan, Spread):
            return None
        return self._taker_by(state, state.plan)

    def _taker_by(self, state: State, spread: Spread) -> Taker | None:
        """Return the quickest way to a pick by the spread, or None."""
        found: list[Taker] = []
        for name in spread.names:
            branch = state.branches[name]
            take = taker_of(branch.child, branch.view)
            if take is None:
                return None
            found.append(take)
        if len(found) < 2:
            return found[0] if found else None
        takers, ends, random, seed = tuple(found), spread.ends, self._rng.random, self._seed
        if not self._by_key:
            return lambda key: takers[bisect_right(ends, random())](key)
        by = self._by

        def by_key(key: Key | None) -> Pick:
            if key is None:
                at = random()
            else:
                at = position_of(key if by is None else by(key), seed)
            return takers[bisect_right(ends, at)](key)

        return by_key

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
        first = spread.names
        if len(first) > 1:
            first = (first[self._drawn(spread, key, rng)],)
        for name in first:
            yield name, Reason.NORMAL
        for name in spread.order:
            if name not in first:
                yield name, Reason.FALLBACK


def taker_of(child: Policy, view: View) -> Taker | None:
    """Return the quickest way to a pick of a balancer in a tree, or None."""
    if isinstance(child, Composite):
        return child._taker(view)
    if not child._is_alone() or isinstance(child, Foreign):
        return None
    pick = child.pick
    return pick if child._is_keyed() else lambda key: pick()
