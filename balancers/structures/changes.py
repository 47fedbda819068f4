"""What turns one weighted membership into another."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from balancers.structures.share_cap import Bucket

__all__ = ["Changes", "compare"]

Item = TypeVar("Item", bound=Hashable)


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


def compare(members: Mapping[Item, Bucket], weights: Mapping[Item, float]) -> Changes[Item]:
    """Return what makes these the members, each with its weight > 0.

    May run while others use the members, as long as nobody joins or leaves. O(n).
    """
    return Changes(
        gone=[item for item in members if item not in weights],
        joined={item: weight for item, weight in weights.items() if item not in members},
        changed={
            item: weight
            for item, weight in weights.items()
            if item in members and members[item].weight != weight
        },
    )
