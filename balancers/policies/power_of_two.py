"""Power of two choices: of two endpoints drawn at random, the less loaded one.

Guarantees:
    Candidates are distinct and drawn in proportion to weight; the one with the least
    (load + cost)/weight is taken, ties by chance. So an endpoint is picked no more often than
    it is drawn, and of two or more the only most loaded one is never picked. With n requests
    on n equal endpoints the fullest holds ln ln n / ln d + O(1), not ln n / ln ln n.

Use when:
    Many clients or threads balance over the same endpoints: the random candidates keep them
    from all choosing the same one, and nothing is locked.

Avoid when:
    Speeds differ much and weights do not say so. Two candidates of a slow group of k out of n
    come together with chance k(k − 1)/n(n − 1), whatever is compared: with a quarter of the
    endpoints ten times slower the fleet is unstable above 53 to 61 % of its capacity.
    ``Adaptive`` is not.

Cost:
    O(1) a pick, one random number and no lock; O(n) an update.

Source:
    Azar, Broder, Karlin, Upfal 1994; Mitzenmacher 1996; Berenbrink et al. 2000 for the heavily
    loaded case. Without replacement as in Finagle; weights in both places after our own
    simulation: either alone misallocates by a factor of 1.5 to 2.8.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import floor
from typing import ClassVar

from balancers.core.choices import Candidates, ChoicePolicy
from balancers.core.ledger import Cell
from balancers.core.membership import Chooser
from balancers.core.view import View

__all__ = ["PowerOfTwoChoices"]


class PowerOfTwoChoices(ChoicePolicy):
    """The least loaded of ``choices`` distinct endpoints drawn by weight.

    Args:
        endpoints: The membership.
        choices: Candidates a pick compares, ≥ 2.
        options: What every balancer takes; see ``Policy``.
    """

    aliases: ClassVar[tuple[str, ...]] = ("p2c", "power-of-two")

    def _shortcut(self, view: View) -> Chooser | None:
        candidates: Candidates = view.state
        if self._choices != 2 or not candidates.pairs:
            return super()._shortcut(view)
        cells, sampler, weights = candidates.cells, candidates.sampler, candidates.weights
        rng, random = self._rng, self._rng.random
        pairs, rest = candidates.pairs, len(cells) - 1
        draw_weighted = None if sampler is None else sampler.draw_indices

        # What _choose does, written out for two candidates and unit costs.

        def choose_equal(key: None) -> Cell:
            draw = floor(random() * pairs)
            second = draw % rest
            first = draw // rest
            cell = cells[first]
            other = cells[second + 1 if second >= first else second]
            if cell.costly or other.costly:
                return other if other.load < cell.load else cell
            return other if len(other.open) < len(cell.open) else cell

        def choose_weighted(key: None) -> Cell:
            assert draw_weighted is not None
            first, second = draw_weighted(rng, 2)
            cell, other = cells[first], cells[second]
            value = (_load(cell) + 1.0) / weights[cell]
            rival = (_load(other) + 1.0) / weights[other]
            # The heavier one tends to come first, so that a tie needs a draw of its own.
            return other if rival < value or (rival == value and random() >= 0.5) else cell

        return choose_equal if draw_weighted is None else choose_weighted

    def _values(self, cells: Sequence[Cell], candidates: Candidates, cost: float) -> list[float]:
        if candidates.uniform:
            return [_load(cell) for cell in cells]
        weights = candidates.weights
        return [(_load(cell) + cost) / weights[cell] for cell in cells]

    def _score(self, cell: Cell, cost: float) -> float | None:
        candidates: Candidates | None = self._view.state
        weight = None if candidates is None else candidates.weights.get(cell)
        return None if weight is None else (cell.load + cost) / weight


def _load(cell: Cell) -> float:
    return cell.load if cell.costly else len(cell.open)
