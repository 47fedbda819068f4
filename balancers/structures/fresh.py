"""The endpoints that have not answered yet and hold no request.

Invariants (``_check``):

1. Each gauge in the list stands at its ``spot``; the spot is -1 elsewhere.
2. None of them has a weight whose logarithm exceeds ``heaviest``.
"""

from __future__ import annotations

from math import inf
from typing import TypeVar

from balancers.structures.gauge import Gauge

__all__ = ["Fresh"]

Item = TypeVar("Item")


class Fresh(list[Gauge[Item]]):
    """A list of gauges, in any order, and a bound on their weights.

    Attributes:
        heaviest: The logarithm of a weight that none of them exceeds; -infinity at first.
    """

    __slots__ = ("_vain", "heaviest")

    def __init__(self) -> None:
        super().__init__()
        self.heaviest: float = -inf
        self._vain = 0  # looks that found nobody good enough, since ``weigh``

    def enter(self, gauge: Gauge[Item]) -> None:
        """Take in a gauge. O(1)."""
        gauge.spot = len(self)
        self.append(gauge)
        self.heaviest = max(self.heaviest, gauge.log_weight)

    def leave(self, gauge: Gauge[Item]) -> None:
        """Let go of a gauge; the last one takes its place. O(1)."""
        last = self.pop()
        if last is not gauge:
            self[gauge.spot] = last
            last.spot = gauge.spot
        gauge.spot = -1

    def in_vain(self) -> bool:
        """Take note of a look that found nobody good enough; return whether that was one too many.

        Whoever looks only while ``heaviest`` may be good enough looks in vain where the heaviest
        have left. Then it is taken anew, as seldom as keeps this O(1) amortised.
        """
        self._vain += 1
        if self._vain < len(self):
            return False
        self.weigh()
        return True

    def weigh(self) -> None:
        """Take ``heaviest`` anew. O(n)."""
        self._vain = 0
        self.heaviest = max([gauge.log_weight for gauge in self], default=-inf)

    def copy_to(self, twin: Fresh[Item], copies: dict[Gauge[Item], Gauge[Item]]) -> None:
        """Put the copies of these gauges into another list. O(n)."""
        twin[:] = [copies[gauge] for gauge in self]
        twin.heaviest, twin._vain = self.heaviest, self._vain

    def _check(self) -> None:
        for spot, gauge in enumerate(self):
            assert gauge.spot == spot
            assert gauge.log_weight <= self.heaviest
            assert not gauge.known
