"""Shares of a whole: how a number in [0, 1), or a key, chooses among weighted parts."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Hashable, Mapping
from fractions import Fraction
from typing import Generic, TypeVar

from balancers.hashing import MASK64, Key, digest128, key_bytes

__all__ = ["Split", "position_of"]

Part = TypeVar("Part", bound=Hashable)


class Split(Generic[Part]):
    """Parts of a whole, in a fixed order, each with the share it is due.

    A part owns an interval of [0, 1) as long as its share; intervals lie in the order given.
    When shares change only the numbers between an old boundary and the new one change part.

    Args:
        shares: Part → share ≥ 0, of any sum > 0; parts of share 0 are left out.

    Attributes:
        parts: The parts of positive share, in the order given.
        ends: Where each of them but the last ends, as floats.

    Raises:
        ValueError: If a share is negative.

    Runtime complexity: O(parts) to build, in exact arithmetic.
    """

    __slots__ = ("_shares", "ends", "parts")

    def __init__(self, shares: Mapping[Part, Fraction] | Mapping[Part, float]) -> None:
        exact = {part: Fraction(share) for part, share in shares.items() if share}
        for part, share in exact.items():
            if share < 0:
                raise ValueError(f"a share must be ≥ 0, not {float(share)!r} of {part!r}")
        whole = sum(exact.values())
        self._shares = {part: share / whole for part, share in exact.items()}
        self.parts: tuple[Part, ...] = tuple(self._shares)
        ends: list[float] = []
        total = Fraction(0)
        for share in list(self._shares.values())[:-1]:
            total += share
            ends.append(float(total))
        self.ends: list[float] = ends

    def at(self, position: float) -> int:
        """Return the index in ``parts`` of the part that owns the position. O(log parts)."""
        return bisect_right(self.ends, position)

    def shares(self) -> dict[Part, Fraction]:
        """Return the exact shares; they sum to 1, unless there is no part."""
        return dict(self._shares)

    def _check(self) -> None:
        assert sum(self._shares.values()) == (1 if self.parts else 0)
        assert self.ends == sorted(self.ends)
        assert len(self.ends) == max(0, len(self.parts) - 1)


def position_of(key: Key, seed: int) -> float:
    """Return a key's place in [0, 1): the same in every process.

    Args:
        key: What to place.
        seed: 0 ≤ seed < 2³²; independent seeds give independent places.

    Runtime complexity: O(len(key)).
    """
    # 53 bits, so that the quotient is exact and stays below 1.
    return ((digest128(key_bytes(key), seed) & MASK64) >> 11) * 2.0**-53
