"""A circle cut into arcs, each owned by a member: what all rings share."""

from __future__ import annotations

from abc import abstractmethod
from array import array
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import ClassVar, Self

from balancers.hashing import Key
from balancers.structures.keyed import KeyedStructure
from balancers.structures.movement import Movement

__all__ = ["Circle", "merged_arcs"]


class Circle(KeyedStructure):
    """Base of the structures where a key belongs to the member of the first point at or after it.

    A subclass lays the points and says where a key stands among them.
    """

    __slots__ = ("_owners", "_points")

    size: ClassVar[int] = 1 << 64
    """Number of positions on the circle."""

    # Invariants:
    #   1. _points ascends and ends with a sentinel, the last position of the circle, owned by the
    #      first point's member; both arrays are empty when no member has points.
    #   2. _owners runs beside it and holds positions in ids.

    _points: array[int]
    _owners: array[int]

    @abstractmethod
    def _rank_of(self, key: Key) -> int:
        """Return the rank of the first point at or after the key; there is at least one point."""

    def _like(self, other: Self) -> bool:
        """Return whether a key stands at the same position in the other structure."""
        return True

    def _close(self, points: array[int], owners: array[int]) -> None:
        """Take over sorted points and add the sentinel."""
        if points:
            points.append(self.size - 1)
            owners.append(owners[0])
        self._points, self._owners = points, owners

    def locate(self, key: Key) -> int:
        """Return the position in ``ids`` of the owner of ``key``.

        Raises:
            LookupError: If no member has points.
            TypeError: If the key is not str, bytes or int.

        Runtime complexity: O(len(key) + log p) for p points.
        """
        if not self._points:
            raise LookupError("the ring is empty: no member has a positive weight")
        return self._owners[self._rank_of(key)]

    def walk_indices(self, key: Key) -> Iterator[int]:
        """Yield positions in ``ids``: the owner, then the members met clockwise, once each.

        Runtime complexity: that of ``locate`` for the owner, O(1) expected for each next one
        while few have been seen, O(p) for all.
        """
        if not self._points:
            return
        owners = self._owners
        rank = self._rank_of(key)
        first = owners[rank]
        yield first
        seen = {first}
        members = len(self.weights)
        # The sentinel repeats the first point's member, so running over it is harmless. Ranks
        # are counted because ``islice`` would step over all points before the key's.
        for at in chain(range(rank + 1, len(owners)), range(rank)):
            if len(seen) == members:
                return
            owner = owners[at]
            if owner not in seen:
                yield owner
                seen.add(owner)

    def first_able(self, key: Key, able: Sequence[object]) -> int | None:
        """Return the first of :meth:`walk_indices` for which ``able`` has no None, if there is one.

        Runtime complexity: That of ``locate``, and O(1) expected while most are able.
        """
        owners = self._owners
        if owners:
            rank = self._rank_of(key)
            for at in chain(range(rank, len(owners)), range(rank)):
                owner = owners[at]
                if able[owner] is not None:
                    return owner
        return None

    def arcs(self) -> dict[str, int]:
        """Return id -> how many of the circle's ``size`` positions it owns.

        Runtime complexity: O(p).
        """
        lengths = [0] * len(self.ids)
        if self._points:
            before = self._points[-2] - self.size
            for point, owner in zip(self._points[:-1], self._owners, strict=False):
                lengths[owner] += point - before
                before = point
        return dict(zip(self.ids, lengths, strict=True))

    def shares(self) -> dict[str, float]:
        """Return id -> fraction of the circle it owns, exact but for the rounding to a float.

        Runtime complexity: O(p).
        """
        size = self.size
        return {id_: length / size for id_, length in self.arcs().items()}

    def moved(self, other: Self) -> Movement:
        """Return the exact part of the circle that changes owner from this ring to ``other``.

        Raises:
            TypeError: If ``other`` is of another class.
            ValueError: If the two hash keys differently: then nearly all keys move.
            LookupError: If either ring is empty.

        Runtime complexity: O(p) over the points of both.
        """
        if type(other) is not type(self):
            raise TypeError(f"expected a {type(self).__name__}, got {type(other).__name__}")
        if not self._like(other):
            raise ValueError("the two rings hash keys differently; nearly all keys move")
        return Movement.of_counts(
            merged_arcs(
                (self._points, self._owners, self.ids), (other._points, other._owners, other.ids)
            ),
            self.size,
        )


def merged_arcs(
    before: tuple[Sequence[int], Sequence[int], Sequence[str]],
    after: tuple[Sequence[int], Sequence[int], Sequence[str]],
) -> dict[tuple[str, str], int]:
    """Overlay two clockwise rings and add up the arcs by (owner before, owner after).

    Args:
        before: Ascending positions, ending with the last position of the circle; the index of the
            owner of the arc that ends at each; and the ids that the indices stand for.
        after: The same for the other ring, on the same circle.

    Returns:
        Units of the circle for each pair of ids that meets, the unmoved pairs included; they add
        up to the last position + 1.

    Raises:
        LookupError: If either ring has no points.

    Runtime complexity: O(p) over the points of both.
    """
    points, owners, ids = before
    other_points, other_owners, other_ids = after
    if not points or not other_points:
        raise LookupError("a ring without points owns no keys, so none can move")
    meets: defaultdict[tuple[int, int], int] = defaultdict(int)
    i = j = 0
    start = -1  # the last position counted so far
    end = points[-1]
    while start < end:
        point, other = points[i], other_points[j]
        stop = point if point < other else other  # noqa: FURB136 - a call of min costs more
        meets[owners[i], other_owners[j]] += stop - start
        start = stop
        i += point == stop
        j += other == stop
    return {(ids[a], other_ids[b]): units for (a, b), units in meets.items() if units}
