"""Maglev hashing (Eisenbud et al., NSDI 2016) with quotas: one look-up in a table of prime size."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self

from balancers.errors import InvalidEndpointError
from balancers.hashing import MASK64, Key, check_seed, digest128, encodable128, hash128, key_bytes
from balancers.structures.keyed import KeyedStructure, read_state
from balancers.structures.movement import Movement
from balancers.structures.weights import as_weights, exact_integers

__all__ = ["MAX_SIZE", "MaglevTable", "check_prime", "quotas"]

MAX_SIZE = 1 << 24
_isascii = str.isascii


class MaglevTable(KeyedStructure):
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

    __slots__ = ("_table", "seed", "size")

    kind: ClassVar[str] = "maglev"

    # Invariants:
    #   1. _table has ``size`` entries, each the index of a member of positive weight, or, if there
    #      is none, it is an _Empty.
    #   2. Member i has exactly quotas(...)[i] entries.

    def __init__(
        self,
        ids_or_weights: Mapping[str, float] | Iterable[str],
        size: int = 65537,
        seed: int = 0,
    ) -> None:
        weights = as_weights(ids_or_weights)
        self.size = check_prime(size)
        self.seed = check_seed(seed)
        self.ids = tuple(sorted(weights))
        self.weights = {id_: weights[id_] for id_ in self.ids}
        counts = quotas(self.weights, size)
        starts = []
        for id_ in self.ids:
            data = key_bytes(id_)
            digest = digest128(len(data).to_bytes(4, "little") + data, seed)
            starts.append(((digest & MASK64) % size, (digest >> 64) % (size - 1) + 1))
        self._table: Sequence[int] = _fill(starts, counts, size) if any(counts) else _Empty()

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
        left = sum(1 for weight in self.weights.values() if weight)
        if not left:
            return
        table, size = self._table, self.size
        digest = hash128(key, self.seed)
        at = digest % size
        step = (digest >> 64) % (size - 1) + 1
        seen = set()
        while left:
            owner = table[at]
            if owner not in seen:
                yield owner
                seen.add(owner)
                left -= 1
            at += step
            if at >= size:
                at -= size

    def shares(self) -> dict[str, float]:
        """Return id -> fraction of the table it holds, exact but for the rounding to a float.

        Runtime complexity: O(M).
        """
        counts = self.entries()
        return {id_: counts[id_] / self.size for id_ in self.ids}

    def entries(self) -> dict[str, int]:
        """Return id -> number of entries. Runtime complexity: O(M)."""
        counts = Counter(self._table)
        return {id_: counts[index] for index, id_ in enumerate(self.ids)}

    def moved(self, other: MaglevTable) -> Movement:
        """Return the part of the key space that changes owner from this table to ``other``.

        Exact: entry by entry if the sizes are equal; if not, the two primes make the two entries
        of a key independent, so each pair of members meets on the product of their shares.

        Raises:
            TypeError: If ``other`` is not a MaglevTable.
            ValueError: If the seeds differ: then nearly all keys move.
            LookupError: If either table is empty.

        Runtime complexity: O(M), and O(n²) more if the sizes differ.
        """
        if not isinstance(other, MaglevTable):
            raise TypeError(f"expected a MaglevTable, got {type(other).__name__}")
        if self.seed != other.seed:
            raise ValueError(f"the tables' seeds differ: {self.seed} and {other.seed}")
        if isinstance(self._table, _Empty) or isinstance(other._table, _Empty):
            raise LookupError("a table without entries owns no keys, so none can move")
        if self.size == other.size:
            meets = Counter(zip(self._table, other._table, strict=True))
            return Movement.of_counts(
                {(self.ids[a], other.ids[b]): units for (a, b), units in meets.items()}, self.size
            )
        ours, theirs = self.entries(), other.entries()
        return Movement.of_counts(
            {(a, b): ours[a] * theirs[b] for a in ours for b in theirs}, self.size * other.size
        )

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


class _Empty(Sequence[int]):
    """Stands for the table when nobody has a positive weight: every look-up raises."""

    def __getitem__(self, index: Any) -> Any:
        raise LookupError("the table is empty: no member has a positive weight")

    def __len__(self) -> int:
        return 0


def check_prime(size: int) -> int:
    """Return ``size`` if it is a prime from 2 to 2²⁴.

    Raises:
        TypeError: If it is not an ``int`` (``bool`` included).
        ValueError: If it is out of range or not prime; names the next prime.
    """
    if isinstance(size, bool) or not isinstance(size, int):
        raise TypeError(f"a table size is an int, not {type(size).__name__}: {size!r}")
    if not 2 <= size <= MAX_SIZE:
        raise ValueError(f"a table size must be from 2 to {MAX_SIZE}, got {size}")
    if not _is_prime(size):
        after = next(n for n in range(size + 1, 2 * size) if _is_prime(n))
        raise ValueError(f"a table size must be prime, got {size}; the next prime is {after}")
    return size


def _is_prime(n: int) -> bool:
    return n > 1 and all(n % d for d in range(2, int(n**0.5) + 1))


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
    table = array("B" if count <= 1 << 8 else "H" if count <= 1 << 16 else "I", [0]) * size
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
