"""Consistent hashing on a ring of virtual nodes (Karger et al. 1997)."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Self

from balancers.errors import InvalidEndpointError
from balancers.hashing import Key, check_seed, digest128, encodable128, hash128, key_bytes
from balancers.structures.bulk import BulkStructure, numpy
from balancers.structures.circle import Circle
from balancers.structures.keyed import changed_weights, read_state
from balancers.structures.ring_patch import edit_points, edit_table, place, plan_edits
from balancers.structures.ring_points import MAX_POINTS, point_count, points_of, sorted_points
from balancers.structures.ring_size import imbalance, vnodes_for_weights
from balancers.structures.ring_table import (
    BLOCK_BITS,
    build_table,
    code_limit,
    names_for,
    table_bits,
)
from balancers.structures.weights import as_weights

__all__ = ["HashRing"]

_PATCHED = 20  # a ring is patched if at most one point in so many changes, else built anew
_isascii = str.isascii


class HashRing(Circle, BulkStructure):
    """A frozen ring: the owner of a key is the member of the first point at or after it.

    Member i has ``round(vnodes * w_i)`` points; nobody's points depend on the others, so a change
    of one member moves only the keys that this member gains or gives up. A key's position is the
    high half of its 128-bit hash. Of equal points, the one of the smaller id owns the arc before.

    Args:
        ids_or_weights: id -> weight, or ids of weight 1. Weight 0 has no points.
        vnodes: Points of a member of weight 1, ≥ 1.
        seed: 0 ≤ seed < 2³². A secret seed keeps strangers from aiming keys at one member.

    Raises:
        InvalidEndpointError: For vnodes < 1, vnodes · weight < 1 for a positive weight, more than
            2²⁴ points, or what ``as_weights`` rejects.
        ValueError, TypeError: For a bad seed or a value of a wrong type.

    Runtime complexity: O(p log p) to build p points, O(1) expected for a look-up.
    """

    __slots__ = (
        "_base",
        "_block",
        "_limit",
        "_names",
        "_shift",
        "_table",
        "seed",
        "vnodes",
    )

    kind: ClassVar[str] = "ring"

    # Invariants (p points, n members):
    #   1. _points and _owners are those of a Circle; equal points are in order of their ids.
    #   2. _table and _base are what build_table makes of the p points for _limit ≥ n; _names is
    #      ids, then None for every code up to the last one of a mixed slot.

    def __init__(
        self,
        ids_or_weights: Mapping[str, float] | Iterable[str],
        vnodes: int = 160,
        seed: int = 0,
    ) -> None:
        weights = as_weights(ids_or_weights)
        self.vnodes: int = _check_vnodes(vnodes)
        self.seed: int = check_seed(seed)
        self.ids: tuple[str, ...] = tuple(sorted(weights))
        self.weights: Mapping[str, float] = MappingProxyType(
            {id_: weights[id_] for id_ in self.ids}
        )
        counts = _counts(self.weights, vnodes)
        made = (points_of(id_, counts[id_], seed) for id_ in self.ids)
        self._lay(*sorted_points(enumerate(made), len(self.ids)))

    def _lay(
        self,
        points: array[int],
        owners: array[int],
        limit: int = 0,
        table: tuple[array[int], array[int], int] | None = None,
    ) -> None:
        """Take over sorted points, build the table unless it is given, and close the circle."""
        if points:
            if table is None:
                limit = code_limit(len(self.ids))
                table = build_table(points, owners, limit, table_bits(len(points)))
        else:
            limit = len(self.ids)
            table = array("I", [limit]), array("I", [0, 0]), 0
        self._close(points, owners)
        self._table, self._base, widest = table
        self._limit = limit
        self._shift = 129 - len(self._table).bit_length()
        self._block = self._shift + BLOCK_BITS
        self._names = names_for(self.ids, limit, widest)

    def updated(self, ids_or_weights: Mapping[str, float] | Iterable[str]) -> HashRing:
        """Return the ring of other members, with this one's vnodes and seed.

        The same placement as ``HashRing(ids_or_weights, vnodes, seed)``, made from copies of this
        ring's arrays when few members change: a member that joins, leaves or is reweighted costs
        only its own points. This ring is untouched, so its readers never wait. Positions in
        ``ids`` may differ from a fresh ring's; members that stay keep theirs where possible.

        Raises:
            InvalidEndpointError, TypeError: As the constructor.

        Runtime complexity: O(p) at the speed of memcpy plus O(e log p) for e changed points; a
            full build where more than one point in twenty changes.
        """
        return self._updated(as_weights(ids_or_weights))

    def _updated(self, weights: dict[str, float]) -> HashRing:
        if weights == self.weights:
            return self
        after = _counts(weights, self.vnodes)
        before = _counts(self.weights, self.vnodes)
        changed = sum(abs(after.get(id_, 0) - had) for id_, had in before.items())
        changed += sum(has for id_, has in after.items() if id_ not in before)
        if changed * _PATCHED > len(self._points) or len(after) > 1 << 8 * self._owners.itemsize:
            return type(self)(weights, self.vnodes, self.seed)
        ring = object.__new__(type(self))
        ring.vnodes, ring.seed = self.vnodes, self.seed
        ring.ids = place(self.ids, after)
        ring.weights = MappingProxyType({id_: weights[id_] for id_ in ring.ids})
        edits = plan_edits(_indices(self.ids), _indices(ring.ids), before, after, self.seed)
        points, owners = edit_points(
            self._points[:-1], self._owners[:-1], (self.ids, ring.ids), edits
        )
        table = None
        fits = 4 * len(points) <= len(self._table) <= 32 * len(points)
        if fits and len(ring.ids) <= self._limit:
            table = edit_table(self._table, self._base, points, owners, self._limit, edits)
        ring._lay(points, owners, self._limit, table)
        return ring

    def with_changes(
        self,
        add: Mapping[str, float] | Iterable[str] = (),
        remove: Iterable[str] = (),
        reweight: Mapping[str, float] | None = None,
    ) -> HashRing:
        """Return a ring with some members added, removed or given another weight.

        Args:
            add: id -> weight, or ids of weight 1; none may be a member.
            remove: Ids to take out; all must be members.
            reweight: id -> new weight; all must be members and stay.

        Raises:
            InvalidEndpointError: If an id to add is a member already, one to remove or reweight
                is not, or one occurs twice; and as the constructor.

        Runtime complexity: As :meth:`updated`.
        """
        return self._updated(changed_weights(self.weights, add, remove, reweight or {}))

    @classmethod
    def sized(
        cls,
        ids_or_weights: Mapping[str, float] | Iterable[str],
        *,
        max_imbalance: float = 1.25,
        capacity: int | None = None,
        seed: int = 0,
    ) -> HashRing:
        """Return a ring with as many points as keep every share within a multiple of its due.

        The points a unit of weight gets follow from the exact law of the shares (``ring_size``),
        and the ring is then measured: should it miss by chance, it gets a quarter more.

        Args:
            ids_or_weights: id -> weight, or ids of weight 1.
            max_imbalance: The most a member's share may be of its due, > 1.
            capacity: Members to make room for; those to come are taken to be of mean weight.
                Twice as many as are given if None.
            seed: 0 ≤ seed < 2³².

        Raises:
            InvalidEndpointError: If it would take more than 2²⁴ points.
            ValueError: If ``max_imbalance`` is out of range, or ``capacity`` below the members.

        Runtime complexity: As the constructor.
        """
        weights = as_weights(ids_or_weights)
        live = [weight for weight in weights.values() if weight]
        if not live:
            return cls(weights, seed=seed)
        room = 2 * len(live) if capacity is None else capacity
        if room < len(live):
            raise ValueError(f"capacity must be >= the {len(live)} members, got {capacity}")
        live += [sum(live) / len(live)] * (room - len(live))
        vnodes = vnodes_for_weights(live, max_imbalance)
        ring = cls(weights, vnodes, seed)
        while imbalance(ring.shares(), ring.weights)[1] > max_imbalance:
            ring = cls(weights, vnodes := vnodes + vnodes // 4 + 1, seed)
        return ring

    def owner(self, key: Key) -> str:
        """Return the id that owns ``key``.

        Raises:
            LookupError: If no member has a positive weight.
            TypeError: If the key is not str, bytes or int.

        Runtime complexity: O(len(key)) expected.
        """
        kind = type(key)
        if (kind is str and _isascii(key)) or kind is bytes:  # type: ignore[arg-type]
            digest = encodable128(key, self.seed)  # type: ignore[arg-type]
        else:
            digest = digest128(key_bytes(key), self.seed)
        id_ = self._names[self._table[digest >> self._shift]]
        if id_ is not None:
            return id_
        return self.ids[self._owners[self._rank(digest)]]

    def locate(self, key: Key) -> int:
        """Return the position in ``ids`` of the owner of ``key``; errors and cost as ``owner``."""
        kind = type(key)
        if (kind is str and _isascii(key)) or kind is bytes:  # type: ignore[arg-type]
            digest = encodable128(key, self.seed)  # type: ignore[arg-type]
        else:
            digest = digest128(key_bytes(key), self.seed)
        index = self._table[digest >> self._shift]
        if index < self._limit:
            return index
        return self._owners[self._rank(digest)]

    def _rank(self, digest: int) -> int:
        """Return the rank of the first point at or after the position of ``digest``."""
        points = self._points
        if not points:
            raise LookupError("the ring is empty: no member has a positive weight")
        code = self._table[digest >> self._shift]
        position = digest >> 64
        if code < self._limit:
            return bisect_left(points, position)
        rank = self._base[digest >> self._block] + code - self._limit
        while points[rank] < position:
            rank += 1
        return rank

    def _owners_of_text(self, keys: Sequence[str]) -> list[str]:
        table, names, ids, owners = self._table, self._names, self.ids, self._owners
        shift, seed, rank = self._shift, self.seed, self._rank
        digest: int
        return [
            names[table[(digest := encodable128(key, seed)) >> shift]] or ids[owners[rank(digest)]]
            for key in keys
        ]

    def _locate_digests(self, low: Any, high: Any) -> Any:
        if not self._points:
            raise LookupError("the ring is empty: no member has a positive weight")
        np = numpy()
        table = np.frombuffer(self._table, self._table.typecode)
        slots = (high >> np.uint64(self._shift - 64)).view(np.int64)
        places = table.take(slots).astype(np.int64)
        mixed = np.flatnonzero(places >= self._limit)
        ranks = np.searchsorted(np.frombuffer(self._points, np.uint64), high.take(mixed))
        places[mixed] = np.frombuffer(self._owners, self._owners.typecode).take(ranks)
        return places

    def _rank_of(self, key: Key) -> int:
        return self._rank(hash128(key, self.seed))

    def _like(self, other: HashRing) -> bool:
        return self.seed == other.seed

    def state(self) -> dict[str, Any]:
        """Return members, vnodes and seed; the points follow from them."""
        return {
            "kind": self.kind,
            "weights": dict(sorted(self.weights.items())),
            "vnodes": self.vnodes,
            "seed": self.seed,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Rebuild a ring from :meth:`state`."""
        weights, vnodes, seed = read_state(cls.kind, state, "weights", "vnodes", "seed")
        return cls(weights, vnodes, seed)

    def _check(self) -> None:
        """Assert the invariants. For tests: O(p log p)."""
        points, owners = self._points, self._owners
        made = [
            (point, id_)
            for id_, count in _counts(self.weights, self.vnodes).items()
            for point in points_of(id_, count, self.seed)
        ]
        found = [(point, self.ids[owner]) for point, owner in zip(points, owners, strict=True)]
        assert found[:-1] == sorted(made)
        assert sorted(self.ids) == sorted(self.weights)
        if not points:
            return
        assert found[-1] == (self.size - 1, found[0][1])
        bits = 128 - self._shift
        assert len(self._table) == 1 << bits
        assert len(self.ids) <= self._limit
        assert self._names[: len(self.ids)] == list(self.ids)
        assert not any(self._names[len(self.ids) :])
        table, base, widest = build_table(points[:-1], owners[:-1], self._limit, bits)
        assert list(table) == list(self._table)
        assert base == self._base
        assert len(self._names) == self._limit + widest + 1 > max(table)


def _check_vnodes(vnodes: int) -> int:
    if isinstance(vnodes, bool) or not isinstance(vnodes, int):
        raise TypeError(f"vnodes is an int, not {type(vnodes).__name__}: {vnodes!r}")
    if vnodes < 1:
        raise InvalidEndpointError(f"vnodes must be >= 1, got {vnodes}")
    return vnodes


def _indices(ids: Iterable[str]) -> dict[str, int]:
    return {id_: index for index, id_ in enumerate(ids)}


def _counts(weights: Mapping[str, float], vnodes: int) -> dict[str, int]:
    counts = {id_: point_count(id_, weight, vnodes) for id_, weight in weights.items()}
    total = sum(counts.values())
    if total > MAX_POINTS:
        raise InvalidEndpointError(
            f"the ring would have {total} points; at most {MAX_POINTS} are supported"
        )
    return counts
