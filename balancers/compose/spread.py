"""How the picks of a composite are spread over its groups."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from fractions import Fraction
from types import MappingProxyType
from typing import Any

from balancers.structures.split import Split

__all__ = ["Spread"]

_NOWHERE: Mapping[str, Hashable] = MappingProxyType({})


class Spread:
    """The share of each group, and whom to try after the first.

    Args:
        shares: Group → share ≥ 0; the order is that of the intervals, so of stability.
        order: Every group that may be tried at all, the best first.
        homes: Group by endpoint id, where its fields do not tell.

    Attributes:
        names: The groups of positive share.
        ends: Where the interval of each of them but the last ends.
        order: Whom to try if the first has nobody.
        homes: As given.
        shares: The exact shares; they sum to 1, or to 0 if there is no capacity anywhere.
    """

    __slots__ = ("ends", "homes", "names", "order", "shares")

    def __init__(
        self,
        shares: Mapping[Any, Fraction] | Mapping[Any, float],
        order: Iterable[Hashable],
        homes: Mapping[str, Hashable] = _NOWHERE,
    ) -> None:
        split: Split[Hashable] = Split(shares)
        self.names: tuple[Hashable, ...] = split.parts
        self.ends: list[float] = split.ends
        self.shares: dict[Hashable, Fraction] = split.shares()
        self.order: tuple[Hashable, ...] = tuple(order)
        self.homes: Mapping[str, Hashable] = homes

    def _check(self) -> None:
        assert sum(self.shares.values()) in (0, 1)
        assert set(self.names) <= set(self.order)
        assert len(set(self.order)) == len(self.order)
