"""Envoy's Maglev table, turn by turn."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import heapify, heapreplace
from math import ceil
from types import MappingProxyType
from typing import Any, ClassVar, Self

from balancers.errors import InvalidEndpointError
from balancers.hashing import Key, key_bytes
from balancers.structures.keyed import read_state
from balancers.structures.placement.base import whole_weights
from balancers.structures.placement.digests import xxh64
from balancers.structures.prime_table import EmptyTable, PrimeTable, check_prime, table_code
from balancers.structures.weights import as_weights

__all__ = ["EnvoyMaglev"]


class EnvoyMaglev(PrimeTable):
    """The table of Envoy's ``maglev``.

    An id is what Envoy hashes of a host: ``address:port``, its hostname, or its ``hash_key``.
    Hosts take turns in the order of their keys, a host of weight w in the rounds r where
    r·w ≥ its turns · w_max; entries may stray from M·p by more than 2, unlike ``MaglevTable``'s.
    The key's XXH64 modulo M names its entry.

    Fallback: Envoy's retries, which look the altered hash h ⊕ (2⁶⁴ - k) up for k = 1, 2, … When
    a host fails its health check Envoy lays the table anew without it; use ``updated`` for that.

    Args:
        ids_or_weights: id -> weight, a whole number ≥ 1, in any order.
        size: M, a prime (``table_size``).

    Raises:
        InvalidEndpointError: For a weight that is not whole, a member that gets no entry, or what
            ``as_weights`` rejects.
        ValueError, TypeError: For a size that is not prime or out of range.

    Runtime complexity: O(M log M) to build, O(len(key)) for a look-up.
    """

    __slots__ = ()

    kind: ClassVar[str] = "envoy-maglev"

    def __init__(
        self, ids_or_weights: Mapping[str, float] | Iterable[str], *, size: int = 65537
    ) -> None:
        weights = as_weights(ids_or_weights)
        self.size: int = check_prime(size)
        self.ids: tuple[str, ...] = tuple(sorted(weights))
        self.weights: Mapping[str, float] = MappingProxyType(
            {id_: weights[id_] for id_ in self.ids}
        )
        live = [(index, id_, weights[id_]) for index, id_ in enumerate(self.ids) if weights[id_]]
        members = whole_weights(live, "Envoy", (1 << 32) - 1)
        self._table = _fill(members, size, table_code(len(self.ids))) if live else EmptyTable()
        counts = self.entries()
        for _, id_, weight in members:
            if not counts[id_]:
                raise InvalidEndpointError(
                    f"{id_!r} of weight {weight!r} gets none of the {size} entries"
                )

    def locate(self, key: Key) -> int:
        """Return the position in ``ids`` of the owner of ``key``.

        Raises:
            LookupError: If no member has a positive weight.
            TypeError: If the key is not str, bytes or int.

        Runtime complexity: O(len(key)).
        """
        return self._table[xxh64(key_bytes(key)) % self.size]

    def at(self, position: int, attempt: int = 0) -> str:
        """Return the id that Envoy chooses for a 64-bit hash at its ``attempt``-th retry.

        Raises:
            LookupError: If no member has a positive weight.
        """
        if attempt:
            position ^= (1 << 64) - attempt
        return self.ids[self._table[position % self.size]]

    def walk_indices(self, key: Key) -> Iterator[int]:
        """Yield positions in ``ids``: the owner, then those of Envoy's retries, once each.

        After M retries, the members not met follow in the order of the table from the owner's
        entry on.

        Runtime complexity: O(1) expected for each while few have been seen, O(M) for all.
        """
        left = sum(1 for weight in self.weights.values() if weight)
        if not left:
            return
        table, size = self._table, self.size
        position = xxh64(key_bytes(key))
        retries = ((position ^ ((1 << 64) - attempt)) % size for attempt in range(1, size))
        scan = range(position % size, position % size + size)
        seen = set()
        for places in (position % size,), retries, (at % size for at in scan):
            for at in places:
                owner = table[at]
                if owner not in seen:
                    yield owner
                    seen.add(owner)
                    left -= 1
                    if not left:
                        return

    def _like(self, other: Self) -> bool:
        return True

    def updated(self, ids_or_weights: Mapping[str, float] | Iterable[str]) -> EnvoyMaglev:
        """Return the table of other members, of the same size."""
        return type(self)(ids_or_weights, size=self.size)

    def state(self) -> dict[str, Any]:
        """Return members and size; the table follows from them."""
        return {"kind": self.kind, "weights": dict(self.weights), "size": self.size}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Rebuild a table from :meth:`state`."""
        weights, size = read_state(cls.kind, state, "weights", "size")
        return cls(weights, size=size)


def _fill(members: Sequence[tuple[int, str, int]], size: int, code: str) -> array[int]:
    total = sum(weight for _, _, weight in members)
    shares = [weight / total for _, _, weight in members]
    largest = max(shares)
    hashes = [(xxh64(key_bytes(id_)), xxh64(key_bytes(id_), 1)) for _, id_, _ in members]
    cursors = [first % size for first, _ in hashes]
    skips = [second % (size - 1) + 1 for _, second in hashes]
    targets = [0.0] * len(members)
    table = array(code, [0]) * size
    taken = bytearray(size)
    # Envoy goes round after round over all hosts and lets most of them pass; a heap of each one's
    # next round and place visits the same turns in the same order.
    turns = [(1, place) for place in range(len(members))]
    heapify(turns)
    for _ in range(size):
        turn, place = turns[0]
        at, skip = cursors[place], skips[place]
        while taken[at]:
            at = (at + skip) % size
        taken[at] = 1
        table[at] = members[place][0]
        cursors[place] = at
        targets[place] += largest
        heapreplace(turns, (_next_turn(turn, shares[place], targets[place]), place))
    return table


def _next_turn(turn: int, share: float, target: float) -> int:
    """Return the first round after ``turn`` with round · share ≥ target, in doubles as Envoy."""
    following = max(turn + 1, ceil(target / share))
    while following * share < target:
        following += 1
    while following > turn + 1 and (following - 1) * share >= target:
        following -= 1
    return following
