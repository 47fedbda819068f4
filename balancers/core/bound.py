"""Bounded loads: how many leases each endpoint may hold, given how many are open in all.

Invariants:

1. ``counts`` holds the leases this balancer opened and nobody settled, for the cells of the
   present membership alone; ``total`` is their sum. Every change is made under one lock.
2. A cell is admitted at count q if q + 1 ≤ max(min_load, ⌈c · w · (total + 1) / W⌉), W being
   the weight of the candidates. The arithmetic is exact: a cap is never rounded up by a float.
3. ``away`` holds such leases of cells that have left: in a tree of balancers a cell may go to
   another one and come back while its leases are open.
4. With c ≥ 1 the caps of the candidates add up to more than ``total``, so that one of them
   always has room (Mirrokni, Thorup, Zadimoghaddam 2018).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction
from threading import Lock

from balancers.core.ledger import Cell

__all__ = ["LoadBound"]


class LoadBound:
    """Counts leases and says who has room; all but ``release``, ``renew_lock`` need ``lock`` held.

    Args:
        load_factor: c, finite and ≥ 1.
        min_load: Leases every endpoint may hold whatever the average, ≥ 1.
    """

    __slots__ = (
        "_denominator",
        "_factor",
        "_inbox",
        "_shares",
        "away",
        "counts",
        "lock",
        "min_load",
        "total",
    )

    def __init__(self, load_factor: float, min_load: int) -> None:
        if isinstance(load_factor, bool) or not isinstance(load_factor, int | float):
            raise TypeError(f"load_factor is a number or None, not {load_factor!r}")
        if not 1.0 <= load_factor < math.inf:
            raise ValueError(f"load_factor must be finite and ≥ 1, not {load_factor!r}")
        self._factor = Fraction(load_factor)
        self.min_load: int = min_load
        self.lock: Lock = Lock()
        self.counts: dict[Cell, int] = {}
        self._inbox: list[Cell] = []  # released, not yet counted
        self.away: dict[Cell, int] = {}
        self.total: int = 0
        self._shares: dict[Cell, int] = {}
        self._denominator = 1

    def set_members(self, members: Iterable[Cell]) -> None:
        """Count the leases of these cells alone from now on. O(n)."""
        self.catch_up()
        open_here = self.away | self.counts
        self.counts = {cell: open_here.pop(cell, 0) for cell in members}
        self.away = {cell: count for cell, count in open_here.items() if count}
        self.total = sum(self.counts.values())

    def set_candidates(self, weights: dict[Cell, float]) -> None:
        """Share the load out over these cells, in proportion to their weights > 0. O(n)."""
        exact = {cell: Fraction(weight) for cell, weight in weights.items()}
        scale = math.lcm(
            self._factor.denominator, *(weight.denominator for weight in exact.values())
        )
        # c · w and W in units of 1 / scale²: integers, so that a cap is one exact division.
        units = {cell: int(weight * scale) for cell, weight in exact.items()}
        factor = int(self._factor * scale)
        self._shares = {cell: factor * unit for cell, unit in units.items()}
        self._denominator = scale * sum(units.values()) or 1

    def cap(self, cell: Cell) -> int:
        """Return how many leases the cell may hold once one more is open. O(1)."""
        return max(self.min_load, -(-self._shares[cell] * (self.total + 1) // self._denominator))

    def bounds(self, cell: Cell) -> bool:
        """Whether the cell has a cap: whether it is a candidate. O(1)."""
        return cell in self._shares

    def excess(self, cell: Cell) -> int:
        """Return by how much one more lease would pass the cell's cap; ≤ 0 if it has room.

        An explanation holds no lock: a cell of its view that has left meanwhile has room.
        """
        try:
            return self.counts[cell] + 1 - self.cap(cell)
        except KeyError:
            return 0

    def charge(self, cell: Cell) -> None:
        """Count one more lease. O(1)."""
        count = self.counts.get(cell)
        if count is None:  # has just left for another balancer of the tree
            self.away[cell] = self.away.get(cell, 0) + 1
            return
        self.counts[cell] = count + 1
        self.total += 1

    def release(self, cell: Cell) -> None:
        """Count one lease less, now or when the lock is free; needs no lock, never waits. O(1).

        A settlement may run in a finalizer, in the middle of a pick of the same thread.
        """
        self._inbox.append(cell)
        while self._inbox and self.lock.acquire(blocking=False):
            try:
                self.catch_up()
            finally:
                self.lock.release()

    def catch_up(self) -> None:
        """Count what was released meanwhile; whoever takes the lock does this first."""
        while self._inbox:
            cell = self._inbox.pop()
            count = self.counts.get(cell)
            if count is not None:
                self.counts[cell] = count - 1
                self.total -= 1
            elif self.away.get(cell, 0) > 1:
                self.away[cell] -= 1
            else:
                self.away.pop(cell, None)

    def renew_lock(self) -> None:
        """Replace the lock, in a forked child."""
        self.lock = Lock()

    def _check(self) -> None:
        self.catch_up()
        assert self.total == sum(self.counts.values())
        assert min(self.counts.values(), default=0) >= 0
        assert all(self.counts[cell] <= len(cell.open) for cell in self.counts)
        assert not self.away.keys() & self.counts.keys()
        assert min(self.away.values(), default=1) >= 1
