"""What turns one weighted membership into another."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

__all__ = ["Changes", "compare", "relative", "unit_of"]

Item = TypeVar("Item", bound=Hashable)


LEAST = 1e-280
"""The least relative weight: its inverse, times any number of picks, is a float."""


class Weighed(Protocol):
    """Whatever has a weight."""

    weight: float


@dataclass(frozen=True, slots=True)
class Changes(Generic[Item]):
    """The difference of two memberships.

    Attributes:
        gone: Who is no longer in.
        joined: Who is new, with its weight.
        changed: Who has another weight, with the new one.
    """

    gone: list[Item]
    joined: dict[Item, float]
    changed: dict[Item, float]

    def __len__(self) -> int:
        return len(self.gone) + len(self.joined) + len(self.changed)


def compare(members: Mapping[Item, Weighed], weights: Mapping[Item, float]) -> Changes[Item]:
    """Return what makes these the members, each with its weight > 0.

    May run while others use the members, as long as nobody joins, leaves or is weighed anew. O(n).
    """
    gone = [item for item in members if item not in weights]
    stay: Mapping[Item, float] = weights
    joined: dict[Item, float] = {}
    if len(weights) > len(members) - len(gone):  # else everybody is known
        joined = {item: weight for item, weight in weights.items() if item not in members}
        stay = {item: weight for item, weight in weights.items() if item in members}
    changed = {item: weight for item, weight in stay.items() if members[item].weight != weight}
    return Changes(gone, joined, changed)


def unit_of(weights: Iterable[float]) -> float:
    """Return the greatest power of 2 that is at most the largest weight; 1 if all are 0. O(n)."""
    largest = max(weights, default=0.0)
    return math.ldexp(1.0, math.frexp(largest)[1] - 1) if largest else 1.0


def relative(weights: Mapping[Item, float], unit: float) -> dict[Item, float]:
    """Return the weights > 0 in this unit, a power of 2, and so in their exact proportions.

    Weights below ``LEAST`` units count as that, so that sums and inverses stay finite. O(n).
    """
    if unit == 1.0:
        return {item: max(weight, LEAST) for item, weight in weights.items()}
    return {item: max(weight / unit, LEAST) for item, weight in weights.items()}
