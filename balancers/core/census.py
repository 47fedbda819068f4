"""The census of a membership: who may be picked, position by position in the roster.

A health change concerns few endpoints of many. The census of before is therefore copied, in flat
lists and at the speed of C, and only those whose standing is another are looked at again. At
10,000 endpoints that is a fifth of the work of counting everybody.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import compress, count
from operator import is_not
from typing import Any

from balancers.core.ledger import Cell
from balancers.endpoint import Endpoint

__all__ = ["Census", "census_of"]

_FEW = 8
"""Up to one in so many may have changed; beyond that everybody is looked at."""


class Census:
    """A roster sorted by weight and by health; frozen once made.

    Attributes:
        roster: Every endpoint, in the order given.
        cells: The cells of the membership by id, as they were handed over.
        members: The cells of the roster, in its order.
        withheld: Members an outer level keeps back, and why: id to phrase.
        able: 1 for each position that may be picked.
        enabled: The weight of each position that is ENABLED, else 0.
        eligible: The weight of each position that is eligible, else 0.
        skipped: Why each of the others may not be picked: id to phrase.
        ramps: Share of its load each ramping endpoint takes, 0 < r < 1, by id.
        probing: Positions on probation: they may be picked, but are no capacity.
        followed: Whether a registry is followed.
    """

    __slots__ = (
        "able",
        "cells",
        "eligible",
        "enabled",
        "followed",
        "members",
        "probing",
        "ramps",
        "roster",
        "skipped",
        "standings",
        "withheld",
    )

    def __init__(
        self,
        roster: tuple[Endpoint, ...],
        cells: Mapping[str, Cell],
        withheld: Mapping[str, str],
    ) -> None:
        self.roster: tuple[Endpoint, ...] = roster
        self.cells: Mapping[str, Cell] = cells
        self.withheld: Mapping[str, str] = withheld
        self.members: tuple[Cell, ...] = tuple([cells[endpoint.id] for endpoint in roster])
        self.standings: list[Any] = _standings(self.members)
        self.able: bytearray = bytearray(len(roster))
        self.enabled: list[float] = [0.0] * len(roster)
        self.eligible: list[float] = [0.0] * len(roster)
        self.skipped: dict[str, str] = {}
        self.ramps: dict[str, float] = {}
        self.probing: set[int] = set()
        self.followed: bool = any(standing is not None for standing in self.standings)
        if self.followed or withheld:
            for place in range(len(roster)):
                self._count(place)
        else:
            self.enabled = self.eligible = weights = [endpoint.weight for endpoint in roster]
            self.able = bytearray(weight > 0.0 for weight in weights)
            self.skipped = {e.id: "weight 0" for e in roster if e.weight == 0.0}

    def after(self, standings: list[Any], changed: list[int]) -> Census:
        """Return the census with other standings at the positions that changed. O(n), quickly."""
        twin = Census.__new__(Census)
        twin.roster, twin.cells, twin.withheld = self.roster, self.cells, self.withheld
        twin.members, twin.followed = self.members, self.followed
        twin.standings = standings
        twin.able = self.able[:]
        twin.enabled = self.enabled[:]
        twin.eligible = self.eligible[:]
        twin.skipped = self.skipped.copy()
        twin.ramps = self.ramps.copy()
        twin.probing = self.probing.copy()
        for place in changed:
            name = twin.roster[place].id
            twin.able[place] = 0
            twin.enabled[place] = twin.eligible[place] = 0.0
            twin.skipped.pop(name, None)
            twin.ramps.pop(name, None)
            twin.probing.discard(place)
            twin._count(place)
        return twin

    def _count(self, place: int) -> None:
        """Count one position in."""
        endpoint = self.roster[place]
        weight = endpoint.weight
        if weight == 0.0:
            self.skipped[endpoint.id] = "weight 0"
            return
        if self.withheld and endpoint.id in self.withheld:
            self.skipped[endpoint.id] = self.withheld[endpoint.id]
            return
        standing = self.standings[place]
        if standing is None:
            self.able[place] = 1
            self.enabled[place] = self.eligible[place] = weight
            return
        if standing.enabled:
            self.enabled[place] = weight
        if not standing.admitted:
            self.skipped[endpoint.id] = standing.why
            return
        self.able[place] = 1
        if standing.probation:
            self.probing.add(place)
            return
        self.eligible[place] = weight
        if standing.ramp < 1.0:
            self.ramps[endpoint.id] = standing.ramp

    def _check(self) -> None:
        again = Census(self.roster, self.cells, self.withheld)
        # A first success replaces a standing without a word: it changes nothing that is counted.
        for field in sorted({*Census.__slots__} - {"standings"}):
            assert getattr(again, field) == getattr(self, field), field


def census_of(
    roster: tuple[Endpoint, ...],
    cells: Mapping[str, Cell],
    withheld: Mapping[str, str],
    before: Census | None,
) -> Census:
    """Return the census of a roster as of now.

    Args:
        roster: The membership.
        cells: The cell of each member.
        withheld: Members an outer level keeps back, and why.
        before: An earlier census; of use where it is of the same roster, cells and withheld.

    Runtime complexity: O(n).
    """
    if (
        before is None
        or before.roster is not roster
        or before.cells is not cells
        or before.withheld is not withheld
    ):
        return Census(roster, cells, withheld)
    standings = _standings(before.members)
    changed = list(compress(count(), map(is_not, standings, before.standings)))
    if len(changed) * _FEW > len(roster):
        return Census(roster, cells, withheld)
    return before.after(standings, changed)


def _standings(members: tuple[Cell, ...]) -> list[Any]:
    """Return what the registry thinks of each; None of whom it does not know."""
    return [None if (entry := cell.entry) is None else entry.standing for cell in members]
