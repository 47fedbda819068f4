"""Weighted draws in constant time: the alias method (Walker 1977, in Vose's O(n) form, 1991).

The weights are cut up and packed into n cells of equal size, each shared by at most two ids. A draw
picks a cell, then one of its two ids.

Guarantees: draws are independent, and an id's chance is its share of the weights. The packing is
done in exact integers and rounded once: one cell's boundary is off by at most n * 2**-53 of a cell,
so what an id gets differs from its share by at most 2**-53 for each cell it is in. One
``random()`` serves both choices: its 53 bits make a cell number and, with what is left of them, a
position in the cell, so a chance is a multiple of 2**-53 too. Statistics cannot tell: noticing an
error of 2**-53 takes some 10**30 draws. An id of weight 0 is never drawn.

Use when picks must not depend on each other or on any state. Over t draws the counts stray from the
shares by about sqrt(t); the schedules stray by less than a pick or two.

Cost: O(1) a draw, O(n) to build; tables are never changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from random import Random

from balancers.structures.weights import as_weights, exact_integers

__all__ = ["AliasTable"]


class AliasTable:
    """A frozen table for weighted draws.

    Args:
        weights: A mapping id -> weight, or an iterable of ids (weight 1 each). Finite numbers
            >= 0. May be all zero or empty.

    Attributes:
        ids: All ids in the order given.
        cuts: For each cell i, ``i + p`` where p is the part of the cell that is ``ids[i]``'s own.
        aliases: For each cell, the position of the id that has the rest.

    :meth:`draw_index` is four lines; a policy with items of its own may write them out over
    ``cuts`` and ``aliases`` and save the call.

    Raises:
        InvalidEndpointError: For a duplicate id or a bad weight.
        TypeError: For wrong types.

    Runtime complexity: O(n) operations on integers as long as the spread of the weights.
    """

    __slots__ = ("_positive", "aliases", "cuts", "ids")

    ids: tuple[str, ...]
    cuts: tuple[float, ...]
    aliases: tuple[int, ...]

    def __init__(self, weights: Mapping[str, float] | Iterable[str]) -> None:
        checked = as_weights(weights)
        self.ids = tuple(checked)
        self._lay(exact_integers(checked.values()))

    @classmethod
    def of_integers(cls, ids: Iterable[str], whole: list[int]) -> AliasTable:
        """Return the table of ids with these integer weights, both known to be good. O(n)."""
        table = cls.__new__(cls)
        table.ids = tuple(ids)
        table._lay(whole)
        return table

    def _lay(self, whole: list[int]) -> None:
        self._positive = any(whole)
        self.cuts, self.aliases = _pack(whole)

    def __len__(self) -> int:
        return len(self.ids)

    def draw(self, rng: Random) -> str:
        """Return an id with a chance in proportion to its weight; one call of ``rng.random()``.

        Raises:
            LookupError: Every weight is 0.

        Runtime complexity: O(1).
        """
        if not self._positive:
            raise LookupError("nothing to draw: all weights are 0")
        cuts = self.cuts
        point = rng.random() * len(cuts)
        cell = int(point)
        return self.ids[cell if point < cuts[cell] else self.aliases[cell]]

    def draw_index(self, rng: Random) -> int:
        """Return the position in ``ids`` of what :meth:`draw` would return.

        Raises:
            LookupError: Every weight is 0.

        Runtime complexity: O(1).
        """
        if not self._positive:
            raise LookupError("nothing to draw: all weights are 0")
        cuts = self.cuts
        # random() is at most 1 - 2**-53, and its product with n rounds to less than n.
        point = rng.random() * len(cuts)
        cell = int(point)
        return cell if point < cuts[cell] else self.aliases[cell]

    def _check(self) -> None:
        """Assert that cells are well formed and that no id of weight 0 can be drawn."""
        n = len(self.ids)
        assert len(self.cuts) == len(self.aliases) == n
        assert all(cell <= cut <= cell + 1 for cell, cut in enumerate(self.cuts))
        assert all(0 <= alias < n for alias in self.aliases)


def _pack(whole: list[int]) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """Return (cuts, aliases) for integer weights.

    Scaled by n, the weights are poured into cells of size ``total``: an id with less than a cell is
    topped up by one with more. In integers nothing is left over at the end by rounding.
    """
    n = len(whole)
    cuts = [position + 1.0 for position in range(n)]
    aliases = list(range(n))
    if len(set(whole)) == 1:
        return tuple(cuts), tuple(aliases)
    total = sum(whole)
    rest = [weight * n for weight in whole]
    poor = [position for position in range(n) if rest[position] < total]
    rich = [position for position in range(n) if rest[position] > total]
    while poor:
        cell = poor.pop()
        giver = rich[-1]
        cuts[cell] = cell + rest[cell] / total
        aliases[cell] = giver
        rest[giver] -= total - rest[cell]
        if rest[giver] <= total:
            rich.pop()
            if rest[giver] < total:
                poor.append(giver)
    return tuple(cuts), tuple(aliases)
