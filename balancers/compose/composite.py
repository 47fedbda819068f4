"""``Composite``: the base of balancers made of balancers.

A composite sorts its endpoints into groups and gives each group a balancer of its own. A pick
tries groups in the order the composite says, and is made by the leaf it ends in; the leaf's
lease is the only one, and its settlement climbs back through the hooks each level added when
it adopted the one below.

Guarantees:
    One ledger, at the root: an endpoint that changes group keeps its load and latency.
    One view, at the root: a pick sees all levels of one membership, never a mixture.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, TypeAlias, Unpack

from balancers.compose.foreign import Foreign
from balancers.core.lease import Pick
from balancers.core.ledger import Cell
from balancers.core.membership import Options
from balancers.core.policy import Policy
from balancers.core.view import View
from balancers.endpoint import Endpoint, EndpointLike
from balancers.errors import NoEligibleEndpointError, NoEndpointError
from balancers.hashing import Key
from balancers.protocol import Balancer, Reason

__all__ = ["Branch", "Composite", "PolicyFactory"]

PolicyFactory: TypeAlias = Callable[[Iterable[Endpoint]], Balancer]
"""A policy class, or anything that makes a balancer of endpoints."""


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
        super().__init__(endpoints, **options)

    # -- what a composite says of itself ---------------------------------------------------

    @abstractmethod
    def _groups(self, view: View) -> Mapping[Hashable, tuple[Endpoint, ...]]:
        """Sort the roster (all of it, not the candidates alone) into groups."""

    def _plan(self, view: View, branches: Mapping[Hashable, Branch]) -> Any:
        """Return what ``_order`` finds as its ``plan``, computed once per view."""
        return None

    @abstractmethod
    def _order(
        self,
        plan: Any,
        branches: Mapping[Hashable, Branch],
        key: Key | None,
        rng: Random,
    ) -> Iterator[tuple[Hashable, Reason]]:
        """Yield groups to try, each with the reason a pick there carries."""

    def _panic_below(self, view: View) -> bool | None:
        """What to tell the groups of panic: this level's decision, or None: decide yourselves."""
        return view.reason is Reason.PANIC

    # -- the mechanism ---------------------------------------------------------------------

    def _prepare(self, roster: tuple[Endpoint, ...], cells: Mapping[str, Cell]) -> View:
        view = super()._prepare(roster, cells)
        panic = self._panic_below(view)
        branches: dict[Hashable, Branch] = {}
        for name, members in self._groups(view).items():
            old = self._branches.get(name)
            child = self._child(members) if old is None else old.child
            child._panic = panic
            child._admit(members)
            branches[name] = Branch(child, child._prepare(members, cells))
        view.state = _State(branches, self._plan(view, branches))
        return view

    def _publish(self, view: View) -> None:
        state: _State = view.state
        for branch in state.branches.values():
            branch.child._publish(branch.view)
        self._branches = state.branches
        super()._publish(view)

    def _child(self, members: tuple[Endpoint, ...]) -> Policy:
        made = self._factory(members)
        child = made if isinstance(made, Policy) else Foreign(made)
        child._adopt(self)
        return child

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
        for name, why in self._order(state.plan, state.branches, key, self._rng):
            branch = state.branches[name]
            try:
                return branch.child._descend(branch.view, key, exclude, cost, max(reason, why), now)
            except (NoEligibleEndpointError, NoEndpointError):
                continue
        raise self._nobody(view, exclude)

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
        label = type(self).__name__
        state: _State = view.state
        for name, why in self._order(state.plan, state.branches, key, rng):
            branch = state.branches[name]
            chosen, grave, path = branch.child._trace(
                branch.view, key, exclude, max(reason, why), rng
            )
            if chosen is not None:
                return chosen, grave, (f"{label}[{name}]", *path)
        return None, max(reason, view.reason), (label,)

    def _latency(self, cell: Cell) -> float | None:
        return next(
            (
                latency
                for branch in self._branches.values()
                if (latency := branch.child._latency(cell)) is not None
            ),
            None,
        )
