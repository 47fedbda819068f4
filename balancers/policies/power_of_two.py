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
    O(1) a pick and no lock, one random number with equal weights, two with unequal ones, or
    up to four times as many while others are out; O(n) an update.

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
        cells, ground, ledger = candidates.cells, candidates.ground, self._ledger
        # With many endpoints memory is what takes time: this spares a look at the cell that loses.
        leases = [cell.open for cell in cells] if ground is None else ground.leases
        rng, random = self._rng, self._rng.random
        pairs, rest = candidates.pairs, len(cells) - 1

        # What _choose does, written out for two candidates and unit costs.

        def choose_equal(key: None) -> Cell:
            draw = floor(random() * pairs)
            second = draw % rest
            first = draw // rest
            if second >= first:
                second += 1
            if ledger.costly:
                return cells[second if _load(cells[second]) < _load(cells[first]) else first]
            return cells[second if len(leases[second]) < len(leases[first]) else first]

        sampler = candidates.sampler
        if sampler is None or ground is None:
            return choose_equal
        cuts, aliases, size = sampler.table.cuts, sampler.table.aliases, len(cells)
        weights, barred, draw_pair = ground.values, sampler.barred, sampler.draw_pair

        def choose_weighted(key: None) -> Cell:
            point = random() * size
            first = int(point)
            if point >= cuts[first]:
                first = aliases[first]
            point = random() * size
            second = int(point)
            if point >= cuts[second]:
                second = aliases[second]
            if second == first or (barred and (barred[first] or barred[second])):
                first, second = draw_pair(rng, first, second)
            if ledger.costly:
                value = (_load(cells[first]) + 1.0) / weights[first]
                rival = (_load(cells[second]) + 1.0) / weights[second]
            else:
                value = (len(leases[first]) + 1.0) / weights[first]
                rival = (len(leases[second]) + 1.0) / weights[second]
            # The heavier one tends to come first, so that a tie needs a draw of its own.
            if rival < value or (rival == value and random() >= 0.5):
                first = second
            return cells[first]

        return choose_weighted

    def _values(self, cells: Sequence[Cell], candidates: Candidates, cost: float) -> list[float]:
        if candidates.uniform:
            return [_load(cell) for cell in cells]
        weights = candidates.weights
        return [(_load(cell) + cost) / weights[cell] for cell in cells]

    def _score(self, cell: Cell, cost: float) -> float | None:
        candidates: Candidates | None = self._view.state
        weight = None if candidates is None else candidates.weight(cell)
        return None if weight is None else (cell.load + cost) / weight


def _load(cell: Cell) -> float:
    return cell.load if cell.costly else len(cell.open)
