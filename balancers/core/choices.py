"""A few candidates at random, the best of them taken: what power-of-d-choices policies share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterable, Sequence
from math import floor
from random import Random
from typing import Unpack

from balancers.core.ledger import Cell
from balancers.core.membership import Chooser, Options
from balancers.core.policy import Policy
from balancers.core.view import View
from balancers.endpoint import EndpointLike
from balancers.hashing import Key
from balancers.structures.sampling import DistinctSampler, distinct_indices

__all__ = ["Candidates", "ChoicePolicy"]

_TRIES = 8


class Candidates:
    """The cells of a view, ready for distinct draws in proportion to weight.

    Attributes:
        cells: The candidates; at least one.
        weights: Weight of each cell, times its ramp: what loads are divided by.
        sampler: Draws by weight; None where all weights are equal.
        ramps: Ramp of the cells that have one: they are kept with that chance when drawn.
        pairs: Number of ordered pairs of distinct cells.
        uniform: Whether all weights are equal and nobody ramps: every order of a sample is
            equally likely, and a comparison may leave the weights out.
    """

    __slots__ = ("_places", "cells", "pairs", "ramps", "sampler", "uniform", "weights")

    def __init__(self, view: View) -> None:
        self.cells: tuple[Cell, ...] = view.cells
        cells = self.cells
        given = [endpoint.weight for endpoint in view.endpoints]
        self.ramps: dict[Cell, float] = {}
        if view.ramps:
            ramps = view.ramps
            self.ramps = {c: ramps[c.endpoint.id] for c in cells if c.endpoint.id in ramps}
        self.weights: dict[Cell, float] = {
            # A ramp must not round a weight down to nothing.
            cell: weight * self.ramps.get(cell, 1.0) or weight
            for cell, weight in zip(cells, given, strict=True)
        }
        equal = len(set(given)) == 1
        self.sampler: DistinctSampler | None = None
        if not equal:
            self.sampler = DistinctSampler({e.id: e.weight for e in view.endpoints})
        self.uniform: bool = equal and not self.ramps
        self.pairs: int = len(cells) * (len(cells) - 1)
        self._places: dict[str, int] | None = None

    def draw(self, rng: Random, count: int, exclude: Collection[str]) -> Sequence[Cell]:
        """Return distinct cells outside ``exclude``, drawn one after the other by weight.

        All that are left if there are no more than ``count``. Where weights are equal every
        order of the sample is equally likely.

        Runtime complexity: O(count²), and O(len(exclude)) more.
        """
        cells = self.cells
        if exclude or self.ramps:
            return self._draw_apart(rng, count, exclude)
        if self.sampler is not None:
            places = self.sampler.draw_indices(rng, count)
        elif count == 2 and len(cells) > 1:
            # One number for the two: quicker, and what the quick paths write out.
            rest = len(cells) - 1
            first, second = divmod(floor(rng.random() * self.pairs), rest)
            places = [first, second + 1 if second >= first else second]
        else:
            places = distinct_indices(rng, len(cells), count)
        return [cells[place] for place in places]

    def _draw_apart(self, rng: Random, count: int, exclude: Collection[str]) -> Sequence[Cell]:
        """Draw outside ``exclude``, and keep ramping cells with the chance of their ramp."""
        cells = self.cells
        if self._places is None:
            self._places = {cell.endpoint.id: place for place, cell in enumerate(cells)}
        places = self._places
        out = {places[name] for name in exclude if name in places}
        found: list[Cell] = []
        for _ in range(min(count, len(cells) - len(out))):
            place = -1
            for _ in range(_TRIES):
                place = self._draw_rest(rng, out)
                ramp = self.ramps.get(cells[place])
                if ramp is None or rng.random() < ramp:
                    break
            out.add(place)
            found.append(cells[place])
        return found

    def _draw_rest(self, rng: Random, out: Collection[int]) -> int:
        if self.sampler is not None:
            return self.sampler.draw_rest(rng, out)
        place = floor(rng.random() * (len(self.cells) - len(out)))
        for barred in sorted(out):  # step over those that are out
            place += barred <= place
        return place


class ChoicePolicy(Policy):
    """The best of a few candidates; a subclass says by ``_value`` what is best.

    Args:
        endpoints: The membership.
        choices: Candidates a pick compares, ≥ 2; with as few endpoints all are compared.
        options: What every balancer takes; see ``Policy``.

    Raises:
        ValueError: If ``choices`` is below 2.
    """

    def __init__(
        self, endpoints: Iterable[EndpointLike], *, choices: int = 2, **options: Unpack[Options]
    ) -> None:
        if isinstance(choices, bool) or not isinstance(choices, int):
            raise TypeError(f"choices is an int, not {choices!r}")
        if choices < 2:
            raise ValueError(f"choices must be ≥ 2, not {choices}")
        self._choices = choices
        super().__init__(endpoints, **options)

    @abstractmethod
    def _values(self, cells: Sequence[Cell], candidates: Candidates, cost: float) -> list[float]:
        """Return what a pick of each cell would cost, the lowest being best.

        Where ``candidates`` are uniform the weights may be left out.
        """

    def _choose(
        self,
        view: View,
        key: Key | None,
        exclude: Collection[str],
        cost: float,
        rng: Random,
    ) -> Cell | None:
        return self._best(view.state, exclude, cost, rng)

    def _best(
        self, candidates: Candidates, exclude: Collection[str], cost: float, rng: Random
    ) -> Cell | None:
        drawn = candidates.draw(rng, self._choices, exclude)
        if not drawn:
            return None
        values = self._values(drawn, candidates, cost)
        least = min(values)
        if candidates.uniform:
            return drawn[values.index(least)]  # in an order as random as the draw
        tied = [cell for cell, value in zip(drawn, values, strict=True) if value == least]
        return tied[0] if len(tied) == 1 else tied[floor(rng.random() * len(tied))]

    def _shortcut(self, view: View) -> Chooser | None:
        candidates, rng, best = view.state, self._rng, self._best
        return lambda key: best(candidates, (), 1.0, rng)

    def _build(self, view: View) -> Candidates | None:
        return Candidates(view) if view.cells else None
