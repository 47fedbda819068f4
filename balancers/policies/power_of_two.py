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

from collections.abc import Collection, Mapping, Sequence
from math import floor

from balancers.core.choices import Candidates, ChoicePolicy
from balancers.core.lease import Pick
from balancers.core.ledger import Cell
from balancers.core.view import View
from balancers.hashing import Key

__all__ = ["PowerOfTwoChoices"]


class PowerOfTwoChoices(ChoicePolicy):
    """The least loaded of ``choices`` distinct endpoints drawn by weight.

    Args:
        endpoints: The membership.
        choices: Candidates a pick compares, ≥ 2.
        options: What every balancer takes; see ``Policy``.
    """

    aliases = ("p2c", "power-of-two")

    def pick(
        self, key: Key | None = None, *, exclude: Collection[str] = (), cost: float = 1.0
    ) -> Pick:
        """Lease the less loaded of the candidates. O(choices²), without a lock."""
        candidates: Candidates | None = self._fast
        if candidates is None or key is not None or exclude or cost != 1.0 or self._abandoned:
            return super().pick(key, exclude=exclude, cost=cost)
        # Candidates.draw for two, _values and Cell.issue, written out for unit costs.
        cells = candidates.cells
        sampler = candidates.sampler
        if sampler is None:
            rest = len(cells) - 1
            draw = floor(self._rng.random() * candidates.pairs)
            second = draw % rest
            first = draw // rest
            cell = cells[first]
            other = cells[second + 1 if second >= first else second]
            if cell.costly or other.costly:
                if other.load < cell.load:
                    cell = other
            elif len(other.open) < len(cell.open):
                cell = other
        else:
            cell, other = map(cells.__getitem__, sampler.draw_indices(self._rng, 2))
            weights = candidates.weights
            value = (cell.load + 1.0) / weights[cell]
            rival = (other.load + 1.0) / weights[other]
            # The heavier one tends to come first, so that a tie needs a draw of its own.
            if rival < value or (rival == value and self._rng.random() >= 0.5):
                cell = other
        pick = Pick()
        pick.endpoint = cell.endpoint
        pick._cell = cell
        pick._serial = serial = next(cell.serials)
        cell.open.add(serial)
        return pick

    def _values(
        self, cells: Sequence[Cell], weights: Mapping[Cell, float], cost: float
    ) -> list[float]:
        return [(cell.load + cost) / weights[cell] for cell in cells]

    def _publish(self, view: View) -> None:
        super()._publish(view)
        candidates: Candidates | None = self._fast
        if candidates is not None and not (
            self._choices == 2 and candidates.pairs and not candidates.ramps
        ):
            self._fast = None

    def _score(self, cell: Cell, cost: float) -> float | None:
        candidates: Candidates | None = self._view.state
        weight = None if candidates is None else candidates.weights.get(cell)
        return None if weight is None else (cell.load + cost) / weight
