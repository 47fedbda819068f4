"""Maglev hashing (Eisenbud et al., NSDI 2016) with quotas: one look-up in a table of prime size."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Self

from balancers.errors import InvalidEndpointError
from balancers.hashing import MASK64, Key, check_seed, digest128, encodable128, hash128, key_bytes
from balancers.structures.bulk import BulkStructure, numpy
from balancers.structures.keyed import read_state
from balancers.structures.prime_table import EmptyTable, PrimeTable, check_prime, table_code
from balancers.structures.weights import as_weights, exact_integers

__all__ = ["MaglevTable", "check_prime", "quotas"]

_isascii = str.isascii


class MaglevTable(PrimeTable, BulkStructure):
    """A frozen table of M entries; the owner of a key is the entry at its hash modulo M.

    Member i holds its largest-remainder quota of the M entries, so |entries_i - M·p_i| < 1 for
    every weight vector. Each member claims entries along its own permutation of the table
    (offset and skip from its hash); turns go in order of (filled + 1/2) / quota, ties by id. A
    change of members therefore moves little more than it must: not zero as a ring does, but the
    shares are even.

    Args:
        ids_or_weights: id -> weight, or ids of weight 1. Weight 0 has no entries.
        size: M, a prime, at most 2²⁴; about 100 entries a member make shares even to 1 %.
        seed: 0 ≤ seed < 2³².

    Raises:
        InvalidEndpointError: If a positive weight would be left without an entry, or for what
            ``as_weights`` rejects.
        ValueError, TypeError: For a size that is not prime or out of range, or a bad seed.

    Runtime complexity: O(M log M) to build, O(1) for a look-up.
    """

    __slots__ = ("seed",)

    kind: ClassVar[str] = "maglev"

    # Invariant: member i has exactly quotas(...)[i] entries.

    def __init__(
        self,
        ids_or_weights: Mapping[str, float] | Iterable[str],
        size: int = 65537,
        seed: int = 0,
    ) -> None:
        weights = as_weights(ids_or_weights)
        self.size: int = check_prime(size)
        self.seed: int = check_seed(seed)
        self.ids: tuple[str, ...] = tuple(sorted(weights))
        self.weights: Mapping[str, float] = MappingProxyType(
            {id_: weights[id_] for id_ in self.ids}
        )
        counts = quotas(self.weights, size)
        starts = []
        for id_ in self.ids:
            data = key_bytes(id_)
            digest = digest128(len(data).to_bytes(4, "little") + data, seed)
            starts.append(((digest & MASK64) % size, (digest >> 64) % (size - 1) + 1))
        self._table = _fill(starts, counts, size) if any(counts) else EmptyTable()

    def owner(self, key: Key) -> str:
        """Return the id that owns ``key``.

        Raises:
            LookupError: If no member has a positive weight.
            TypeError: If the key is not str, bytes or int.

        Runtime complexity: O(len(key)).
        """
        kind = type(key)
        if (kind is str and _isascii(key)) or kind is bytes:  # type: ignore[arg-type]
            return self.ids[self._table[encodable128(key, self.seed) % self.size]]  # type: ignore[arg-type]
        return self.ids[self._table[digest128(key_bytes(key), self.seed) % self.size]]

    def locate(self, key: Key) -> int:
        """Return the position in ``ids`` of the owner of ``key``; errors and cost as ``owner``."""
        kind = type(key)
        if (kind is str and _isascii(key)) or kind is bytes:  # type: ignore[arg-type]
            return self._table[encodable128(key, self.seed) % self.size]  # type: ignore[arg-type]
        return self._table[digest128(key_bytes(key), self.seed) % self.size]

    def walk_indices(self, key: Key) -> Iterator[int]:
        """Yield positions in ``ids``: the owner, then the members met by probing the table.

        Probe t looks at entry (h + t·s) mod M, where the step s, 1..M - 1, comes from the high
        half of the key's hash. M is prime, so the probes visit every entry, in an order of the
        key's own: what an ineligible member leaves behind spreads over the others by their shares.

        Runtime complexity: O(1) for the owner, O(1) expected for each next one while few have
        been seen, O(M) for all.
        """
        table, size = self._table, self.size
        if not isinstance(table, array):  # an EmptyTable
            return
        members = len(self.weights)
        digest = hash128(key, self.seed)
        at = digest % size
        step = (digest >> 64) % (size - 1) + 1
        seen = set()
        for _ in range(size):
            owner = table[at]
            if owner not in seen:
                yield owner
                seen.add(owner)
                if len(seen) == members:
                    return
            at += step
            if at >= size:
                at -= size

    def first_able(self, key: Key, able: Sequence[object]) -> int | None:
        """Return the first of :meth:`walk_indices` for which ``able`` has no None, if there is one.

        Runtime complexity: That of ``locate``, and O(1) expected while most are able.
        """
        table, size = self._table, self.size
        if not isinstance(table, array):  # an EmptyTable
            return None
        digest = hash128(key, self.seed)
        at = digest % size
        step = (digest >> 64) % (size - 1) + 1
        for _ in range(size):
            owner: int = table[at]
            if able[owner] is not None:
                return owner
            at += step
            if at >= size:
                at -= size
        return None

    def _owners_of_text(self, keys: Sequence[str]) -> list[str]:
        table, ids, size, seed = self._table, self.ids, self.size, self.seed
        return [ids[table[encodable128(key, seed) % size]] for key in keys]

    def _locate_digests(self, low: Any, high: Any) -> Any:
        table = self._table
        if not isinstance(table, array):  # an EmptyTable
            raise LookupError("the table is empty: no member has a positive weight")  # noqa: TRY004
        np = numpy()
        size = np.uint64(self.size)
        entries = (high % size * np.uint64((1 << 64) % self.size) + low % size) % size
        places = np.frombuffer(table, table.typecode).take(entries.view(np.int64))
        return places.astype(np.int64)

    def _like(self, other: MaglevTable) -> bool:
        return self.seed == other.seed

    def state(self) -> dict[str, Any]:
        """Return members, size and seed; the table follows from them."""
        return {
            "kind": self.kind,
            "weights": dict(self.weights),
            "size": self.size,
            "seed": self.seed,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Rebuild a table from :meth:`state`."""
        weights, size, seed = read_state(cls.kind, state, "weights", "size", "seed")
        return cls(weights, size, seed)

    def _check(self) -> None:
        counts = quotas(self.weights, self.size)
        assert list(self.entries().values()) == counts
        assert not any(counts) or (len(self._table) == self.size == sum(counts))


def quotas(weights: Mapping[str, float], size: int) -> list[int]:
    """Share ``size`` entries out by largest remainder; equal remainders in order of the mapping.

    Raises:
        InvalidEndpointError: If a positive weight gets no entry.

    Runtime complexity: O(n log n); exact integer arithmetic.
    """
    exact = exact_integers(weights.values())
    total = sum(exact)
    if not total:
        return [0] * len(exact)
    shared = [divmod(weight * size, total) for weight in exact]
    counts = [whole for whole, _ in shared]
    by_remainder = sorted(range(len(exact)), key=lambda i: -shared[i][1])
    for i in by_remainder[: size - sum(counts)]:
        counts[i] += 1
    for id_, weight, count in zip(weights, exact, counts, strict=True):
        if weight and not count:
            raise InvalidEndpointError(
                f"{id_!r} of weight {weights[id_]!r} is due {weight * size / total:.3g} of the "
                f"{size} entries and gets none: take a larger prime size or raise its weight"
            )
    return counts


def _fill(starts: Sequence[tuple[int, int]], counts: Sequence[int], size: int) -> array[int]:
    """Let the members claim their quotas of the table, each along its own permutation."""
    # Entry number f of a quota q is due at (2f + 1) / q. Two different such numbers differ by at
    # least 1 / size², which a float keeps apart, and equal ones round alike: the order is exact.
    due: list[float] = []
    turns: list[int] = []
    for index, quota in enumerate(counts):
        due += [(2 * f + 1) / quota for f in range(quota)]
        turns += [index] * quota
    order = sorted(range(size), key=due.__getitem__)
    count = len(counts)
    table = array(table_code(count), [0]) * size
    taken = bytearray(size)
    cursors = [offset for offset, _ in starts]
    skips = [skip for _, skip in starts]
    for turn in order:
        index = turns[turn]
        at = cursors[index]
        skip = skips[index]
        while taken[at]:
            at += skip
            if at >= size:
                at -= size
        taken[at] = 1
        table[at] = index
        cursors[index] = at
    return table
