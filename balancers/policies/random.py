"""Random: every pick an independent draw, in proportion to the weights.

Guarantees:
    Each pick gets endpoint i with chance w_i / W, independent of every other pick and of what
    other clients do. Over t picks a count strays from its share by about √(t · p · (1 − p)).

Use when:
    Clients are many and each sends little, so that no client's own order matters, or picks must
    not be predictable.

Avoid when:
    One balancer makes most of the picks: a round robin is within one pick of the shares, and a
    load-aware policy sees the queues.

Cost:
    O(1) a pick, one random number and no lock; O(n) an update.

Source:
    Alias tables: Walker 1977, Vose 1991; see ``balancers.structures.alias``.
"""

from __future__ import annotations

from collections.abc import Collection
from random import Random as Generator
from typing import ClassVar

from balancers.core.ledger import Cell
from balancers.core.membership import Chooser
from balancers.core.policy import Policy
from balancers.core.view import View
from balancers.hashing import Key
from balancers.structures.sampling import DistinctSampler

__all__ = ["Random"]

_TRIES = 8

_TRIES_IN_TABLE = 64
"""Draws that may meet somebody who is out, before the rest is drawn from directly."""


class _Table:
    """An alias table over the candidates, and perhaps over some who are none at the moment.

    A health change leaves the table as it is, with None for the cell of who is out: a draw that
    meets None is drawn again, which is exactly a draw from the rest. Where less than half of the
    weight is left in, a table of the candidates alone is built.
    """

    __slots__ = ("cells", "members", "out", "places", "sampler", "weights")

    def __init__(
        self,
        members: tuple[Cell, ...],
        weights: tuple[float, ...],
        cells: tuple[Cell | None, ...],
        sampler: DistinctSampler,
    ) -> None:
        self.members = members
        self.weights = weights
        self.cells = cells
        self.sampler = sampler
        self.out: list[int] = []
        if None in cells:
            self.out = [place for place, cell in enumerate(cells) if cell is None]
        self.places: dict[str, int] | None = None

    @classmethod
    def over(cls, view: View) -> _Table:
        """Return a table of the candidates alone."""
        weights = tuple([endpoint.weight for endpoint in view.endpoints])
        names = [endpoint.id for endpoint in view.endpoints]
        sampler = DistinctSampler(dict(zip(names, weights, strict=True)))
        return cls(view.cells, weights, view.cells, sampler)

    def for_others(self, view: View) -> _Table | None:
        """Return the same table for other candidates, None if it will not do. O(n), quickly."""
        able = set(view.cells)
        cells = tuple([cell if cell in able else None for cell in self.members])
        if len(cells) - cells.count(None) != len(able):
            return None  # somebody is not in the table
        kept = sum(weight for weight, cell in zip(self.weights, cells, strict=True) if cell)
        if 2.0 * kept < sum(self.weights):
            return None
        return _Table(self.members, self.weights, cells, self.sampler)

    def draw(self, rng: Generator, exclude: Collection[str]) -> Cell | None:
        """Draw among the rest; exact however much ``exclude`` weighs."""
        cells = self.cells
        for _ in range(_TRIES_IN_TABLE):
            cell = cells[self.sampler.table.draw_index(rng)]
            if cell is not None and cell.endpoint.id not in exclude:
                return cell
        if self.places is None:
            self.places = {c.endpoint.id: place for place, c in enumerate(self.members)}
        places = self.places
        out = {*self.out, *(places[name] for name in exclude if name in places)}
        if len(out) == len(cells):
            return None
        return cells[self.sampler.draw_rest(rng, out)]


class Random(Policy):
    """Independent draws in proportion to the weights.

    Args:
        endpoints: The membership.
        options: What every balancer takes; see ``Policy``.
    """

    aliases: ClassVar[tuple[str, ...]] = ("rand",)

    def _shortcut(self, view: View) -> Chooser | None:
        table: _Table = view.state
        draw, cells = self._rng.random, table.cells
        cuts, aliases = table.sampler.table.cuts, table.sampler.table.aliases
        size = len(cuts)

        def choose(key: None) -> Cell | None:
            # AliasTable.draw_index, written out.
            point = draw() * size
            place = int(point)
            return cells[place if point < cuts[place] else aliases[place]]

        def choose_able(key: None) -> Cell:
            while True:
                point = draw() * size
                place = int(point)
                cell = cells[place if point < cuts[place] else aliases[place]]
                if cell is not None:
                    return cell

        return choose_able if table.out else choose

    def _choose(
        self,
        view: View,
        key: Key | None,
        exclude: Collection[str],
        cost: float,
        rng: Generator,
    ) -> Cell | None:
        table: _Table = view.state
        cell = table.draw(rng, exclude)
        if cell is None or not view.ramps:
            return cell
        for _ in range(_TRIES):
            share = view.ramps.get(cell.endpoint.id)
            if share is None or rng.random() < share:
                break
            cell = table.draw(rng, exclude) or cell
        return cell

    def _build(self, view: View) -> _Table | None:
        old: _Table | None = self._view.state
        if not view.cells:
            return None
        same = self._view.roster is view.roster and old is not None
        return (old.for_others(view) if same and old is not None else None) or _Table.over(view)
