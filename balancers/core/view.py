"""What one pick reads: the membership as of now, built aside and swapped by one reference."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

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
    """

    __slots__ = (
        "cells",
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


def view_of(
    roster: tuple[Endpoint, ...],
    cells: Mapping[str, Cell],
    panic_threshold: float,
    panic: bool | None = None,
    withheld: Mapping[str, str] = _NONE,
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

    Runtime complexity: O(n).
    """
    able: list[Endpoint] = []
    enabled: list[Endpoint] = []
    skipped: dict[str, str] = {}
    ramps: dict[str, float] = {}
    probing: list[Cell] = []
    eligible_weight = enabled_weight = 0.0
    for endpoint in roster:
        if endpoint.weight == 0.0:
            skipped[endpoint.id] = "weight 0"
            continue
        if withheld and endpoint.id in withheld:
            skipped[endpoint.id] = withheld[endpoint.id]
            continue
        entry = cells[endpoint.id].entry
        if entry is None:
            able.append(endpoint)
            enabled.append(endpoint)
            eligible_weight += endpoint.weight
            enabled_weight += endpoint.weight
            continue
        standing = entry.standing
        if standing.enabled:
            enabled.append(endpoint)
            enabled_weight += endpoint.weight
        if not standing.admitted:
            skipped[endpoint.id] = standing.why
            continue
        able.append(endpoint)
        if standing.probation:
            probing.append(cells[endpoint.id])  # may be picked, but is no capacity
            continue
        eligible_weight += endpoint.weight
        if standing.ramp < 1.0:
            ramps[endpoint.id] = standing.ramp
    if panic is None:
        panic = eligible_weight < panic_threshold * enabled_weight
    if panic and _fails(enabled, cells):
        why = "too few are eligible, and the health policy fails on panic"
        return View(roster, skipped={**{endpoint.id: why for endpoint in able}, **skipped})
    if panic:
        for endpoint in enabled:
            skipped.pop(endpoint.id, None)
        return View(
            roster,
            tuple(enabled),
            tuple(cells[endpoint.id] for endpoint in enabled),
            Reason.PANIC,
            skipped,
        )
    if len(ramps) == len(able) - len(probing):
        ramps = {}  # everything is new: nobody has to wait for anybody
    return View(
        roster,
        tuple(able),
        tuple(cells[endpoint.id] for endpoint in able),
        Reason.NORMAL,
        skipped,
        ramps,
        tuple(probing),
    )


def _fails(enabled: list[Endpoint], cells: Mapping[str, Cell]) -> bool:
    """Whether the registry these endpoints are known to would rather fail than panic."""
    entries = (cells[endpoint.id].entry for endpoint in enabled)
    return any(entry.fails_on_panic for entry in entries if entry is not None)
