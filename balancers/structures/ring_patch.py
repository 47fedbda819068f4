"""Changing a few members of a ring: new arrays that differ from the old where they must.

Everything is copied at the speed of memcpy and then edited at the changed points only, so readers
of the old ring are never disturbed. Members that stay keep their index, so their points need no
rewriting; a leaver's index goes to a newcomer, or to a member whose own index is past the end.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import chain
from operator import sub
from typing import NamedTuple

from balancers.structures.ring_points import points_of
from balancers.structures.ring_table import BLOCK_BITS, fill_block

__all__ = ["Edits", "edit_points", "edit_table", "place", "plan_edits"]


def place(ids: Sequence[str], members: Mapping[str, int]) -> tuple[str, ...]:
    """Return the new members by index: those who stay keep theirs wherever it still exists.

    Args:
        ids: Old members by index.
        members: New members, in any order; the values do not matter.

    Runtime complexity: O(n).
    """
    count = len(members)
    known = set(ids)
    homeless = [id_ for id_ in ids[count:] if id_ in members]
    homeless += sorted(id_ for id_ in members if id_ not in known)
    fill = iter(homeless)
    order = [id_ if id_ in members else next(fill) for id_ in ids[:count]]
    return (*order, *fill)


class Edits(NamedTuple):
    """Points to change, each a position and what indices its member has.

    Attributes:
        out: (position, old index) of points that go.
        into: (position, new index) of points that come.
        renamed: (position, old index, new index) of points that stay under another index.
    """

    out: list[tuple[int, int]]
    into: list[tuple[int, int]]
    renamed: list[tuple[int, int, int]]


def plan_edits(
    old: Mapping[str, int],
    new: Mapping[str, int],
    before: Mapping[str, int],
    after: Mapping[str, int],
    seed: int,
) -> Edits:
    """Return the points that differ between two rings.

    Args:
        old: id -> index in the old ring.
        new: id -> index in the new ring.
        before: id -> number of points in the old ring.
        after: id -> number of points in the new ring.
        seed: The rings' seed.

    Runtime complexity: O(n + points of the changed members).
    """
    edits = Edits([], [], [])
    for id_ in {**old, **new}:
        at, to = old.get(id_, -1), new.get(id_, -1)
        had, has = before.get(id_, 0), after.get(id_, 0)
        if at == to and had == has:
            continue
        points = points_of(id_, max(had, has), seed)
        edits.out.extend((point, at) for point in points[has:had])
        edits.into.extend((point, to) for point in points[had:has])
        if at != to:
            edits.renamed.extend((point, at, to) for point in points[: min(had, has)])
    return edits


def edit_points(
    points: array[int],
    owners: array[int],
    names: tuple[Sequence[str], Sequence[str]],
    edits: Edits,
) -> tuple[array[int], array[int]]:
    """Return the sorted points and their owners after an edit.

    Args:
        points: Ascending positions, without a sentinel.
        owners: The index of each one's member.
        names: Old members by index and new members by index: equal points stand in order of id.
        edits: What changes; each point to take out or rename must be there.

    Runtime complexity: O(p) at the speed of memcpy, and O(e log p) for e edits.
    """
    old_ids, new_ids = names
    # (rank, leaves, position, id, new index): before each old rank come its newcomers, by position
    # and id; then the old point stays or leaves.
    steps: list[tuple[int, bool, int, str, int]] = []
    taken: set[int] = set()
    for position, index in [*edits.out, *((point, at) for point, at, _ in edits.renamed)]:
        rank = bisect_left(points, position)
        while owners[rank] != index or rank in taken:
            rank += 1
        taken.add(rank)
        steps.append((rank, True, position, "", index))
    for position, index in [*edits.into, *((point, to) for point, _, to in edits.renamed)]:
        rank = bisect_left(points, position)
        id_ = new_ids[index]
        while rank < len(points) and points[rank] == position and old_ids[owners[rank]] < id_:
            rank += 1
        steps.append((rank, False, position, id_, index))
    steps.sort()
    new_points, new_owners = array("Q"), array(owners.typecode)
    done = 0
    for rank, leaves, position, _, index in steps:
        if done < rank:
            new_points.extend(points[done:rank])
            new_owners.extend(owners[done:rank])
            done = rank
        if leaves:
            done = rank + 1
        else:
            new_points.append(position)
            new_owners.append(index)
    new_points.extend(points[done:])
    new_owners.extend(owners[done:])
    return new_points, new_owners


def edit_table(
    table: array[int],
    base: array[int],
    points: array[int],
    owners: array[int],
    limit: int,
    edits: Edits,
) -> tuple[array[int], array[int], int] | None:
    """Return what ``build_table`` would for edited points, or None if an entry would be too wide.

    Args:
        table: The old table.
        base: Its blocks' first ranks.
        points: The new positions, ascending, without a sentinel, at least one.
        owners: The index of each one's member, below ``limit``.
        limit: The first code of a mixed slot, the same in the old table and the new.
        edits: What changed.

    Runtime complexity: O(slots) at the speed of memcpy, and O(e) blocks for e edits.
    """
    shift = 65 - len(table).bit_length()
    block_shift = shift + BLOCK_BITS
    gone = [position for position, _ in edits.out]
    come = [position for position, _ in edits.into]
    steps: dict[int, int] = {}
    for positions, step in (gone, -1), (come, 1):
        for position in positions:
            block = (position >> block_shift) + 1
            steps[block] = steps.get(block, 0) + step
    new_base = array("I")
    done = delta = 0
    for block in sorted(steps):
        new_base.extend([rank + delta for rank in base[done:block]])
        delta += steps[block]
        done = block
    new_base.extend([rank + delta for rank in base[done:]])
    widest = max(map(sub, new_base[1:], new_base))
    if limit + widest > 1 << 8 * table.itemsize:
        return None
    new_table = table[:]
    # A renamed point keeps its slot's code; only the run of slots before it changes hands.
    for position, _, index in edits.renamed:
        rank = bisect_left(points, position)
        start = (points[rank - 1] >> shift) + 1 if rank else 0
        end = position >> shift
        if start < end and owners[rank] == index:
            new_table[start:end] = array(table.typecode, [index]) * (end - start)
    # A point's coming or going changes the slots after the point before it, up to its own, and
    # the ranks in its own block. The slots after the last point go with the first one.
    dirty = set(range(points[-1] >> block_shift, len(base) - 1))
    for position in chain(gone, come):
        rank = bisect_left(points, position)
        first = points[rank - 1] >> block_shift if rank else 0
        dirty.update(range(first, (position >> block_shift) + 1))
    for block in dirty:
        fill_block(new_table, new_base, points, owners, limit, block)
    return new_table, new_base, widest
