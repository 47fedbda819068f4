"""An exact lookup table over the sorted points of a ring: O(1) expected, two bytes a slot.

The circle is cut into 2^bits equal slots, at least eight to a point. A slot without a point has
one owner, and holds its index (0..n - 1). A slot with a point is *mixed*: it holds n plus the rank
of its first point within the slot's block of 256 slots, and the block's own first rank stands in
``base``; the search goes on among the few points of that slot. So at most one look-up in eight
touches the points at all, no look-up bisects a million of them, and adding a member's points
changes only the blocks they fall into and the small ``base``.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from itertools import repeat
from operator import mul, sub

__all__ = ["BLOCK_BITS", "SLOTS_PER_POINT", "build_table", "names_for", "table_bits"]

SLOTS_PER_POINT = 8
BLOCK_BITS = 8
_BATCH = 4096


def table_bits(points: int) -> int:
    """Return the number of leading bits of a position that name its slot, ≥ 8."""
    return max(BLOCK_BITS, (SLOTS_PER_POINT * points - 1).bit_length())


def build_table(
    points: Sequence[int], owners: Sequence[int], count: int, bits: int
) -> tuple[array[int], array[int]]:
    """Build the table and the blocks' first ranks.

    Args:
        points: Positions in ascending order, at least one.
        owners: The member's index of each, 0 ≤ index < count.
        count: How many members there are.
        bits: Leading bits that name a slot, 8..64.

    Returns:
        ``table`` of 2^bits entries in the narrowest of B, H, I that holds them, and ``base`` of
        2^(bits - 8) + 1 ranks.

    Runtime complexity: O(2^bits + p) for p points, the first term at the speed of memcpy.
    """
    shift = 64 - bits
    slots = [point >> shift for point in points]
    base = array("I", [bisect_left(slots, start) for start in range(0, 1 << bits, 1 << BLOCK_BITS)])
    base.append(len(slots))
    widest = count + max(map(sub, base[1:], base))
    code = "B" if widest <= 1 << 8 else "H" if widest <= 1 << 16 else "I"
    cells = [array(code, [index]).tobytes() for index in range(count)]
    # Every slot after the previous point's, up to and with its own, goes to a point's owner ...
    table = array(code)
    before = -1
    for start in range(0, len(slots), _BATCH):
        part = slots[start : start + _BATCH]
        gaps = map(sub, part, [before, *part])
        runs = map(cells.__getitem__, owners[start : start + _BATCH])
        table.frombytes(b"".join(map(mul, runs, gaps)))
        before = part[-1]
    # ... and the tail of the circle to the first point's. Then the slots with points are marked.
    table.frombytes(cells[owners[0]] * ((1 << bits) - len(table)))
    before = -1
    for rank, slot in enumerate(slots):
        if slot != before:
            table[slot] = count + rank - base[slot >> BLOCK_BITS]
            before = slot
    return table, base


def names_for(ids: Sequence[str], base: Sequence[int]) -> list[str | None]:
    """Return ``ids`` followed by one None for each code that a mixed slot may hold.

    So one look-up tells a direct hit (an id) from a mixed slot (None).
    """
    widest = max(map(sub, base[1:], base))
    return [*ids, *repeat(None, widest + 1)]
