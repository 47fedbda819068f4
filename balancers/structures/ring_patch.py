"""Changing a few members of a ring: new arrays that differ from the old where they must.

Everything is copied at the speed of memcpy and then edited at the changed points only, so readers
of the old ring are never disturbed. The new members' indices are chosen such that those who stay
keep theirs: a leaver's index goes to a newcomer, or else to the last member, whose own points are
rewritten as if it had left and come back.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from balancers.structures.ring_points import points_of
from balancers.structures.ring_table import BLOCK_BITS, fill_block

__all__ = ["Edits", "edit_points", "edit_table", "plan_edits"]


@dataclass(frozen=True, slots=True)
class Edits:
    """What changes: the new index order, and points to take out and put in.

    Attributes:
        ids: New members by index.
        out: (position, old index) of the points that go.
        into: (position, new index) of the points that come.
    """

    ids: tuple[str, ...]
    out: list[tuple[int, int]]
    into: list[tuple[int, int]]


def plan_edits(
    ids: Sequence[str], old: Mapping[str, int], new: Mapping[str, int], seed: int
) -> Edits:
    """Plan the way from one ring to another.

    Args:
        ids: Members by index.
        old: id -> number of points, for each of ``ids``.
        new: id -> number of points, for each member to be.
        seed: The rings' seed.

    Runtime complexity: O(n + changed points).
    """
    order = list(ids)
    added = [id_ for id_ in new if id_ not in old]
    holes = [index for index, id_ in enumerate(order) if id_ not in new]
    out: list[tuple[int, int]] = []
    into: list[tuple[int, int]] = []

    def move(id_: str, before: int, after: int, at: int, to: int) -> None:
        """Note the points that ``id_`` loses and gains, going from index ``at`` to ``to``."""
        points = points_of(id_, max(before, after), seed)
        kept = min(before, after) if at == to else 0
        out.extend((point, at) for point in points[kept:before])
        into.extend((point, to) for point in points[kept:after])

    for index, id_ in enumerate(ids):
        if id_ not in new:
            move(id_, old[id_], 0, index, index)
        elif old[id_] != new[id_]:
            move(id_, old[id_], new[id_], index, index)
    for id_ in added:
        if holes:
            index = holes.pop(0)
            order[index] = id_
        else:
            index = len(order)
            order.append(id_)
        move(id_, 0, new[id_], index, index)
    gone = set(holes)
    while gone:
        last = len(order) - 1
        if last in gone:
            gone.remove(last)
            order.pop()
            continue
        index = min(gone)
        gone.remove(index)
        id_ = order.pop()
        order[index] = id_
        if id_ in old and old[id_] != new[id_]:
            # Its change was noted at the old index; the points it ends up with move from there.
            points = points_of(id_, new[id_], seed)
            stays = set(points[: min(old[id_], new[id_])])
            into[:] = [(point, at) for point, at in into if at != last]
            out.extend((point, last) for point in points if point in stays)
            into.extend((point, index) for point in points)
        else:
            move(id_, new[id_], new[id_], last, index)
    return Edits(tuple(order), out, into)
