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


class _Table:
    """The alias table of the candidates, taken apart for the quick way."""

    __slots__ = ("aliases", "cells", "cuts", "places", "sampler")

    def __init__(self, view: View) -> None:
        self.sampler = DistinctSampler({e.id: e.weight for e in view.endpoints})
        self.cells = view.cells
        self.cuts = self.sampler.table.cuts
        self.aliases = self.sampler.table.aliases
        self.places = {endpoint.id: place for place, endpoint in enumerate(view.endpoints)}


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
        cuts, aliases, size = table.cuts, table.aliases, len(table.cuts)

        def choose(key: None) -> Cell:
            # AliasTable.draw_index, written out.
            point = draw() * size
            place = int(point)
            return cells[place if point < cuts[place] else aliases[place]]

        return choose

    def _choose(
        self,
        view: View,
        key: Key | None,
        exclude: Collection[str],
        cost: float,
        rng: Generator,
    ) -> Cell | None:
        table: _Table = view.state
        place = self._draw(table, exclude, rng)
        if place is None or not view.ramps:
            return None if place is None else table.cells[place]
        for _ in range(_TRIES):
            share = view.ramps.get(view.endpoints[place].id)
            if share is None or rng.random() < share:
                break
            place = self._draw(table, exclude, rng) or 0
        return table.cells[place]

    def _draw(self, table: _Table, exclude: Collection[str], rng: Generator) -> int | None:
        """Draw a place among the rest; exact however much ``exclude`` weighs."""
        if not exclude:
            return table.sampler.table.draw_index(rng)
        out = [table.places[name] for name in exclude if name in table.places]
        if len(out) == len(table.cells):
            return None
        return table.sampler.draw_rest(rng, out)

    def _build(self, view: View) -> _Table | None:
        return _Table(view) if view.cells else None
