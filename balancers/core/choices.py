"""A few candidates at random, the best of them taken: what power-of-d-choices policies share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterable, Sequence
from itertools import compress
from math import floor
from random import Random
from typing import Unpack

from balancers.core.ledger import Cell
from balancers.core.membership import Chooser, Options
from balancers.core.policy import Policy
from balancers.core.view import View
from balancers.endpoint import Endpoint, EndpointLike
from balancers.hashing import Key
from balancers.structures.sampling import DistinctSampler, distinct_indices
from balancers.structures.ties import least_of

__all__ = ["Candidates", "ChoicePolicy"]

_TRIES = 8

_LEAST_SHARE = 0.25
"""The part of the weight of a table that must be candidates', or another table is made."""

_NOT = bytes([1, 0, *range(2, 256)])


class Ground:
    """What weighted draws are made from: a sampler over a roster, in good health or not.

    A health change leaves it as it is, as making it takes long: see ``DistinctSampler.without``.

    Attributes:
        roster: The roster it was made for.
        cells: The cell at each place of the sampler.
        values: Its weight.
        weights: The same by cell.
        leases: Its open leases. With many endpoints memory is what takes time: this spares a
            look at the cell that loses.
        sampler: Draws places by weight.
    """

    __slots__ = ("_places", "cells", "leases", "roster", "sampler", "values", "weights")

    def __init__(
        self, roster: tuple[Endpoint, ...], cells: tuple[Cell, ...], values: list[float]
    ) -> None:
        self.roster: tuple[Endpoint, ...] = roster
        self.cells: tuple[Cell, ...] = cells
        self.values: list[float] = values
        self.weights: dict[Cell, float] = dict(zip(cells, values, strict=True))
        self.leases: list[set[int]] = [cell.open for cell in cells]
        names = [cell.endpoint.id for cell in cells]
        self.sampler: DistinctSampler = DistinctSampler(dict(zip(names, values, strict=True)))
        self._places: dict[str, int] | None = None

    @classmethod
    def under(cls, view: View) -> tuple[Ground, DistinctSampler]:
        """Return one for the candidates of a view, and for the others unless they weigh most.

        Beside it comes the sampler of the candidates.
        """
        weights = [endpoint.weight for endpoint in view.endpoints]
        roster = view.roster
        if len(view.members) == len(roster):  # else a view made by hand
            given = [endpoint.weight for endpoint in roster]
            if sum(weights) >= _LEAST_SHARE * sum(given):
                members = tuple(compress(view.members, given))
                ground = cls(roster, members, [weight for weight in given if weight])
                sampler = ground.follow(view)
                if sampler is not None:  # as sums of floats are not exact
                    return ground, sampler
        ground = cls(roster, view.cells, weights)
        return ground, ground.sampler

    def follow(self, view: View) -> DistinctSampler | None:
        """Return the sampler of other candidates, None where it will not do. O(n), quickly."""
        if self.roster is not view.roster:
            return None
        if view.cells == self.cells:
            return self.sampler
        able = set(view.cells)
        barred = bytes(map(able.__contains__, self.cells)).translate(_NOT)
        if barred.count(0) != len(able):
            return None  # somebody is not in it
        sampler = self.sampler.without(barred)
        return sampler if sampler.share >= _LEAST_SHARE else None

    @property
    def places(self) -> dict[str, int]:
        """The place of each id. O(n) the first time."""
        if self._places is None:
            self._places = {cell.endpoint.id: place for place, cell in enumerate(self.cells)}
        return self._places


class Candidates:
    """The cells of a view, ready for distinct draws in proportion to weight.

    Args:
        view: The view; it must have a candidate.
        before: Those of an earlier view, whose ground is taken over where it will do.

    Attributes:
        cells: The cell at each place; where weights differ, of some who are no candidates, too.
        count: Number of candidates, ≥ 1.
        weights: Weight of each of the cells, times its ramp: what loads are divided by.
        ground: What draws by weight are made from; None where all weights are equal.
        sampler: Draws by weight; None where all weights are equal.
        ramps: Ramp of the cells that have one: they are kept with that chance when drawn.
        pairs: Number of ordered pairs of distinct candidates.
        uniform: Whether all weights are equal and nobody ramps: every order of a sample is
            equally likely, and a comparison may leave the weights out.
    """

    __slots__ = (
        "_places",
        "cells",
        "count",
        "ground",
        "pairs",
        "ramps",
        "sampler",
        "uniform",
        "weights",
    )

    def __init__(self, view: View, before: Candidates | None = None) -> None:
        self.cells: tuple[Cell, ...] = view.cells
        self.ground: Ground | None = None if before is None else before.ground
        self.sampler: DistinctSampler | None = None
        if self.ground is not None:
            self.sampler = self.ground.follow(view)
        if self.sampler is None:
            self.ground = None
            weights = [endpoint.weight for endpoint in view.endpoints]
            if weights.count(weights[0]) < len(weights):
                self.ground, self.sampler = Ground.under(view)
        if self.ground is None:
            self.weights: dict[Cell, float] = dict(zip(view.cells, weights, strict=True))
        else:
            self.weights, self.cells = self.ground.weights, self.ground.cells
        self.ramps: dict[Cell, float] = {}
        if view.ramps:
            ramps = view.ramps
            self.ramps = {c: ramps[c.endpoint.id] for c in view.cells if c.endpoint.id in ramps}
            weigh = self.weights
            # A ramp must not round a weight down to nothing.
            less = {cell: weigh[cell] * ramp or weigh[cell] for cell, ramp in self.ramps.items()}
            self.weights = weigh | less
        self.uniform: bool = self.ground is None and not self.ramps
        self.count: int = len(view.cells)
        self.pairs: int = self.count * (self.count - 1)
        self._places: dict[str, int] | None = None

    def weight(self, cell: Cell) -> float | None:
        """Return the weight of a candidate, times its ramp; None for anybody else."""
        if self.sampler is not None and self.sampler.barred and self.ground is not None:
            place = self.ground.places.get(cell.endpoint.id)
            if place is not None and self.sampler.barred[place]:
                return None
        return self.weights.get(cell)

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
        if self.ground is not None:
            places = self.ground.places
        elif self._places is not None:
            places = self._places
        else:
            places = self._places = {c.endpoint.id: place for place, c in enumerate(cells)}
        out = {places[name] for name in exclude if name in places}
        if self.sampler is not None and self.sampler.barred:
            out = {place for place in out if not self.sampler.barred[place]}
        found: list[Cell] = []
        for _ in range(min(count, self.count - len(out))):
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
        if candidates.uniform:
            return drawn[values.index(min(values))]  # in an order as random as the draw
        return least_of(drawn, values, rng.random)

    def _shortcut(self, view: View) -> Chooser | None:
        candidates, rng, best = view.state, self._rng, self._best
        return lambda key: best(candidates, (), 1.0, rng)

    def _build(self, view: View) -> Candidates | None:
        return Candidates(view, self._view.state) if view.cells else None
