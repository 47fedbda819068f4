"""What the rings of other systems share: order matters, weights are whole numbers."""

from __future__ import annotations

from abc import abstractmethod
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Self

from balancers.errors import InvalidEndpointError
from balancers.hashing import Key, key_bytes
from balancers.structures.circle import Circle
from balancers.structures.keyed import read_state
from balancers.structures.weights import as_weights

__all__ = ["PlacedRing", "read_members", "whole_weights"]


class PlacedRing(Circle):
    """A ring laid as another system lays it: same members in the same order, same owners.

    Args:
        ids_or_weights: id -> weight, or ids of weight 1, in the order the system has them. Weight
            0 stands for a server that the system does not know.

    Raises:
        InvalidEndpointError: For a weight that the system would not take, a member that would get
            no point (the system would starve it without a word), or what ``as_weights`` rejects.

    Runtime complexity: O(p log p) to build p points, O(len(key) + log p) for a look-up.
    """

    __slots__ = ("_params",)

    def __init__(self, ids_or_weights: Mapping[str, float] | Iterable[str], **params: Any) -> None:
        weights = as_weights(ids_or_weights)
        self.ids: tuple[str, ...] = tuple(weights)
        self.weights: Mapping[str, float] = MappingProxyType(weights)
        self._params = params
        live = [(index, id_, weights[id_]) for index, id_ in enumerate(self.ids) if weights[id_]]
        pairs = list(self._place(live)) if live else []
        fed = {index for _, index in pairs}
        for index, id_, weight in live:
            if index not in fed:
                raise InvalidEndpointError(
                    f"{id_!r} of weight {weight!r} gets no point on the {self.kind} ring"
                )
        self._settle(pairs)

    @abstractmethod
    def _place(self, live: Sequence[tuple[int, str, float]]) -> Iterable[tuple[int, int]]:
        """Yield (position, index) of each point, in the order in which equal positions stand.

        Args:
            live: Index, id and weight of each member of positive weight; not empty.
        """

    @abstractmethod
    def _hash(self, data: bytes) -> int:
        """Return the position of a key."""

    def _settle(self, pairs: list[tuple[int, int]]) -> None:
        """Sort the points and close the circle; equal positions keep their order."""
        pairs.sort(key=_position)
        self._close(
            array("Q", [position for position, _ in pairs]),
            array("I", [index for _, index in pairs]),
        )

    def _rank_of(self, key: Key) -> int:
        return bisect_left(self._points, self._hash(key_bytes(key)))

    def _like(self, other: Self) -> bool:
        return self._params == other._params

    def points(self) -> Iterator[tuple[int, str]]:
        """Yield (position, id) of each arc's end, clockwise; the last arc runs on to the first."""
        for position, owner in zip(self._points[:-1], self._owners, strict=False):
            yield position, self.ids[owner]

    def at(self, position: int) -> str:
        """Return the id that owns a position, 0 ≤ position < ``size``, for who hashes himself.

        Raises:
            LookupError: If the ring is empty.
        """
        if not self._points:
            raise LookupError("the ring is empty: no member has a positive weight")
        return self.ids[self._owners[bisect_left(self._points, position)]]

    def updated(self, ids_or_weights: Mapping[str, float] | Iterable[str]) -> Self:
        """Return the ring of other members, laid anew with the same parameters."""
        return type(self)(ids_or_weights, **self._params)

    def state(self) -> dict[str, Any]:
        """Return the members as ordered pairs, and the parameters."""
        members = [[id_, weight] for id_, weight in self.weights.items()]
        return {"kind": self.kind, "members": members, "params": dict(self._params)}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Rebuild a ring from :meth:`state`."""
        return cls(read_members(cls.kind, state), **state["params"])


class Ring32(PlacedRing):
    """A placed ring whose positions are 32 bits wide."""

    __slots__ = ()

    size: ClassVar[int] = 1 << 32


def _position(pair: tuple[int, int]) -> int:
    return pair[0]


def whole_weights(
    live: Sequence[tuple[int, str, float]], system: str, largest: int
) -> list[tuple[int, str, int]]:
    """Return the members with their weights as integers.

    Raises:
        InvalidEndpointError: If a weight is not whole or above ``largest``.
    """
    for _, id_, weight in live:
        if weight != int(weight) or weight > largest:
            raise InvalidEndpointError(
                f"the weight of {id_!r} is {weight!r}; {system} takes whole numbers up to {largest}"
            )
    return [(index, id_, int(weight)) for index, id_, weight in live]


def read_members(kind: str, state: Mapping[str, Any]) -> dict[str, float]:
    """Return the members of a state that keeps them in order, as id -> weight.

    Raises:
        ValueError: If the state is of another kind, lacks a field, or names an id twice.
    """
    members, _ = read_state(kind, state, "members", "params")
    weights = {id_: weight for id_, weight in members}  # noqa: C416 - it checks the pairs
    if len(weights) != len(members):
        raise ValueError(f"the state of a {kind!r} names an id twice")
    return weights
