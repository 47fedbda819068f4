"""An exact lookup table over the sorted points of a ring: O(1) expected, two bytes a slot.

The circle is cut into 2^bits equal slots, at least eight to a point. A slot without a point has
one owner, and holds its index. A slot with a point is *mixed*: it holds ``limit``, a number above
all indices, plus the rank of its first point within the slot's block of 256 slots, and the block's
own first rank stands in ``base``; the search goes on among the few points of that slot. So at
most one look-up in eight touches the points at all, no look-up bisects a million of them, and
adding a member's points changes only the blocks they fall into and the small ``base``.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from itertools import repeat
from operator import mul, sub
from struct import Struct

__all__ = [
    "BLOCK_BITS",
    "SLOTS_PER_POINT",
    "build_table",
    "code_limit",
    "fill_block",
    "names_for",
    "table_bits",
]

SLOTS_PER_POINT = 8
BLOCK_BITS = 8
_BATCH = 4096


def table_bits(points: int) -> int:
    """Return the number of leading bits of a position that name its slot, ≥ 8."""
    return max(BLOCK_BITS, (SLOTS_PER_POINT * points - 1).bit_length())


def code_limit(count: int) -> int:
    """Return the first code of a mixed slot: more than ``count``, so that members may join."""
    return count + count // 4 + 8


def build_table(
    points: Sequence[int], owners: Sequence[int], limit: int, bits: int
) -> tuple[array[int], array[int], int]:
    """Build the table, the blocks' first ranks, and the largest number of points in a block.

    Args:
        points: Positions in ascending order, at least one.
        owners: The index of each one's member, 0 ≤ index < limit.
        limit: The first code of a mixed slot.
        bits: Leading bits that name a slot, 8..64.

    Returns:
        ``table`` of 2^bits entries in the narrowest of B, H, I that holds them, ``base`` of
        2^(bits - 8) + 1 ranks, and the points in the fullest block.

    Runtime complexity: O(2^bits + p) for p points, the first term at the speed of memcpy.
    """
    shift = 64 - bits
    slots = [point >> shift for point in points]
    base = array("I", [bisect_left(slots, start) for start in range(0, 1 << bits, 1 << BLOCK_BITS)])
    base.append(len(slots))
    widest = max(map(sub, base[1:], base))
    codes = limit + widest
    code = "B" if codes <= 1 << 8 else "H" if codes <= 1 << 16 else "I"
    cells = [array(code, [index]).tobytes() for index in range(max(owners) + 1)]
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
            table[slot] = limit + rank - base[slot >> BLOCK_BITS]
            before = slot
    return table, base, widest


def fill_block(
    table: array[int],
    base: Sequence[int],
    points: Sequence[int],
    owners: Sequence[int],
    limit: int,
    block: int,
) -> None:
    """Write one block of 256 slots as :func:`build_table` would.

    Args:
        table: The table to write into.
        base: First rank of each block; right for this block and the next.
        points: Positions in ascending order.
        owners: The index of each one's member.
        limit: The first code of a mixed slot.
        block: Which block.

    Runtime complexity: O(points in the block).
    """
    shift = 65 - len(table).bit_length()
    pack = Struct(table.typecode).pack
    start = at = block << BLOCK_BITS
    end = start + (1 << BLOCK_BITS)
    first, after = base[block], base[block + 1]
    runs: list[bytes] = []
    for rank, (point, owner) in enumerate(
        zip(points[first:after], owners[first:after], strict=True)
    ):
        slot = point >> shift
        if slot >= at:
            runs += (pack(owner) * (slot - at), pack(limit + rank))
            at = slot + 1
    runs.append(pack(owners[after if after < len(points) else 0]) * (end - at))
    table[start:end] = array(table.typecode, b"".join(runs))


def names_for(ids: Sequence[str], limit: int, widest: int) -> list[str | None]:
    """Return ``ids`` followed by a None for each further code up to ``limit + widest``.

    So one look-up tells a direct hit (an id) from a mixed slot (None).
    """
    return [*ids, *repeat(None, limit + widest + 1 - len(ids))]
