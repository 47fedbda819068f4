"""What policies that weigh by reported load share: reports by cell, and when to weigh anew."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

from balancers.core.ledger import Cell
from balancers.protocol import Outcome
from balancers.structures.reported_load import LoadReports, ReportedLoad, blended

__all__ = ["ReportedWeights"]


class ReportedWeights:
    """The weights of one policy's endpoints by their own reports; see ``ReportedLoad``.

    The reports are facts of the cells, so that they follow an endpoint through updates. Learning
    takes no lock; the rest belongs under the policy's own.

    Args:
        rules: How far reports are believed.

    Raises:
        TypeError: If they are no ``ReportedLoad``.
    """

    __slots__ = ("_next", "_rules")

    def __init__(self, rules: ReportedLoad) -> None:
        if not isinstance(rules, ReportedLoad):
            raise TypeError(f"reported_load is a ReportedLoad or None, not {rules!r}")
        self._rules = rules
        self._next = -inf  # when weights may next be made anew

    def learn(self, cell: Cell, now: float, outcome: Outcome, load: float | None) -> bool:
        """Take note of a settlement; return whether weights are to be made anew. O(1)."""
        if outcome is not Outcome.CANCELLED:
            reports = cell.fact(LoadReports, LoadReports)
            reports.observe(now, outcome is Outcome.FAILURE, load, self._rules)
        return now >= self._next

    def weights(self, given: Mapping[Cell, float], now: float) -> dict[Cell, float]:
        """Return the weights to use for a period from now on. O(n)."""
        self._next = now + self._rules.period
        known = {}
        for cell in given:
            reports = cell.known(LoadReports)
            weight = None if reports is None else reports.weight(now, self._rules)
            if weight is not None:
                known[cell] = weight
        return blended(given, known)

    def details(self, cell: Cell, now: float) -> dict[str, float]:
        """Return the numbers of one endpoint for ``snapshot``: 0 where nothing is known."""
        reports = cell.known(LoadReports)
        if reports is None:
            return {"reported_weight": 0.0, "utilisation": 0.0}
        return {
            "reported_weight": reports.weight(now, self._rules) or 0.0,
            "utilisation": reports.utilisation or 0.0,
        }
