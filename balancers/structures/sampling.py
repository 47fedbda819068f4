"""A few distinct items at random: the first step of every best-of-d policy.

Uniform: :func:`distinct_indices`. By weight: :class:`DistinctSampler`, draws one after the other
without replacement, the j-th among what is left and in proportion to its weight. Both give an
ordered sample, so that "the first of equals" is a fair choice.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping
from itertools import accumulate, compress, count
from random import Random

from balancers.structures.alias import AliasTable
from balancers.structures.weights import as_weights, exact_integers

__all__ = ["DistinctSampler", "distinct_indices"]

MAX_REPEATS = 8


def distinct_indices(rng: Random, n: int, d: int) -> list[int]:
    """Return ``min(d, n)`` distinct integers of 0..n-1, every ordered sample being equally likely.

    Floyd's method: position j of the last d joins with a uniform draw t of 0..j, or itself where t
    is in already. Putting t in front, and j right behind the t it stands for, makes the order
    uniform as well. The chance of each of the n(n-1)...(n-d+1) samples is exactly the same but for
    the 53 bits of ``rng.random()``: a draw from m is off by at most m * 2**-53 relative.

    Args:
        rng: ``random()`` is called once for each item.
        n: >= 0.
        d: >= 0; meant to be small.

    Raises:
        ValueError: ``n`` or ``d`` is negative.

    Runtime complexity: O(d**2), without hashing.

    Source: Bentley and Floyd, "A sample of brilliance", Communications of the ACM 30 (1987).
    """
    if d == 2 and n > 2:
        first = int(rng.random() * n)
        second = int(rng.random() * (n - 1))
        return [first, second + 1 if second >= first else second]
    if n < 0 or d < 0:
        raise ValueError(f"n and d must be >= 0, not {n} and {d}")
    sample: list[int] = []
    for last in range(max(0, n - d), n):
        drawn = int(rng.random() * (last + 1))
        if drawn in sample:
            sample.insert(sample.index(drawn) + 1, last)
        else:
            sample.insert(0, drawn)
    return sample


class DistinctSampler:
    """Weighted samples without replacement from a frozen set.

    The chance of the ordered sample (i, j, k, ...) is p(i) * p(j) / (1 - p(i)) *
    p(k) / (1 - p(i) - p(j)) and so on, p being the shares of the weights; ids of weight 0 are never
    in.

    Each next item is drawn from the whole set, and drawn again while it repeats, which is exactly a
    draw from the rest. After eight repeats in a row, as happens when the items in the sample weigh
    nearly everything, it is drawn from the rest directly, by exact integer prefix sums. Whether
    that happens does not depend on which item comes next, so the chances are as stated: exact but
    for 53-bit rounding in the alias table.

    The same holds for positions that are barred for the time being: :meth:`without` keeps the table
    and draws again where it meets one of them. That takes 1/s draws an item, s being ``share``.

    Args:
        weights: A mapping id -> weight, or an iterable of ids (weight 1 each). Finite numbers
            >= 0. May be all zero or empty.

    Attributes:
        table: The alias table of the whole set.
        count: How many ids have a positive weight and are not barred.
        barred: For each position, whether it is barred; empty where none is.
        share: The part of all weight that is not barred, 0..1.

    Raises:
        InvalidEndpointError: For a duplicate id or a bad weight.
        TypeError: For wrong types.

    Runtime complexity: O(n) to build.
    """

    __slots__ = ("_given", "_prefix", "_whole", "barred", "count", "share", "table")

    table: AliasTable
    count: int
    barred: bytes
    share: float

    def __init__(self, weights: Mapping[str, float] | Iterable[str]) -> None:
        checked = as_weights(weights)
        values = checked.values()
        # Equal ones, which are the usual case, need no arithmetic.
        equal = len(set(values)) == 1 and 0.0 not in values
        self._given = self._whole = [1] * len(values) if equal else exact_integers(values)
        self.table = AliasTable.of_integers(checked, self._whole)
        self._prefix = list(accumulate(self._whole))
        self.count = len(self._whole) - self._whole.count(0)
        self.barred = b""
        self.share = 1.0

    def without(self, barred: bytes) -> DistinctSampler:
        """Return a sampler of the same table that never draws certain positions.

        Args:
            barred: For each position, whether it is barred: 0 or 1. Empty: none is.

        Raises:
            ValueError: If it is of another length.

        Runtime complexity: O(n) additions; the table is shared, and so are those barred here
        forgotten there.
        """
        given = self._given
        if barred and len(barred) != len(given):
            raise ValueError(f"there are {len(given)} positions, not {len(barred)}")
        twin = DistinctSampler.__new__(DistinctSampler)
        twin.table, twin._given, twin.barred = self.table, given, b""
        twin._whole = given
        if any(barred):
            twin.barred = barred
            twin._whole = given.copy()
            for index in compress(count(), barred):
                twin._whole[index] = 0
        twin._prefix = list(accumulate(twin._whole))
        twin.count = len(given) - twin._whole.count(0)
        whole = sum(given)
        twin.share = twin._prefix[-1] / whole if whole else 1.0
        return twin

    def draw(self, rng: Random, d: int) -> list[str]:
        """Return ``min(d, count)`` distinct ids, in the order drawn.

        Raises:
            ValueError: ``d`` is negative.

        Runtime complexity: as :meth:`draw_indices`.
        """
        ids = self.table.ids
        return [ids[index] for index in self.draw_indices(rng, d)]

    def draw_indices(self, rng: Random, d: int) -> list[int]:
        """Return the positions, in the order given, of what :meth:`draw` would return.

        Raises:
            ValueError: ``d`` is negative.

        Runtime complexity: O(d**2) expected where neither an item nor those barred weigh nearly
        everything; at most O(d * (d + log n)).
        """
        if d < 0:
            raise ValueError(f"d must be >= 0, not {d}")
        wanted = min(d, self.count)
        # AliasTable.draw_index written out: two calls would cost as much as the draws.
        random = rng.random
        cuts = self.table.cuts
        aliases = self.table.aliases
        barred = self.barred
        n = len(cuts)
        sample: list[int] = []
        repeats = 0
        while len(sample) < wanted:
            point = random() * n
            index = int(point)
            if point >= cuts[index]:
                index = aliases[index]
            if index in sample or (barred and barred[index]):
                repeats += 1
                if repeats < MAX_REPEATS:
                    continue
                index = self.draw_rest(rng, sample)
            repeats = 0
            sample.append(index)
        return sample

    def draw_pair(self, rng: Random, first: int, second: int) -> tuple[int, int]:
        """Return the sample of two that begins with these two draws from the table.

        For whoever writes out the usual case of :meth:`draw_indices` for two, where both draws
        are good: they draw alike.

        Args:
            rng: As there; ``count`` must be at least 2.
            first: What the table gave first: a repeat or barred, perhaps.
            second: What it gave then.

        Runtime complexity: As :meth:`draw_indices`.
        """
        random = rng.random
        cuts = self.table.cuts
        aliases = self.table.aliases
        barred = self.barred
        n = len(cuts)
        found = -1  # the first of the sample, once there is one
        repeats = 0
        index = first
        while True:
            if index == found or (barred and barred[index]):
                repeats += 1
                if repeats == MAX_REPEATS:
                    index = self.draw_rest(rng, () if found < 0 else (found,))
                    repeats = 0
            else:
                repeats = 0
            if not repeats:
                if found >= 0:
                    return found, index
                found = index
            if second >= 0:
                index, second = second, -1
            else:
                point = random() * n
                index = int(point)
                if point >= cuts[index]:
                    index = aliases[index]

    def draw_rest(self, rng: Random, sample: Collection[int]) -> int:
        """Return the position of one more item, drawn by weight from what is left.

        Args:
            rng: ``randrange()`` is called once.
            sample: Distinct positions that are not to be drawn, beside those barred; at least one
                item of positive weight must be left.

        Raises:
            ValueError: There is no weight left to draw from.

        Runtime complexity: O(d log d + log n) for d positions.
        """
        whole = self._whole
        target = rng.randrange(self._prefix[-1] - sum(whole[index] for index in sample))
        for index in sorted(sample):
            # Skip the stretch of each item that is out, if the target lies at or beyond it.
            if target >= self._prefix[index] - whole[index]:
                target += whole[index]
        return bisect_right(self._prefix, target)
