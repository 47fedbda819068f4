"""The surface that every keyed structure shares: who owns a key, and who is next.

A subclass says where a key lands (``locate``) and in which order others stand in
(``walk_indices``); the rest follows. Instances are immutable, so any thread may read one.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from operator import index as as_index
from typing import Any, ClassVar, Self

from balancers.errors import InvalidEndpointError
from balancers.hashing import Key
from balancers.structures.movement import Movement
from balancers.structures.weights import as_weights

__all__ = ["KeyedStructure", "changed_weights", "read_state"]


class KeyedStructure(ABC):
    """Base of the structures that map a key to one of a weighted set of ids.

    Attributes:
        ids: All members; ``locate`` and ``walk_indices`` answer with positions in this tuple.
        weights: id -> weight for all members, ≥ 0; read only.
    """

    __slots__ = ("ids", "weights")

    ids: tuple[str, ...]
    weights: Mapping[str, float]
    kind: ClassVar[str]

    @abstractmethod
    def locate(self, key: Key) -> int:
        """Return the position in ``ids`` of the owner of ``key``.

        Raises:
            LookupError: If no member has a positive weight.
            TypeError: If the key is not str, bytes or int.
        """

    @abstractmethod
    def walk_indices(self, key: Key) -> Iterator[int]:
        """Yield positions in ``ids``: the owner of ``key``, then each next candidate, once each.

        Lazy: the owner costs what ``locate`` costs, and nobody pays for candidates not asked for.
        Yields every member of positive weight; nothing if there is none.
        """

    def first_able(self, key: Key, able: Sequence[object]) -> int | None:
        """Return the first of :meth:`walk_indices` for which ``able`` has no None, if there is one.

        Args:
            key: Text, bytes or integer.
            able: Something, or None, for each position in ``ids``.
        """
        return next((at for at in self.walk_indices(key) if able[at] is not None), None)

    @abstractmethod
    def shares(self) -> dict[str, float]:
        """Return id -> fraction of the key space it owns; sums to 1 unless nobody owns a key."""

    @abstractmethod
    def moved(self, other: Self) -> Movement:
        """Return which part of the key space changes owner from this structure to ``other``.

        Raises:
            TypeError: If ``other`` is of another class.
            LookupError: If either has no member of positive weight.
        """

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Return what rebuilds the structure, as values that JSON can hold."""

    @classmethod
    @abstractmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Rebuild a structure from :meth:`state`: same members, same placement.

        Raises:
            ValueError: If the state is of another kind or a field is missing or wrong.
        """

    def owner(self, key: Key) -> str:
        """Return the id that owns ``key``; same errors and cost as :meth:`locate`."""
        return self.ids[self.locate(key)]

    def owners(self, keys: Iterable[Key]) -> list[str]:
        """Return the owner of each key, in order; same errors as :meth:`locate`."""
        return list(map(self.owner, keys))

    def walk(self, key: Key) -> Iterator[str]:
        """Yield the ids of :meth:`walk_indices`: the owner, then each next candidate, once each."""
        return map(self.ids.__getitem__, self.walk_indices(key))

    def successors(self, key: Key, n: int) -> list[str]:
        """Return the first ``n`` distinct ids that ``key`` would go to, the owner first.

        Args:
            key: Text, bytes or integer.
            n: How many, ≥ 0; all members of positive weight if there are no more than that.

        Raises:
            ValueError: If ``n`` is negative.
        """
        count = as_index(n)
        if count < 0:
            raise ValueError(f"n must be >= 0, got {n}")
        return list(islice(self.walk(key), count))

    def to_json(self) -> str:
        """Return :meth:`state` as JSON text; :meth:`from_json` reads it back."""
        return json.dumps(self.state(), ensure_ascii=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Rebuild a structure from :meth:`to_json`.

        Raises:
            ValueError: If the text is not JSON or not the state of such a structure.
        """
        return cls.from_state(json.loads(text))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).from_state, (self.state(),)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.state() == other.state()

    def __hash__(self) -> int:
        return hash((type(self), frozenset(self.weights.items())))

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, id_: object) -> bool:
        return id_ in self.weights

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self.ids)} ids>"


def read_state(kind: str, state: Mapping[str, Any], *fields: str) -> tuple[Any, ...]:
    """Return the named fields of a structure's state.

    Raises:
        ValueError: If the state is not a mapping, is of another kind, or lacks a field.
    """
    if not isinstance(state, Mapping) or state.get("kind") != kind:
        found = state.get("kind") if isinstance(state, Mapping) else state
        raise ValueError(f"expected the state of a {kind!r}, got {found!r}")
    missing = [field for field in fields if field not in state]
    if missing:
        raise ValueError(f"the state of a {kind!r} lacks {missing[0]!r}")
    return tuple(state[field] for field in fields)


def changed_weights(
    weights: Mapping[str, float],
    add: Mapping[str, float] | Iterable[str],
    remove: Iterable[str],
    reweight: Mapping[str, float],
) -> dict[str, float]:
    """Return ``weights`` with members added, removed and reweighted.

    Raises:
        InvalidEndpointError: If an id to add is a member already, or one to remove or reweight is
            not (any more).
        TypeError: If ``remove`` is a bare str.

    Runtime complexity: O(n).
    """
    if isinstance(remove, str | bytes):
        raise TypeError(f"remove is an iterable of ids, not the bare {remove!r}")
    result = dict(weights)
    for id_ in remove:
        if result.pop(id_, None) is None:
            raise InvalidEndpointError(f"cannot remove {id_!r}: it is not a member")
    for id_, weight in as_weights(reweight).items():
        if id_ not in result:
            raise InvalidEndpointError(f"cannot reweight {id_!r}: it is not a member")
        result[id_] = weight
    for id_, weight in as_weights(add).items():
        if id_ in result:
            raise InvalidEndpointError(f"cannot add {id_!r}: it is a member already")
        result[id_] = weight
    return result
