"""What one pick reads: the membership as of now, built aside and swapped by one reference."""

from __future__ import annotations

from typing import Any

from balancers.core.ledger import Cell
from balancers.endpoint import Endpoint
from balancers.protocol import Reason

__all__ = ["View"]


class View:
    """An immutable membership snapshot.

    Attributes:
        roster: Every endpoint, in the order given.
        endpoints: The candidates: those a pick may get, in the order given.
        cells: Their cells, in the same order.
        reason: The reason a pick among them carries: NORMAL, or PANIC.
        skipped: Why each of the others is no candidate: id to phrase.
        state: What the policy built for these candidates.
    """

    __slots__ = ("cells", "endpoints", "reason", "roster", "skipped", "state")

    def __init__(
        self,
        roster: tuple[Endpoint, ...],
        endpoints: tuple[Endpoint, ...],
        cells: tuple[Cell, ...],
        reason: Reason = Reason.NORMAL,
        skipped: dict[str, str] | None = None,
    ) -> None:
        self.roster = roster
        self.endpoints = endpoints
        self.cells = cells
        self.reason = reason
        self.skipped = {} if skipped is None else skipped
        self.state: Any = None
