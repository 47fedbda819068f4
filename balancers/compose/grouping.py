"""``Grouping``: the slow half of a composite: its groups, and what may be said of them.

Adoption is recursive. A balancer a factory made brings its own ledger, clock, rng and hooks;
when it joins a tree it takes those of the tree, except what it was given explicitly, and so do
the balancers below it. What it had built of its own cells it forgets and builds anew.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, ClassVar, TypeAlias, Unpack

from balancers.compose.foreign import Foreign
from balancers.compose.spread import Spread
from balancers.core.lease import Pick
from balancers.core.ledger import Cell, contained
from balancers.core.membership import Membership, Options
from balancers.core.policy import Policy
from balancers.core.view import View, view_of
from balancers.endpoint import Endpoint, EndpointLike
from balancers.hashing import Key
from balancers.health.registry import HealthRegistry
from balancers.protocol import Balancer, Candidate, Reason

__all__ = ["Branch", "Group", "Grouping", "PolicyFactory", "State"]

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
    """One group: the balancer over it, and that balancer's part of the view.

    Attributes:
        child: The balancer.
        view: Its part of the view.
        basis: All that the view was made of; while it stays the same, so does the view.
    """

    child: Policy
    view: View
    basis: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class State:
    """What a composite keeps in a view: its groups, and what picks go by."""

    branches: Mapping[Hashable, Branch]
    plan: Any


class Grouping(Policy):
    """Endpoints sorted into groups, each with a balancer of its own.

    Args:
        endpoints: The membership.
        policy: Makes the balancer of a group; called with the endpoints only.
        options: What every balancer takes; see ``Policy``.
    """

    salt: ClassVar[int] = 0
    """Seed of the hash by which this level places keys, unlike that of any other level."""

    _locates: ClassVar[bool] = False
    """Whether this level asks where a key comes from."""

    _panics_by_group: ClassVar[bool] = False
    """Whether panic is a matter of each group, unless an outer level decides for all of them."""

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
        self._inner: tuple[HealthRegistry, ...] = ()
        self._checks: Callable[[Any], None] = super()._check_key
        self._by: Callable[[Any], Key] | None = None
        self._by_key = False  # whether the leaves place by key, and so every level
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

    # -- views -----------------------------------------------------------------------------

    def _prepare(self, roster: tuple[Endpoint, ...], cells: Mapping[str, Cell]) -> View:
        view = self._look(roster, cells)
        panic = view.reason is Reason.PANIC
        branches: dict[Hashable, Branch] = {}
        for name, group in self._groups(view, cells).items():
            branches[name] = self._branch(self._branches.get(name), group, panic, cells)
        view.state = State(branches, self._plan(view, branches))
        return view

    def _branch(
        self, old: Branch | None, group: Group, panic: bool, cells: Mapping[str, Cell]
    ) -> Branch:
        """Return a group's balancer and view: the old view, if nothing has changed for it."""
        panic = panic if group.panic is None else group.panic
        withheld = self._withheld
        if group.withheld:
            withheld = {**withheld, **group.withheld}
        members = group.members
        at = [cells[endpoint.id] for endpoint in members]
        if old is not None and old.child._attachment is not None:
            old.child._hold(members, {cell.endpoint.id: cell for cell in at})
        standings = [cell.entry and cell.entry.standing for cell in at]
        basis = (members, at, standings, panic, withheld)
        if old is not None and basis == old.basis and old.child._is_settled(old.view):
            return old
        child = old.child if old is not None else self._child(members, at)
        child._panic = panic
        child._withheld = withheld
        child._admit(members)
        return Branch(child, child._prepare(members, cells), basis)

    def _is_settled(self, view: View) -> bool:
        state: State = view.state
        return all(b.child._is_settled(b.view) for b in state.branches.values())

    def _look(self, roster: tuple[Endpoint, ...], cells: Mapping[str, Cell]) -> View:
        """Return this level's own view, without groups."""
        panic = bool(self._panic) if self._panics_by_group else self._panic
        return view_of(roster, cells, self._panic_threshold, panic, self._withheld, self._view)

    def _capacity_of(self, view: View) -> tuple[Endpoint, ...]:
        """Return the candidates that count as capacity: one on probation takes too few picks."""
        if not view.probing:
            return view.endpoints
        probing = set(view.probing)
        pairs = zip(view.endpoints, view.cells, strict=True)
        return tuple(endpoint for endpoint, cell in pairs if cell not in probing)

    def _publish(self, view: View) -> None:
        state: State = view.state
        for branch in state.branches.values():
            if branch.child._view is not branch.view:
                branch.child._publish(branch.view)
        for name, branch in self._branches.items():
            if name not in state.branches:
                contained("what a group that is gone left", _retire, branch.child)
        self._branches = state.branches
        self._inner = tuple(r for r in self._registries() if r is not self._registry)
        children = [branch.child for branch in state.branches.values()]
        self._dated = bool(self._hooks) or any(child._dated for child in children)
        self._checks = self._checker()
        self._by = self._keyer()
        self._watched = self._observer is not None or any(c._watched for c in children)
        self._by_key = any(child._is_keyed() for child in children)
        self._wants_key = self._by_key or self._locates or any(c._wants_key for c in children)
        super()._publish(view)

    # -- the tree --------------------------------------------------------------------------

    def _child(self, members: tuple[Endpoint, ...], cells: list[Cell]) -> Policy:
        made = self._factory(members)
        child = made if isinstance(made, Policy) else Foreign(made)
        if child._parent is not None:
            raise ValueError(
                f"policy makes a balancer for each group, not {made!r} for another one"
            )
        child._adopt(self)
        for registry in child._registries():
            if self._root()._registry not in (None, registry):
                raise ValueError("a balancer inside another one was given a registry of its own")
        if child._attachment is not None:
            child._hold(members, {cell.endpoint.id: cell for cell in cells})
        return child

    # A registry given inside is followed there, and kept up to date by the picks of the root.

    def _registries(self) -> list[HealthRegistry]:
        found = dict.fromkeys(super()._registries())
        for branch in self._branches.values():
            found.update(dict.fromkeys(branch.child._registries()))
        return list(found)

    def _private_locks(self) -> list[Lock]:
        return [
            lock for branch in self._branches.values() for lock in branch.child._private_locks()
        ]

    def _pick(
        self,
        key: Key | None,
        exclude: Collection[str],
        cost: float,
        now: float | None = None,
    ) -> Pick:
        if self._inner:
            if now is None:
                now = self._ledger.clock()
            for registry in self._inner:
                if now >= registry.deadline:
                    registry.advance(now)
        return super()._pick(key, exclude, cost, now)

    def _follow_time(self) -> None:
        for registry in self._inner:
            registry.tick()
        super()._follow_time()

    def close(self) -> None:
        """Leave the registries; idempotent. Picks go on, without health."""
        with self._controlled():
            self._let_go()
            for cell in self._ledger.cells.values():
                cell.enter(None)
            self._rebuild()

    def _let_go(self) -> None:
        super()._let_go()
        for branch in self._branches.values():
            branch.child._let_go()

    def _adopt(self, parent: Membership) -> None:
        super()._adopt(parent)
        outer = parent._seed if isinstance(parent, Grouping) else 0
        self._seed = (outer * 31 + self.salt) & 0xFFFFFFFF
        for branch in self._branches.values():
            branch.child._adopt(self)

    def _root(self) -> Membership:
        root: Membership = self
        while root._parent is not None:
            root = root._parent
        return root

    def _renew(self) -> None:
        state: State = self._view.state
        branches: dict[Hashable, Branch] = {}
        for name, branch in state.branches.items():
            if branch.child._draws_own():
                branch.child._renew()
            branches[name] = Branch(branch.child, branch.child._view, branch.basis)
        view = copy.copy(self._view)
        view.state = State(branches, state.plan)
        self._publish(view)

    def _tell_listeners(self) -> None:
        self._make_up()
        super()._tell_listeners()

    def _make_up(self) -> None:
        """Do what had to wait until no lock was held."""
        for branch in self._branches.values():
            if isinstance(branch.child, Grouping):
                branch.child._make_up()

    def _watchers(self) -> bool:
        if self._inner or super()._watchers():
            return True
        return any(branch.child._watchers() for branch in self._branches.values())

    # -- keys: groups are alike, so what keys one of them takes, all of them take ----------

    def _is_keyed(self) -> bool:
        return self._by_key

    def _check_key(self, key: Key) -> None:
        self._checks(key)

    def _checker(self) -> Callable[[Any], None]:
        """Return what checks keys at the first of the leaves."""
        for branch in self._branches.values():
            child = branch.child
            return child._checker() if isinstance(child, Grouping) else child._check_key
        return super()._check_key

    def _keyer(self) -> Callable[[Any], Key] | None:
        for branch in self._branches.values():
            return branch.child._keyer()
        return None

    def _as_key(self, key: Any) -> Key:
        """Return what this level places by instead of the key."""
        return key if self._by is None else self._by(key)

    # -- what is said of it ----------------------------------------------------------------

    def _label(self, name: Hashable = None) -> str:
        """Return what stands for this level, and the group taken, in a path."""
        label = type(self).__name__
        return label if name is None else f"{label}[{name}]"

    def _path_to(self, view: View, cell: Cell) -> tuple[str, ...]:
        state: State = view.state
        name = self._group_of(state.plan, cell.endpoint)
        branch = state.branches.get(name)
        if branch is None:
            return (self._label(),)
        return (self._label(name), *branch.child._path_to(branch.view, cell))

    def _candidates(
        self, view: View, exclude: Collection[str], chosen: Cell | None
    ) -> list[Candidate]:
        state: State = view.state
        taken = None if chosen is None else self._group_of(state.plan, chosen.endpoint)
        found: dict[str, Candidate] = {}
        for name, branch in state.branches.items():
            for said in branch.child._candidates(branch.view, exclude, chosen):
                told = said
                if said.considered and chosen is not None and name != taken:
                    why = f"{self._label(name)} was not chosen"
                    told = Candidate(said.endpoint, False, why, said.score)
                if told.considered or told.endpoint.id not in found:
                    found[told.endpoint.id] = told
        return [
            found.get(endpoint.id) or Candidate(endpoint, False, self._left_out(view, endpoint))
            for endpoint in view.roster
        ]

    def _left_out(self, view: View, endpoint: Endpoint) -> str:
        """Say why an endpoint is in no group."""
        return view.skipped.get(endpoint.id, f"in no group of {type(self).__name__}")

    def _details(self) -> Mapping[str, float]:
        state: State = self._view.state
        if not isinstance(state.plan, Spread):
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
        state: State = self._view.state
        return state.branches.get(self._group_of(state.plan, cell.endpoint))

    def _check(self) -> None:
        for branch in self._branches.values():
            assert branch.child._parent is self
            assert branch.child._ledger is self._ledger
            own = branch.child._own_hooks()
            above = tuple(hook for hook in self._hooks if hook not in own)
            assert len(branch.child._hooks) == len(own) + len(above)
            assert branch.child._hooks[len(own) :] == above
            check = getattr(branch.child, "_check", None)
            if check is not None:
                check()


def _retire(child: Policy) -> None:
    """Have a balancer let go of the cells and the registry it was following."""
    child._let_go()
    child._publish(child._prepare((), {}))
