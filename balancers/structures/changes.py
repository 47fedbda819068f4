"""What turns one weighted membership into another."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

__all__ = ["Changes", "compare"]

Item = TypeVar("Item", bound=Hashable)


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
