"""Round robin: each eligible endpoint in turn.

Guarantees:
    In any window of picks over a constant eligible set, the counts of any two endpoints
    differ by at most 1. Across a change of the set the rotation goes on from where it stood.

Use when:
    Endpoints are alike and requests cost about the same.

Avoid when:
    Endpoints differ in speed: it is blind to load, so the slowest one's queue grows without
    bound as soon as its share exceeds its capacity.

Cost:
    O(1) a pick, one atomic counter and no lock; O(n) an update.

Source:
    Folklore. The random start is the lesson of envoyproxy/envoy#31378: a fleet that
    restarts together must not begin at the same endpoint.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable
from random import Random
from typing import ClassVar, Unpack

from balancers.core.ledger import Cell
from balancers.core.membership import Chooser, Options
from balancers.core.policy import Policy
from balancers.core.ticker import Ticker
from balancers.core.view import View
from balancers.endpoint import EndpointLike
from balancers.hashing import Key

__all__ = ["RoundRobin"]


class _Rotation:
    """The order of the turns, and whose turn it is. Its fields never change."""

    __slots__ = ("cells", "count", "ticker")

    def __init__(self, cells: tuple[Cell, ...], start: int) -> None:
        self.cells = cells
        self.ticker = Ticker(start)
        self.count = self.ticker.count

    def upcoming(self) -> tuple[Cell, ...]:
        """The cells from the one whose turn it is, moving nothing."""
        at = self.ticker.peek() % len(self.cells)
        return self.cells[at:] + self.cells[:at]


class RoundRobin(Policy):
    """Each eligible endpoint in turn, ignoring weights except 0.

    Args:
        endpoints: The membership.
        phase: Where to start: None draws a start by the rng, 0 is the first endpoint given.
        options: What every policy takes; see ``Policy``.

    Raises:
        ValueError: If ``phase`` is negative.
    """

    aliases: ClassVar[tuple[str, ...]] = ("rr", "round-robin")

    def __init__(
        self,
        endpoints: Iterable[EndpointLike],
        *,
        phase: int | None = None,
        **options: Unpack[Options],
    ) -> None:
        if phase is not None:
            if isinstance(phase, bool) or not isinstance(phase, int):
                raise TypeError(f"phase is an int or None, not {phase!r}")
            if phase < 0:
                raise ValueError(f"phase must be ≥ 0, not {phase}")
        self._phase = phase
        super().__init__(endpoints, **options)

    def _shortcut(self, view: View) -> Chooser | None:
        rotation: _Rotation = view.state
        cells, turns, size = rotation.cells, rotation.count, len(rotation.cells)
        return lambda key: cells[next(turns) % size]

    def _choose(
        self,
        view: View,
        key: Key | None,
        exclude: Collection[str],
        cost: float,
        rng: Random,
    ) -> Cell | None:
        rotation: _Rotation = view.state
        cells = rotation.cells
        turn = 0
        # An excluded endpoint loses its turn; alone, len(exclude) + 1 turns reach another.
        for _ in range(min(len(exclude) + 1, len(cells))):
            turn = next(rotation.count)
            cell = cells[turn % len(cells)]
            if cell.endpoint.id not in exclude:
                return cell
        # Other threads took the turns between: walk on from here instead.
        for step in range(1, len(cells)):
            cell = cells[(turn + step) % len(cells)]
            if cell.endpoint.id not in exclude:
                return cell
        return None

    def _peek(
        self,
        view: View,
        key: Key | None,
        exclude: Collection[str],
        cost: float,
        rng: Random,
    ) -> Cell | None:
        rotation: _Rotation = view.state
        return next((c for c in rotation.upcoming() if c.endpoint.id not in exclude), None)

    def _build(self, view: View) -> _Rotation | None:
        if not view.cells:
            return None
        old: _Rotation | None = self._view.state
        if old is None:
            count = len(view.cells)
            start = self._rng.randrange(count) if self._phase is None else self._phase % count
            return _Rotation(view.cells, start)
        now = set(view.cells)
        if now == set(old.cells):
            return old  # same set: the window goes on, whatever the order given
        going_on = [cell for cell in old.upcoming() if cell in now]
        joining = now.difference(going_on)
        return _Rotation((*going_on, *(cell for cell in view.cells if cell in joining)), 0)

    def _renew(self) -> None:
        rotation: _Rotation | None = self._view.state
        if rotation is not None and self._phase is None:
            view = copy.copy(self._view)
            view.state = _Rotation(rotation.cells, self._rng.randrange(len(rotation.cells)))
            self._publish(view)
