"""Jump consistent hashing (Lamping and Veach 2014): no table, slots 0..n - 1, growth at the end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Self

from balancers.errors import InvalidEndpointError
from balancers.hashing import MASK64, Key, check_seed, encodable128, hash64, hash128
from balancers.structures.bulk import BulkStructure, numpy
from balancers.structures.keyed import read_state
from balancers.structures.movement import Movement
from balancers.structures.weights import as_weights

__all__ = ["JumpHash", "jump_bucket", "jump_hash"]

_TRIES = 64
_isascii = str.isascii


def jump_bucket(key: int, n: int) -> int:
    """Return the slot of a 64-bit number: the function of the paper, bit for bit.

    Args:
        key: 0 ≤ key < 2⁶⁴, well mixed.
        n: Number of slots, ≥ 1 (not checked here).

    Runtime complexity: O(ln n) expected steps.
    """
    slot = 0
    following = 0.0
    while following < n:
        slot = int(following)  # truncates as the paper's cast does: the quotient is positive
        key = (key * 2862933555777941757 + 1) & 0xFFFFFFFFFFFFFFFF
        following = (slot + 1) * (2147483648 / ((key >> 33) + 1))
    return slot


def jump_hash(key: Key, n: int, seed: int = 0) -> int:
    """Return the slot, 0..n - 1, of ``key``.

    From n to n + 1 slots a key stays or moves to slot n; each slot holds 1/n of the keys.

    Args:
        key: An int is the paper's 64-bit key itself, modulo 2⁶⁴, which should be well mixed; text
            and bytes are hashed. (:class:`JumpHash` hashes integers too, as the others do.)
        n: Number of slots, ≥ 1.
        seed: Of the hash, 0 ≤ seed < 2³².

    Raises:
        ValueError: If ``n`` < 1.
        TypeError: If the key is not str, bytes or int, or ``n`` is not a number.

    Runtime complexity: O(len(key) + ln n) expected.
    """
    if n < 1:
        raise ValueError(f"the number of slots must be >= 1, got {n}")
    if isinstance(key, int) and not isinstance(key, bool):
        return jump_bucket(key & MASK64, n)
    return _hashed_slot(key, n, seed)


def _hashed_slot(key: Key, n: int, seed: int) -> int:
    """Return the slot of the low half of the key's hash."""
    kind = type(key)
    if (kind is str and _isascii(key)) or kind is bytes:  # type: ignore[arg-type]
        state = encodable128(key, seed)  # type: ignore[arg-type]
    else:
        state = hash128(key, seed)
    # jump_bucket, written out, the first step apart: a call costs as much as three steps. The
    # high half of the hash falls to the first mask.
    slot = 1
    state = (state * 2862933555777941757 + 1) & 0xFFFFFFFFFFFFFFFF
    following = 2147483648 / ((state >> 33) + 1)
    while following < n:
        slot = int(following) + 1
        state = (state * 2862933555777941757 + 1) & 0xFFFFFFFFFFFFFFFF
        following = slot * (2147483648 / ((state >> 33) + 1))
    return slot - 1


class JumpHash(BulkStructure):
    """Jump hashing over an ordered list: slot i is the i-th id of positive weight.

    The order is the placement. Appending an id moves 1/n of the keys, all to it; removing the
    last moves its keys only; removing another renumbers the slots after it.

    Args:
        ids_or_weights: id -> weight, or ids of weight 1. All positive weights must be equal;
            weight 0 has no slot.
        seed: 0 ≤ seed < 2³².

    Raises:
        InvalidEndpointError: For unequal positive weights, or what ``as_weights`` rejects.
        ValueError, TypeError: For a bad seed.
    """

    __slots__ = ("_slots", "seed")

    kind: ClassVar[str] = "jump"

    def __init__(self, ids_or_weights: Mapping[str, float] | Iterable[str], seed: int = 0) -> None:
        weights = as_weights(ids_or_weights)
        self.seed: int = check_seed(seed)
        positive = {weight: id_ for id_, weight in weights.items() if weight}
        if len(positive) > 1:
            (one, a), (two, b) = list(positive.items())[:2]
            raise InvalidEndpointError(
                f"jump hashing takes equal weights; {a!r} has {one!r} and {b!r} has {two!r}"
            )
        self.ids: tuple[str, ...] = tuple(weights)
        self.weights: Mapping[str, float] = MappingProxyType(weights)
        self._slots = [index for index, id_ in enumerate(self.ids) if weights[id_]]

    def locate(self, key: Key) -> int:
        """Return the position in ``ids`` of the owner of ``key``.

        Raises:
            LookupError: If no member has a positive weight.
            TypeError: If the key is not str, bytes or int.

        Runtime complexity: O(len(key) + ln n) expected.
        """
        slots = self._slots
        if not slots:
            raise LookupError("there is no slot: no member has a positive weight")
        return slots[_hashed_slot(key, len(slots), self.seed)]

    def _locate_digests(self, low: Any, high: Any) -> Any:
        if not self._slots:
            raise LookupError("there is no slot: no member has a positive weight")
        np = numpy()
        count = len(self._slots)
        state = low.copy()
        slots = np.zeros(len(state), np.int64)
        active = np.arange(len(state))
        while len(active):
            state = state * np.uint64(2862933555777941757) + np.uint64(1)
            draws = (state >> np.uint64(33)).astype(np.float64) + 1.0
            following = ((slots[active] + 1) * (2147483648.0 / draws)).astype(np.int64)
            going = following < count
            active, state = active[going], state[going]
            slots[active] = following[going]
        return np.array(self._slots)[slots]

    def walk_indices(self, key: Key) -> Iterator[int]:
        """Yield positions in ``ids``: the owner, then the slots of the key hashed again.

        Try t hashes the key's 64 bits and t, and jumps with the result, so what an ineligible
        member leaves behind spreads evenly. After 64 fruitless tries in a row the slots not seen
        yet follow in order, from the last one seen.

        Runtime complexity: O(ln n) expected for each while few have been seen.
        """
        slots = self._slots
        n = len(slots)
        if not n:
            return
        base = hash128(key, self.seed) & MASK64
        slot = jump_bucket(base, n)
        yield slots[slot]
        seen = {slot}
        data = base.to_bytes(8, "little")
        attempt = fruitless = 0
        while len(seen) < n and fruitless < _TRIES:
            attempt += 1
            slot = jump_bucket(hash64(data + attempt.to_bytes(4, "little"), self.seed), n)
            if slot in seen:
                fruitless += 1
                continue
            fruitless = 0
            yield slots[slot]
            seen.add(slot)
        for rest in (*range(slot, n), *range(slot)):
            if rest not in seen:
                yield slots[rest]

    def shares(self) -> dict[str, float]:
        """Return id -> 1 / slots for the members of positive weight, 0.0 for the rest."""
        part = 1 / len(self._slots) if self._slots else 0.0
        return {id_: part if weight else 0.0 for id_, weight in self.weights.items()}

    def moved(self, other: JumpHash) -> Movement:
        """Return the part of the key space that changes owner from this list to ``other``.

        Exact for a uniform hash. Between m < n slots a key keeps its slot with chance m/n, else
        it goes to one of the slots m..n - 1, each alike and independent of where it was.

        Raises:
            TypeError: If ``other`` is not a JumpHash.
            ValueError: If the seeds differ.
            LookupError: If either list has no slots.

        Runtime complexity: O(n·|n - m|).
        """
        if not isinstance(other, JumpHash):
            raise TypeError(f"expected a JumpHash, got {type(other).__name__}")
        if self.seed != other.seed:
            raise ValueError(f"the seeds differ: {self.seed} and {other.seed}")
        if not self._slots or not other._slots:
            raise LookupError("a list without slots owns no keys, so none can move")
        ours = [self.ids[index] for index in self._slots]
        theirs = [other.ids[index] for index in other._slots]
        few, many = sorted((len(ours), len(theirs)))
        flows: dict[tuple[str, str], int] = {}
        # In units of 1 / (few * many): slot i is kept by ``few`` of them ...
        for i in range(few):
            flows[ours[i], theirs[i]] = few
        # ... and each of the slots that only the longer list has meets each of the others once.
        for i in range(few):
            for j in range(few, many):
                pair = (ours[i], theirs[j]) if len(ours) == few else (ours[j], theirs[i])
                flows[pair] = flows.get(pair, 0) + 1
        return Movement.of_counts(flows, few * many)

    def state(self) -> dict[str, Any]:
        """Return the members as ordered pairs, and the seed."""
        return {
            "kind": self.kind,
            "members": [[id_, weight] for id_, weight in self.weights.items()],
            "seed": self.seed,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Rebuild a list from :meth:`state`."""
        members, seed = read_state(cls.kind, state, "members", "seed")
        return cls({id_: weight for id_, weight in members}, seed)  # noqa: C416
