"""Who may hold a session, and since when it could be picked."""

from __future__ import annotations

import math
from collections.abc import Mapping

from balancers.core.ledger import Cell
from balancers.core.view import View
from balancers.health.states import Admin, HealthState

__all__ = ["Seats"]

_UNFIT = frozenset({HealthState.UNHEALTHY, HealthState.EJECTED, HealthState.GRACE})


class Seats:
    """The members of one view, as sessions see them.

    Attributes:
        members: Every member's cell, by id.
    """

    __slots__ = ("_able", "_since", "members")

    def __init__(self, view: View, cells: Mapping[str, Cell]) -> None:
        self.members: dict[str, Cell] = {
            endpoint.id: cells[endpoint.id] for endpoint in view.roster
        }
        self._able = {e.id: c for e, c in zip(view.endpoints, view.cells, strict=True)}
        self._since: dict[str, float] = {}

    def cell(self, name: str) -> Cell | None:
        """Return the cell of an endpoint that may hold sessions, None of any other. O(1)."""
        found = self._able.get(name)
        if found is None:
            cell = self.members.get(name)
            if cell is not None and _drains(cell):
                return cell
        return found

    def admits(self, cell: Cell) -> bool:
        """Whether the cell takes this pick; on probation that uses up a permit."""
        entry = cell.entry
        if entry is None or not entry.standing.probation:
            return True
        return bool(entry.take_probation_pick())

    def give_back(self, cell: Cell) -> None:
        """Return the permit of a pick that came to nothing."""
        entry = cell.entry
        if entry is not None and entry.standing.probation:
            entry.return_probation_pick()

    def date(self, before: Seats | None, now: float) -> None:
        """Note since when each candidate has been one, given the seats of the view before."""
        known = {} if before is None else before._since
        # Who is there from the start was never away.
        start = -math.inf if before is None else now
        self._since = {name: known.get(name, start) for name in self._able}

    def eligible_for(self, name: str, now: float) -> float:
        """Return for how many seconds the endpoint has been a candidate; < 0 if it is none."""
        since = self._since.get(name)
        return -1.0 if since is None else now - since


def _drains(cell: Cell) -> bool:
    """Whether the endpoint, no candidate, is kept from new picks by the operator alone."""
    entry, idle = cell.entry, cell.endpoint.weight == 0.0
    if entry is None:
        return idle
    standing = entry.standing
    if standing.state in _UNFIT or standing.admin is Admin.DISABLED:
        return False
    if standing.admin is Admin.DRAINING:
        return bool(entry.registry.policy.drain_sticky)
    return idle
