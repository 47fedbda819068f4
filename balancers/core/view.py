"""What one pick reads: the membership as of now, built aside and swapped by one reference."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import compress
from types import MappingProxyType
from typing import Any

from balancers.core.census import Census, census_of
from balancers.core.ledger import Cell
from balancers.endpoint import Endpoint
from balancers.protocol import Reason

__all__ = ["View", "view_of"]

_NONE: Mapping[str, str] = MappingProxyType({})


class View:
    """An immutable membership snapshot.

    Attributes:
        roster: Every endpoint, in the order given.
        members: Their cells, in the same order.
        endpoints: The candidates: those a pick may get, in the order given.
        cells: Their cells, in the same order.
        reason: The reason a pick among them carries: NORMAL, or PANIC.
        skipped: Why each of the others is no candidate: id to phrase.
        ramps: Share of its load each ramping candidate takes, 0 < r < 1, by id; empty where
            none is ramping, or all are.
        probing: Cells of the candidates on probation: each takes a bounded number of picks.
        state: What the policy built for these candidates.
        census: What the view was made of; None where no registry is followed.
    """

    __slots__ = (
        "cells",
        "census",
        "endpoints",
        "members",
        "probing",
        "ramps",
        "reason",
        "roster",
        "skipped",
        "state",
    )

    def __init__(
        self,
        roster: tuple[Endpoint, ...] = (),
        endpoints: tuple[Endpoint, ...] = (),
        cells: tuple[Cell, ...] = (),
        reason: Reason = Reason.NORMAL,
        skipped: Mapping[str, str] | None = None,
        ramps: Mapping[str, float] | None = None,
        probing: tuple[Cell, ...] = (),
    ) -> None:
        self.roster: tuple[Endpoint, ...] = roster
        self.members: tuple[Cell, ...] = ()
        self.endpoints: tuple[Endpoint, ...] = endpoints
        self.cells: tuple[Cell, ...] = cells
        self.reason: Reason = reason
        self.skipped: Mapping[str, str] | dict[str, str] = skipped or {}
        self.ramps: Mapping[str, float] | dict[str, float] = ramps or {}
        self.probing: tuple[Cell, ...] = probing
        self.state: Any = None
        self.census: Census | None = None

    def spent(self) -> frozenset[str]:
        """Return the candidates on probation that take no pick now. O(those on probation)."""
        entries = ((cell.endpoint.id, cell.entry) for cell in self.probing)
        return frozenset(
            name for name, entry in entries if entry is not None and not entry.takes_probation_pick
        )

    def weights(self) -> dict[Cell, float]:
        """Return what loads are divided by: weights times ramps, of each candidate, > 0. O(n)."""
        ramps = self.ramps
        if not ramps:  # the endpoints' own numbers, rather than products of them
            return {
                cell: endpoint.weight
                for cell, endpoint in zip(self.cells, self.endpoints, strict=True)
            }
        return {
            # A ramp must not round a weight down to nothing.
            cell: endpoint.weight * ramps.get(endpoint.id, 1.0) or endpoint.weight
            for cell, endpoint in zip(self.cells, self.endpoints, strict=True)
        }


def view_of(
    roster: tuple[Endpoint, ...],
    cells: Mapping[str, Cell],
    panic_threshold: float,
    panic: bool | None = None,
    withheld: Mapping[str, str] = _NONE,
    before: View | None = None,
) -> View:
    """Sort a roster into candidates and skipped, by weight and by health.

    Panic compares eligible with *enabled* weight: planned maintenance must not switch health
    off. Under panic the candidates are all enabled endpoints of positive weight, or nobody,
    if the health policy says ``on_panic="fail"``.

    Args:
        roster: The membership.
        cells: The cell of each member.
        panic_threshold: The fraction below which health is ignored; 0: never.
        panic: What an outer level decided; None: decide here.
        withheld: Members an outer level keeps from this one, and why: id to phrase.
        before: An earlier view; of the same roster and cells, it saves work.

    Runtime complexity: O(n).
    """
    census = census_of(roster, cells, withheld, None if before is None else before.census)
    if panic is None:
        # Summed in the order of the roster, so that looking at a few or at all comes out alike.
        panic = sum(census.eligible) < panic_threshold * sum(census.enabled)
    if not panic:
        able = census.able
        # Everything is new: nobody has to wait for anybody.
        all_new = len(census.ramps) == sum(able) - len(census.probing)
        view = View(
            roster,
            tuple(compress(roster, able)),
            tuple(compress(census.members, able)),
            Reason.NORMAL,
            census.skipped,
            {} if all_new else census.ramps,
            tuple(census.members[place] for place in sorted(census.probing)),
        )
    else:
        enabled = tuple(compress(roster, census.enabled))
        skipped = census.skipped.copy()
        if _fails(enabled, cells):
            why = "too few are eligible, and the health policy fails on panic"
            skipped = {**{e.id: why for e in compress(roster, census.able)}, **skipped}
            view = View(roster, skipped=skipped)
        else:
            for endpoint in enabled:
                skipped.pop(endpoint.id, None)
            candidates = tuple(compress(census.members, census.enabled))
            view = View(roster, enabled, candidates, Reason.PANIC, skipped)
    view.members = census.members
    view.census = census if census.followed else None
    return view


def _fails(enabled: tuple[Endpoint, ...], cells: Mapping[str, Cell]) -> bool:
    """Whether the registry these endpoints are known to would rather fail than panic."""
    entries = (cells[endpoint.id].entry for endpoint in enabled)
    return any(entry.fails_on_panic for entry in entries if entry is not None)
