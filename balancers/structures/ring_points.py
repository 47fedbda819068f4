"""The points of a consistent-hash ring: made for one member at a time, sorted for all.

A point is a 64-bit position on the circle. Point j of a member comes from
``MurmurHash3_x64_128(len(id) ‖ id ‖ j // 2)`` (both numbers as 4 little-endian bytes): the low half
of the digest if j is even, the high half if odd. The length prefix makes the encoding injective,
so two members never share a digest's input, and the points of a member depend on nothing but its
id, the seed and how many it has: raising the number only adds points.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable

from balancers.errors import InvalidEndpointError
from balancers.hashing import digest16, key_bytes

__all__ = ["MAX_POINTS", "index_code", "point_count", "points_of", "sorted_points"]

MAX_POINTS = 1 << 24

_SUFFIXES = tuple(j.to_bytes(4, "little") for j in range(1024))


def point_count(id_: str, weight: float, vnodes: int) -> int:
    """Return how many points ``id_`` has: ``round(vnodes * weight)``, 0 for weight 0.

    Raises:
        InvalidEndpointError: If ``vnodes * weight`` is below 1 for a positive weight (the member
            would be starved or over-served by more than half), or above 2²⁴.
    """
    if not weight:
        return 0
    exact = vnodes * weight
    if exact < 1:
        raise InvalidEndpointError(
            f"{id_!r} of weight {weight!r} gets vnodes * weight = {exact!r} points; "
            "at least 1 is needed: raise vnodes or scale the weights up"
        )
    if exact > MAX_POINTS:
        raise InvalidEndpointError(
            f"{id_!r} of weight {weight!r} gets vnodes * weight = {exact!r} points; "
            f"a ring holds at most {MAX_POINTS}"
        )
    return round(exact)


def points_of(id_: str, count: int, seed: int) -> array[int]:
    """Return the ``count`` points of ``id_``, in order of their index (not sorted).

    Args:
        id_: The member; the bytes of its text enter the hash.
        count: ≥ 0.
        seed: 0 ≤ seed < 2³².

    Returns:
        An ``array('Q')`` of positions, 0..2⁶⁴ - 1.

    Runtime complexity: O(count).
    """
    digests = (count + 1) // 2
    suffixes = _SUFFIXES[:digests]
    if digests > len(suffixes):
        suffixes += tuple(j.to_bytes(4, "little") for j in range(len(suffixes), digests))
    data = key_bytes(id_)
    prefix = len(data).to_bytes(4, "little") + data
    blob = b"".join([digest16(prefix + suffix, seed) for suffix in suffixes])
    points = array("Q", blob[: 8 * count])
    if sys.byteorder == "big":
        points.byteswap()
    return points


def index_code(count: int) -> str:
    """Return the type code of an array that holds ``0..count - 1``: ``H``, else ``I``."""
    return "H" if count <= 1 << 16 else "I"


def sorted_points(
    members: Iterable[tuple[int, array[int]]], count: int
) -> tuple[array[int], array[int]]:
    """Sort the points of all members.

    Args:
        members: Pairs of a member's index, 0 ≤ index < count, and its points.
        count: How many indices there are.

    Returns:
        Positions in ascending order (``array('Q')``) and the index of each position's member.
        Equal positions are in order of the index.

    Runtime complexity: O(p log p) for p points.
    """
    width = max(1, (count - 1).bit_length())
    low = (1 << width) - 1
    laid = list(members)
    total = sum(len(points) for _, points in laid)
    # Points are dealt into parts of the circle of about a thousand each, and each part is sorted
    # by itself while it sits in the cache: half the time of sorting a million integers at once.
    shift = 64 - max(0, total.bit_length() - 10)
    parts: list[list[int]] = [[] for _ in range(1 << 64 - shift)]
    for index, points in laid:
        for point in points:
            parts[point >> shift].append(point << width | index)
    positions, owners = array("Q"), array(index_code(count))
    for at, part in enumerate(parts):
        part.sort()
        positions.fromlist([packed >> width for packed in part])
        owners.fromlist([packed & low for packed in part])
        parts[at] = []  # give the memory back as we go
    return positions, owners
