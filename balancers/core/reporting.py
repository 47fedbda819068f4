"""What a balancer says of itself: ``snapshot`` and ``explain``."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Collection, Mapping
from random import Random

from balancers.core.checks import checked_exclude
from balancers.core.ledger import Cell
from balancers.core.membership import Membership
from balancers.core.view import View
from balancers.hashing import Key
from balancers.health.states import HealthState
from balancers.protocol import Candidate, EndpointView, Explanation, Reason, Snapshot

__all__ = ["Reporting"]


class Reporting(Membership):
    """The reporting part of ``Policy``."""

    # -- what a policy says of itself ------------------------------------------------------

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

    @abstractmethod
    def _trace(
        self,
        view: View,
        key: Key | None,
        exclude: Collection[str],
        reason: Reason,
        rng: Random,
    ) -> tuple[Cell | None, Reason, tuple[str, ...]]:
        """Return whom a pick would get, why, and the levels gone through."""

    @abstractmethod
    def _check_key(self, key: Key) -> None:
        """Raise for a key this policy cannot take."""

    # -- the contract ----------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """Return load, health and latency of every endpoint at this moment. O(n).

        Takes no lock, so that a finalizer or a signal handler may call it anywhere.
        """
        if self._ledger.abandoned:
            self._ledger.drain()
        self._follow_time()
        views = tuple(self._seen(cell) for cell in self._members())
        return Snapshot(type(self).__name__, views, self._details())

    def explain(self, key: Key | None = None, *, exclude: Collection[str] = ()) -> Explanation:
        """Say what ``pick`` would do now, moving no cursor, rng or ledger. O(n)."""
        if key is not None:
            self._check_key(key)
        exclude = checked_exclude(exclude)
        self._follow_time()
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

    def _follow_time(self) -> None:
        """Have the registries followed do what was due by now, as a pick would."""
        if self._registry is not None:
            self._registry.tick()

    def _candidates(
        self, view: View, exclude: Collection[str], chosen: Cell | None
    ) -> list[Candidate]:
        """Return what ``explain`` says of each member. O(n)."""
        able = {cell.endpoint.id: cell for cell in view.cells}
        spent = view.spent() if view.probing else ()
        found = []
        for endpoint in view.roster:
            cell = able.get(endpoint.id)
            if cell is None:
                found.append(Candidate(endpoint, False, view.skipped[endpoint.id]))
            elif endpoint.id in exclude:
                found.append(Candidate(endpoint, False, "excluded"))
            elif endpoint.id in spent and cell is not chosen:
                found.append(Candidate(endpoint, False, "on probation: its picks are taken"))
            else:
                why = "chosen" if cell is chosen else "eligible"
                found.append(Candidate(endpoint, True, why, self._score(cell, 1.0)))
        return found

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

    def _path_to(self, view: View, cell: Cell) -> tuple[str, ...]:
        """Return the levels gone through to a member, this one first."""
        return (type(self).__name__,)
