"""The fair choice among equals, by one draw; none where there is nothing to choose.

A copy that explains what comes next must draw as often as what it copies: so the number of draws
depends on who is tied, and not on how that was found.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import floor
from typing import TypeVar

__all__ = ["least_of", "one_of"]

Item = TypeVar("Item")


def one_of(tied: Sequence[Item], random: Callable[[], float]) -> Item:
    """Return one of these, each with the same chance. O(1).

    Args:
        tied: Whom to choose from, at least one, in an order that chance does not make.
        random: Uniform over [0, 1).
    """
    return tied[0] if len(tied) == 1 else tied[floor(random() * len(tied))]


def least_of(items: Sequence[Item], values: Sequence[float], random: Callable[[], float]) -> Item:
    """Return an item of the least value, ties by chance; there must be one. O(n)."""
    least = min(values)
    return one_of([i for i, value in zip(items, values, strict=True) if value == least], random)
