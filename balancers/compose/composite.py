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
from abc import abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, ClassVar, TypeAlias, Unpack

from balancers.compose.foreign import Foreign
from balancers.compose.spread import Spread
from balancers.core.lease import Pick
from balancers.core.ledger import Cell
from balancers.core.membership import Membership, Options
from balancers.core.policy import Policy, Quick
from balancers.core.view import View, view_of
from balancers.endpoint import Endpoint, EndpointLike
from balancers.errors import BalancerError, NoEligibleEndpointError, NoEndpointError
from balancers.hashing import Key
from balancers.protocol import Balancer, Candidate, Reason
from balancers.structures.split import position_of

__all__ = ["Branch", "Composite", "Group", "PolicyFactory"]

PolicyFactory: TypeAlias = Callable[[Iterable[Endpoint]], Balancer]
"""A policy class, or anything that makes a balancer of endpoints."""


@dataclass(frozen=True, slots=True)
class Group:
    """What a composite says of one group.

    Attributes:
        members: Its endpoints, whether they may be picked or not.
        panic: Whether health is ignored there; None: as at the composite's own level.
        withheld: Members that may not be picked there, and why.
    """

    members: tuple[Endpoint, ...]
    panic: bool | None = None
    withheld: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Branch:
    """One group: the balancer over it, and that balancer's part of the view."""

    child: Policy
    view: View


@dataclass(frozen=True, slots=True)
class _State:
    branches: Mapping[Hashable, Branch]
    plan: Any


class Composite(Policy):
    """A balancer over groups of its endpoints.

    Args:
        endpoints: The membership.
        policy: Makes the balancer of a group; called with the endpoints only.
        options: What every balancer takes; see ``Policy``.
    """

    salt: ClassVar[int] = 0
    """Seed of the hash by which this level places keys, unlike that of any other level."""

    def __init__(
        self,
        endpoints: Iterable[EndpointLike],
        *,
        policy: PolicyFactory,
        **options: Unpack[Options],
    ) -> None:
        if not callable(policy):
            raise TypeError(f"policy makes a balancer of endpoints; {policy!r} is not callable")
        self._factory = policy
        self._branches: Mapping[Hashable, Branch] = {}
        self._seed = self.salt
        self._by_key = False
        super().__init__(endpoints, **options)

    # -- what a composite says of itself ---------------------------------------------------

    @abstractmethod
    def _groups(self, view: View, cells: Mapping[str, Cell]) -> Mapping[Hashable, Group]:
        """Sort the roster (all of it, not the candidates alone) into groups.

        What it leaves as ``view.state``, ``_plan`` finds there.
        """

    @abstractmethod
    def _group_of(self, plan: Any, endpoint: Endpoint) -> Hashable:
        """Return the name of the group an endpoint is in; one that is no group if in none."""

    @abstractmethod
    def _plan(self, view: View, branches: Mapping[Hashable, Branch]) -> Any:
        """Return what picks go by, computed once per view; a ``Spread``, if it serves all."""

    def _spread(self, plan: Any, key: Key | None) -> Spread:
        """Return the spread of this pick; the plan itself, unless it depends on the pick."""
        return plan  # type: ignore[no-any-return]

    # -- the slow half ---------------------------------------------------------------------

    def _capacity_of(self, view: View) -> tuple[Endpoint, ...]:
        """Return the candidates that count as capacity: one on probation takes too few picks."""
        if not view.probing:
            return view.endpoints
        probing = set(view.probing)
        pairs = zip(view.endpoints, view.cells, strict=True)
        return tuple(endpoint for endpoint, cell in pairs if cell not in probing)

    def _own_view(self, roster: tuple[Endpoint, ...], cells: Mapping[str, Cell]) -> View:
        return view_of(roster, cells, self._panic_threshold, self._panic, self._withheld)

    def _prepare(self, roster: tuple[Endpoint, ...], cells: Mapping[str, Cell]) -> View:
        view = self._own_view(roster, cells)
        panic = view.reason is Reason.PANIC
        branches: dict[Hashable, Branch] = {}
        for name, group in self._groups(view, cells).items():
            old = self._branches.get(name)
            child = self._child(group.members) if old is None else old.child
            child._panic = panic if group.panic is None else group.panic
            child._withheld = (
                {**self._withheld, **group.withheld} if group.withheld else self._withheld
            )
            child._admit(group.members)
            branches[name] = Branch(child, child._prepare(group.members, cells))
        view.state = _State(branches, self._plan(view, branches))
        return view

    def _publish(self, view: View) -> None:
        state: _State = view.state
        children = [branch.child for branch in state.branches.values()]
        for branch in state.branches.values():
            branch.child._publish(branch.view)
        self._branches = state.branches
        self._dated = bool(self._hooks) or any(child._dated for child in children)
        self._by_key = any(child._is_keyed() for child in children)
        self._view = view
        plain = self._is_plain(view) and not self._watched
        self._fast = self._quick(view, Reason.NORMAL) if plain else None

    def _child(self, members: tuple[Endpoint, ...]) -> Policy:
        made = self._factory(members)
        child = made if isinstance(made, Policy) else Foreign(made)
        child._adopt(self)
        return child

    def _root(self) -> Membership:
        root: Membership = self
        while root._parent is not None:
            root = root._parent
        return root

    def _adopt(self, parent: Membership) -> None:
        super()._adopt(parent)
        self._seed = (parent._seed if isinstance(parent, Composite) else 0) * 31 + self.salt
        self._seed &= 0xFFFFFFFF
        for branch in self._branches.values():
            branch.child._adopt(self)

    def _renew(self) -> None:
        state: _State = self._view.state
        branches: dict[Hashable, Branch] = {}
        for name, branch in state.branches.items():
            if branch.child._draws_own():
                branch.child._renew()
            branches[name] = Branch(branch.child, branch.child._view)
        view = copy.copy(self._view)
        view.state = _State(branches, state.plan)
        self._publish(view)

    def _is_keyed(self) -> bool:
        return self._by_key

    def _check_key(self, key: Key) -> None:
        # Groups are alike: what keys one of them takes, all of them take.
        for branch in self._branches.values():
            branch.child._check_key(key)
            return
        super()._check_key(key)

    def _as_key(self, key: Any) -> Key:
        for branch in self._branches.values():
            return branch.child._as_key(key)
        return key  # type: ignore[no-any-return]

    @property
    def _watched(self) -> bool:
        return self._observer is not None or any(
            branch.child._watched for branch in self._branches.values()
        )

    # -- the quick half --------------------------------------------------------------------

    def pick(
        self, key: Key | None = None, *, exclude: Collection[str] = (), cost: float = 1.0
    ) -> Pick:
        """Lease one endpoint; see ``Balancer.pick``."""
        quick: Quick | None = self._fast
        if not (quick is None or exclude or cost != 1.0 or self._abandoned) and (
            key is None or key.__class__ is str
        ):
            try:
                return quick(key)
            except NoEligibleEndpointError:
                pass  # somebody else may have room
        return super().pick(key, exclude=exclude, cost=cost)

    def _quick(self, view: View, reason: Reason) -> Quick | None:
        state: _State = view.state
        if type(state.plan) is not Spread:
            return None
        return self._quick_spread(state.branches, state.plan, reason)

    def _quick_spread(
        self, branches: Mapping[Hashable, Branch], spread: Spread, reason: Reason
    ) -> Quick | None:
        """Return the shortest way to a pick by the spread."""
        found = []
        for name, why in zip(spread.names, spread.reasons, strict=True):
            branch = branches[name]
            quick = branch.child._quick(branch.view, max(reason, why))
            if quick is None:
                return None
            found.append(quick)
        if len(found) < 2:
            return found[0] if found else None
        quicks, ends, random, seed = tuple(found), spread.ends, self._rng.random, self._seed
        if not self._by_key:
            return lambda key: quicks[bisect_right(ends, random())](key)

        as_key = self._as_key

        def by_key(key: Key | None) -> Pick:
            at = random() if key is None else position_of(as_key(key), seed)
            return quicks[bisect_right(ends, at)](key)

        return by_key

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
        state: _State = view.state
        spread = self._spread(state.plan, key)
        first: Hashable = None
        error: BalancerError | None = None
        at = self._first(spread, key, self._rng)
        if at is not None:
            first = spread.names[at]
            branch = state.branches[first]
            why = max(reason, spread.reasons[at])
            try:
                return branch.child._descend(branch.view, key, exclude, cost, why, now)
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

    def _lease_on(
        self,
        view: View,
        cell: Cell,
        key: Key | None,
        cost: float,
        reason: Reason,
        now: float | None,
    ) -> Pick | None:
        state: _State = view.state
        branch = state.branches.get(self._group_of(state.plan, cell.endpoint))
        if branch is None:
            return None
        return branch.child._lease_on(branch.view, cell, key, cost, reason, now)

    def _choose(
        self,
        view: View,
        key: Key | None,
        exclude: Collection[str],
        cost: float,
        rng: Random,
    ) -> Cell | None:
        return self._trace(view, key, exclude, Reason.NORMAL, rng)[0]

    # -- what is said of it ----------------------------------------------------------------

    def _trace(
        self,
        view: View,
        key: Key | None,
        exclude: Collection[str],
        reason: Reason,
        rng: Random,
    ) -> tuple[Cell | None, Reason, tuple[str, ...]]:
        state: _State = view.state
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
            yield spread.names[at], spread.reasons[at]
        for name in spread.order:
            if name not in first:
                yield name, Reason.FALLBACK

    def _path_to(self, view: View, cell: Cell) -> tuple[str, ...]:
        state: _State = view.state
        name = self._group_of(state.plan, cell.endpoint)
        branch = state.branches.get(name)
        if branch is None:
            return (self._label(),)
        return (self._label(name), *branch.child._path_to(branch.view, cell))

    def _label(self, name: Hashable = None) -> str:
        """Return what stands for this level, and the group taken, in a path."""
        label = type(self).__name__
        return label if name is None else f"{label}[{name}]"

    def _candidates(
        self, view: View, exclude: Collection[str], chosen: Cell | None
    ) -> list[Candidate]:
        state: _State = view.state
        taken = None if chosen is None else self._group_of(state.plan, chosen.endpoint)
        found: dict[str, Candidate] = {}
        for name, branch in state.branches.items():
            for said in branch.child._candidates(branch.view, exclude, chosen):
                if said.considered and chosen is not None and name != taken:
                    why = f"{self._label(name)} was not chosen"
                    said = Candidate(said.endpoint, False, why, said.score)
                if said.considered or said.endpoint.id not in found:
                    found[said.endpoint.id] = said
        return [
            found.get(endpoint.id) or Candidate(endpoint, False, self._left_out(view, endpoint))
            for endpoint in view.roster
        ]

    def _left_out(self, view: View, endpoint: Endpoint) -> str:
        """Say why an endpoint is in no group."""
        return view.skipped.get(endpoint.id, f"in no group of {type(self).__name__}")

    def _details(self) -> Mapping[str, float]:
        state: _State = self._view.state
        if type(state.plan) is not Spread:
            return {}
        shares = state.plan.shares
        return {f"share of {name}": float(shares.get(name, 0)) for name in state.branches}

    def _latency(self, cell: Cell) -> float | None:
        branch = self._branch_of(cell)
        return None if branch is None else branch.child._latency(cell)

    def _score(self, cell: Cell, cost: float) -> float | None:
        branch = self._branch_of(cell)
        return None if branch is None else branch.child._score(cell, cost)

    def _cell_details(self, cell: Cell) -> Mapping[str, float]:
        branch = self._branch_of(cell)
        return {} if branch is None else branch.child._cell_details(cell)

    def _branch_of(self, cell: Cell) -> Branch | None:
        state: _State = self._view.state
        return state.branches.get(self._group_of(state.plan, cell.endpoint))

    def _check(self) -> None:
        for branch in self._branches.values():
            assert branch.child._parent is self
            assert branch.child._ledger is self._ledger
            assert branch.child._hooks[-len(self._hooks) :] == self._hooks or not self._hooks
            check = getattr(branch.child, "_check", None)
            if check is not None:
                check()
