"""A ``Balancer`` of somebody else's making, as a part of a tree of ours.

It cannot adopt our ledger, so it keeps its own: it is narrowed to the eligible endpoints
through its ``update``, and each of its leases is held by one of ours, which settles it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from random import Random

from balancers.core.lease import Pick, TrackedPick
from balancers.core.ledger import Cell
from balancers.core.policy import Policy
from balancers.core.view import View
from balancers.endpoint import Endpoint
from balancers.hashing import Key
from balancers.protocol import Balancer, Outcome, Reason

__all__ = ["Foreign"]


class Foreign(Policy):
    """Stands in a tree for a balancer that cannot be adopted.

    Args:
        balancer: Anything that keeps the ``Balancer`` protocol.
    """

    def __init__(self, balancer: Balancer) -> None:
        if not isinstance(balancer, Balancer):
            raise TypeError(f"policy must make a balancer, not {balancer!r}")
        self._balancer = balancer
        super().__init__(())

    def _is_keyed(self) -> bool:
        return bool(getattr(self._balancer, "keyed", True))

    def _prepare(self, roster: tuple[Endpoint, ...], cells: Mapping[str, Cell]) -> View:
        view = super()._prepare(roster, cells)
        # Its own checks may refuse the membership, so it is told before anything is published.
        self._balancer.update(view.endpoints)
        view.state = {cell.endpoint.id: cell for cell in view.cells}
        return view

    def _grant(
        self,
        view: View,
        key: Key | None,
        exclude: Collection[str],
        cost: float,
        reason: Reason,
        now: float | None,
    ) -> Pick:
        cells: Mapping[str, Cell] = view.state
        while True:
            theirs = self._balancer.pick(key, exclude=exclude, cost=cost)
            name = theirs.endpoint.id
            cell = cells.get(name)
            if cell is not None:
                break
            # An update is under way: it knows an endpoint that this pick must not see yet.
            theirs.done(Outcome.CANCELLED)
            exclude = {*exclude, name}

        def settle(
            pick: TrackedPick,
            outcome: Outcome,
            latency: float | None,
            load: float | None,
            retry_after: float | None,
        ) -> None:
            theirs.done(outcome, latency=latency, load=load, retry_after=retry_after)

        return cell.issue_tracked(max(reason, theirs.reason), cost, now, (settle, *self._hooks))

    def _lease_on(
        self,
        view: View,
        cell: Cell,
        key: Key | None,
        cost: float,
        reason: Reason,
        now: float | None,
    ) -> Pick | None:
        return None  # it takes no orders

    def _choose(
        self,
        view: View,
        key: Key | None,
        exclude: Collection[str],
        cost: float,
        rng: Random,
    ) -> Cell | None:
        chosen = self._balancer.explain(key, exclude=exclude).chosen
        return None if chosen is None else view.state.get(chosen.id)
