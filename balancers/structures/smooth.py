"""Smooth weighted round robin, nginx's rule: every id earns its weight, the richest is picked.

Guarantees, for n ids of positive weight and lag = (share of the picks so far) - (picks so far):
after every pick lag is within [-(1 - 1/n), H(n) - 1], H(n) = 1 + 1/2 + ... + 1/n, under any
sequence of weights on fixed members; so any window is within H(n) - 1/n. Whoever sets the weights
can force a lag of H(n) - 1 on every rule, by spreading them over those not picked yet. (Where
weights go to 0 and come back, n is the largest number of positive ones.)

Why: before a pick the lags sum to 1, so the largest is at least 1/n and, picked, at least 1/n - 1.
For the other side let A(k) be the largest mean lag of any k ids after a pick, A(n) = 0, and A'(k)
the same one pick before. If the picked id is among the k, they gained at most 1 and lost 1. If not,
each of them was at most the picked one, so their mean is at most the mean of all k + 1 before the
pick was taken off: A(k) <= A'(k+1) + 1/(k+1). By induction A(k) <= 1/(k+1) + ... + 1/n.

Ties: the first in the order given wins, as in nginx: equal weights repeat the order given.

Cost: O(n) a pick (about 5 µs at n = 100), O(n log n) a change.

Use when weights change all the time, or where nginx's own sequence is wanted. For standing weights
:class:`~balancers.structures.chairman.ChairmanSchedule` has a smaller bound and O(log n) picks.

Source: nginx, ngx_http_upstream_round_robin.c (2012); the bound is the cup game's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from operator import add

from balancers.structures.lags import carry_lags
from balancers.structures.weights import as_weights, exact_integers

__all__ = ["SmoothSchedule"]


class SmoothSchedule:
    """Smooth weighted round robin as an endless sequence of ids.

    Example::

        schedule = SmoothSchedule({"a": 5, "b": 1, "c": 1})
        [schedule.next() for _ in range(7)]  # a a b a c a a

    Args:
        weights: A mapping id -> weight, or an iterable of ids (weight 1 each). Any finite numbers
            >= 0, taken exactly as they are; weight 0 is never picked. May be all zero or empty.

    Raises:
        InvalidEndpointError: For a duplicate id or a bad weight.
        TypeError: For wrong types.

    Invariants:
        1. ``_credits[i]`` is the lag of ``_ids[i]`` times ``_unit``; ids of weight 0 are not in.
        2. ``_gains`` are the shares times ``_unit``: integers > 0 that sum to ``_unit``.
        3. The credits sum to 0, or are short of it by less than n for each rounded change.
    """

    __slots__ = ("_credits", "_gains", "_ids", "_unit", "_weights", "_whole")

    def __init__(self, weights: Mapping[str, float] | Iterable[str]) -> None:
        self._weights: dict[str, float] = {}
        self._ids: list[str] = []
        self._whole: list[int] = []
        self._credits: list[int] = []
        self._gains: list[int] = []
        self._unit = 1
        self.update(weights)

    def next(self) -> str:
        """Return the id of the next pick.

        Raises:
            LookupError: Every weight is 0; nothing has changed then.

        Runtime complexity: O(n).
        """
        credits_ = list(map(add, self._credits, self._gains))
        if not credits_:
            raise LookupError("nothing to pick: all weights are 0")
        position = credits_.index(max(credits_))  # the first of the largest
        credits_[position] -= self._unit
        self._credits = credits_
        return self._ids[position]

    def update(self, weights: Mapping[str, float] | Iterable[str]) -> None:
        """Change the members and weights to exactly ``weights``; takes effect at the next pick.

        Survivors keep their lag. The lags of ids that leave (or whose weight becomes 0) are poured
        over the survivors: a positive sum raises the lowest lags, a negative one lowers the
        highest. Ids that join (or come back from weight 0) start at lag 0. Lags are carried
        exactly, or rounded down by less than 2**-128 where denominators have grown too long; after
        that the bounds hold up to the sum of the roundings.

        Raises:
            InvalidEndpointError, TypeError: As the constructor; nothing has changed then.

        Runtime complexity: O(n log n).
        """
        checked = as_weights(weights)
        ids = [id_ for id_, weight in checked.items() if weight > 0]
        whole = exact_integers(checked[id_] for id_ in ids)
        if ids != self._ids or whole != self._whole:
            before = dict(zip(self._ids, self._credits, strict=True))
            total = max(1, sum(whole))
            self._credits, self._unit = carry_lags(before, self._unit, ids, total)
            self._gains = [self._unit // total * weight for weight in whole]
            self._ids = ids
            self._whole = whole
        self._weights = checked

    def lags(self) -> dict[str, Fraction]:
        """Return every id's lag after the last pick, exactly; ids of weight 0 have lag 0.

        In nginx's terms an id's lag is its ``current_weight`` over the total weight.

        Runtime complexity: O(n).
        """
        known = dict(zip(self._ids, self._credits, strict=True))
        return {id_: Fraction(known.get(id_, 0), self._unit) for id_ in self._weights}

    def _check(self) -> None:
        """Assert the invariants."""
        assert self._ids == [id_ for id_, weight in self._weights.items() if weight > 0]
        assert len(self._ids) == len(self._credits) == len(self._gains)
        assert not self._ids or sum(self._gains) == self._unit
        assert all(gain > 0 for gain in self._gains)
        assert -(self._unit >> 64) <= sum(self._credits) <= 0
