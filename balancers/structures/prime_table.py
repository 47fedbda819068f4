"""A table of prime size that a key's hash indexes: what the Maglev tables share."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Self

from balancers.structures.keyed import KeyedStructure
from balancers.structures.movement import Movement

__all__ = ["MAX_SIZE", "EmptyTable", "PrimeTable", "check_prime", "table_code"]

MAX_SIZE = 1 << 24


class PrimeTable(KeyedStructure):
    """Base of the structures that look a key up in a table of M entries, M prime.

    Attributes:
        size: M.
    """

    __slots__ = ("_table", "size")

    # Invariant: _table has ``size`` entries, each the index of a member of positive weight, or, if
    # there is none, it is an EmptyTable.

    size: int
    _table: Sequence[int]

    @abstractmethod
    def _like(self, other: Self) -> bool:
        """Return whether a key has the same hash in the other structure."""

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

    def moved(self, other: Self) -> Movement:
        """Return the part of the key space that changes owner from this table to ``other``.

        Exact: entry by entry if the sizes are equal; if not, the two primes make the two entries
        of a key independent, so each pair of members meets on the product of their shares.

        Raises:
            TypeError: If ``other`` is of another class.
            ValueError: If the two hash keys differently: then nearly all keys move.
            LookupError: If either table is empty.

        Runtime complexity: O(M), and O(n²) more if the sizes differ.
        """
        if type(other) is not type(self):
            raise TypeError(f"expected a {type(self).__name__}, got {type(other).__name__}")
        if not self._like(other):
            raise ValueError("the two tables hash keys differently; nearly all keys move")
        if not self._table or not other._table:
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


class EmptyTable(Sequence[int]):
    """Stands for the table when nobody has a positive weight: every look-up raises."""

    def __getitem__(self, index: Any) -> Any:
        raise LookupError("the table is empty: no member has a positive weight")

    def __iter__(self) -> Iterator[int]:
        return iter(())

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


def table_code(count: int) -> str:
    """Return the type code of the narrowest array that holds indices below ``count``."""
    return "B" if count <= 1 << 8 else "H" if count <= 1 << 16 else "I"
