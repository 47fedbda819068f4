"""The draws of rendezvous hashing as one array, for many members and where NumPy is installed."""

from __future__ import annotations

from collections.abc import Sequence
from struct import unpack
from typing import Any

from balancers.hashing import MASK64
from balancers.structures.bulk import finish_array, numpy

__all__ = ["FEWEST", "NEAR", "DrawVector"]

FEWEST = 160
"""Members from which an array is quicker than a loop."""

NEAR = 1e-12
"""Scores closer than this, relatively, are not told apart by floats."""

_C1 = 0x87C37B91114253D5
_C2 = 0x4CF5AD432745937F


class DrawVector:
    """MurmurHash3_x64_128 of one 16-byte key stem followed by each member's 8 bytes.

    The stem is a whole block of the hash and the member its tail, so all that depends on the key
    is done once, all that depends on the member was done before, and only the final mix of the
    two is left to the arrays.

    Args:
        nodes: 8 bytes for each member.
        weights: The weight of each, > 0.
    """

    __slots__ = ("_inverse", "_tails", "_uniform")

    def __init__(self, nodes: Sequence[bytes], weights: Sequence[float]) -> None:
        np = numpy()
        u64 = np.uint64
        tails = np.frombuffer(b"".join(nodes), "<u8").astype(u64)
        tails *= u64(_C1)
        tails = (tails << u64(31)) | (tails >> u64(33))
        tails *= u64(_C2)
        self._tails = tails
        self._uniform = len(set(weights)) == 1
        self._inverse = 1.0 / np.array(weights)

    def smallest(self, stem: bytes) -> list[int]:
        """Return the places of the members whose score is smallest, or too near to tell.

        Args:
            stem: 16 bytes that stand for the key.

        Runtime complexity: O(n), about 25 array operations.
        """
        np = numpy()
        h1, h2 = _body(stem)
        low: Any = self._tails ^ np.uint64(h1 ^ 24)
        rest = np.uint64(h2 ^ 24)
        low += rest
        high = low + rest
        finish_array(low)
        finish_array(high)
        low += high
        high += low
        if self._uniform:
            near = np.flatnonzero(high == high.min())
        else:
            # The lower half of the draw is left out: an error below 2**-64 in v, for which the
            # slack makes room. v is kept below 1, where the logarithm ends.
            v = np.minimum(high * 2.0**-64, 1.0 - 2.0**-53)
            slack = self._inverse * 2.0**-62
            scores = np.log1p(-v) * -self._inverse
            bound = (scores * (1.0 + NEAR) + slack).min()
            near = np.flatnonzero(scores * (1.0 - NEAR) - slack <= bound)
        places: list[int] = near.tolist()
        return places


def _body(stem: bytes) -> tuple[int, int]:
    """Return the state of the hash (seed 0) after the 16 bytes of the stem."""
    k1, k2 = unpack("<2Q", stem)
    h1 = _turn(k1 * _C1, 31) * _C2
    h1 = (_turn(h1, 27) * 5 + 0x52DCE729) & MASK64
    h2 = _turn(k2 * _C2, 33) * _C1
    h2 = ((_turn(h2, 31) + h1) * 5 + 0x38495AB5) & MASK64
    return h1, h2


def _turn(word: int, bits: int) -> int:
    word &= MASK64
    return (word << bits | word >> (64 - bits)) & MASK64
