"""Rendezvous hashing, or highest random weight (Thaler, Ravishankar 1998), with weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import Context, Decimal
from heapq import heapify, heappop
from itertools import pairwise
from math import inf, log1p
from types import MappingProxyType
from typing import Any, ClassVar, Self

from balancers.hashing import Key, check_seed, digest16, digest128, encodable16, key_bytes
from balancers.structures.bulk import numpy
from balancers.structures.keyed import KeyedStructure, read_state
from balancers.structures.movement import Movement, rendezvous_flows
from balancers.structures.rendezvous_vector import FEWEST, NEAR, DrawVector
from balancers.structures.weights import as_weights

__all__ = ["RendezvousHash"]

_UNIT = 2.0**-128
_isascii = str.isascii
_EXACT = Context(prec=60)


class RendezvousHash(KeyedStructure):
    """Every (key, member) pair has its own random draw; the smallest score owns the key.

    The draw u is uniform in (0, 1) and the score -ln(u) / w: exponential with rate w, so member i
    is smallest with chance exactly w_i / W (logarithmic method, Schindelhauer and Schomaker
    2005). No score depends on another member: removal moves only the leaver's keys, addition
    only keys to the newcomer, and raising a weight only keys to its member.

    Scores whose floats are too close to trust are compared with 60 digits, so the owner does not
    depend on the platform's logarithm. Members of equal weight are compared by the draws, as
    integers, and cost no logarithm.

    Args:
        ids_or_weights: id -> weight, or ids of weight 1. Weight 0 never owns a key.
        seed: 0 ≤ seed < 2³².

    Raises:
        InvalidEndpointError: For what ``as_weights`` rejects.
        ValueError, TypeError: For a bad seed.

    Runtime complexity: O(n) to build and O(n) for a look-up.
    """

    __slots__ = ("_classes", "_live", "_nodes", "_uniform", "_vector", "_weights", "seed")

    kind: ClassVar[str] = "rendezvous"

    # Invariants:
    #   1. _live lists the positions in ids of the members of positive weight, by (weight, id);
    #      _nodes and _weights run beside it.
    #   2. _classes cuts these lists into runs (start, stop) of equal weight; it is empty if the
    #      runs are too short to be worth a minimum each.

    def __init__(self, ids_or_weights: Mapping[str, float] | Iterable[str], seed: int = 0) -> None:
        weights = as_weights(ids_or_weights)
        self.seed: int = check_seed(seed)
        self.ids: tuple[str, ...] = tuple(sorted(weights))
        self.weights: Mapping[str, float] = MappingProxyType(
            {id_: weights[id_] for id_ in self.ids}
        )
        live = [index for index, id_ in enumerate(self.ids) if weights[id_]]
        live.sort(key=lambda index: weights[self.ids[index]])
        self._live = live
        self._weights = [weights[self.ids[index]] for index in live]
        self._nodes = [_node(self.ids[index], seed) for index in live]
        cuts = [
            at
            for at in range(len(live) + 1)
            if at in (0, len(live)) or self._weights[at] != self._weights[at - 1]
        ]
        self._uniform = len(cuts) == 2
        # With NumPy, and members enough, the draws are made and compared as an array.
        vectorised = len(live) >= FEWEST and numpy() is not None
        self._vector = DrawVector(self._nodes, self._weights) if vectorised else None
        self._classes = list(pairwise(cuts)) if 4 * len(cuts) < len(live) else []

    def locate(self, key: Key) -> int:
        """Return the position in ``ids`` of the owner of ``key``.

        Raises:
            LookupError: If no member has a positive weight.
            TypeError: If the key is not str, bytes or int.

        Runtime complexity: O(len(key) + n).
        """
        if self._vector is not None:
            return self._live[self._locate_vector(self._stem(key))]
        kind = type(key)
        if (kind is str and _isascii(key)) or kind is bytes:  # type: ignore[arg-type]
            stem = encodable16(key, self.seed)  # type: ignore[arg-type]
        else:
            stem = digest16(key_bytes(key), self.seed)
        draws = [digest128(stem + node) for node in self._nodes]
        if self._uniform:
            return self._live[draws.index(min(draws))]
        if not draws:
            raise LookupError("nobody owns a key: no member has a positive weight")
        if self._classes:
            # The smallest draw of equal weights has the smallest score; ties go to the first id.
            places = []
            for start, stop in self._classes:
                part = draws[start:stop]
                places.append(start + part.index(min(part)))
            scores = [_score(draws[at], self._weights[at]) for at in places]
        else:
            places = list(range(len(draws)))
            scores = list(map(_score, draws, self._weights))
        best = min(scores)
        at = scores.index(best)
        scores[at] = inf
        if min(scores) > best * (1 + NEAR):
            return self._live[places[at]]
        scores[at] = best
        near = [places[i] for i, score in enumerate(scores) if score <= best * (1 + NEAR)]
        return self._live[min(near, key=lambda at: self._exact(draws[at], at))]

    def _locate_vector(self, stem: bytes) -> int:
        """Return the owner's place in ``_live``, by the arrays."""
        assert self._vector is not None
        near = self._vector.smallest(stem)
        if len(near) == 1:
            return near[0]
        return min(near, key=lambda at: self._exact(digest128(stem + self._nodes[at]), at))

    def _draws(self, key: Key) -> list[int]:
        """Return the key's draw for each live member, 128 bits; small draws win."""
        stem = self._stem(key)
        return [digest128(stem + node) for node in self._nodes]

    def _stem(self, key: Key) -> bytes:
        """Return the 16 bytes that stand for the key in every draw."""
        return digest16(key_bytes(key), self.seed)

    def _exact(self, draw: int, at: int) -> tuple[Decimal, str]:
        """Return the score of the live member ``at`` to 60 digits, and its id to break ties."""
        u = _EXACT.divide(Decimal((1 << 129) - 1 - 2 * draw), Decimal(1 << 129))
        log = _EXACT.divide(_EXACT.ln(u), Decimal(self._weights[at]))
        return -log, self.ids[self._live[at]]

    def walk_indices(self, key: Key) -> Iterator[int]:
        """Yield positions in ``ids`` by ascending score: the owner, then who would own without it.

        Runtime complexity: O(n) for the owner, O(n) for the second, O(log n) for each next one.
        """
        if not self._live:
            return
        yield (owner := self.locate(key))
        draws = self._draws(key)
        heap = [
            (_score(draw, weight), at)
            for at, (draw, weight) in enumerate(zip(draws, self._weights, strict=True))
            if self._live[at] != owner
        ]
        heapify(heap)
        while heap:
            score, at = heappop(heap)
            if not heap or heap[0][0] > score * (1 + NEAR):
                yield self._live[at]
                continue
            near = [at]
            while heap and heap[0][0] <= score * (1 + NEAR):
                score, at = heappop(heap)
                near.append(at)
            for at in sorted(near, key=lambda at: self._exact(draws[at], at)):
                yield self._live[at]

    def shares(self) -> dict[str, float]:
        """Return id -> w / W: exact for a uniform hash. Runtime complexity: O(n)."""
        total = sum(self._weights)
        return {id_: weight / total if weight else 0.0 for id_, weight in self.weights.items()}

    def moved(self, other: RendezvousHash) -> Movement:
        """Return the part of the key space that changes owner from this structure to ``other``.

        Exact for a uniform hash; see :func:`rendezvous_flows`.

        Raises:
            TypeError: If ``other`` is not a RendezvousHash.
            ValueError: If the seeds differ: then nearly all keys move.
            LookupError: If either has no member of positive weight.

        Runtime complexity: O(n log n), and O(pairs that exchange keys).
        """
        if not isinstance(other, RendezvousHash):
            raise TypeError(f"expected a RendezvousHash, got {type(other).__name__}")
        if self.seed != other.seed:
            raise ValueError(f"the seeds differ: {self.seed} and {other.seed}")
        if not self._live or not other._live:
            raise LookupError("without a positive weight nobody owns a key, so none can move")
        return Movement.of(rendezvous_flows(self.weights, other.weights))

    def state(self) -> dict[str, Any]:
        """Return members and seed."""
        return {"kind": self.kind, "weights": dict(sorted(self.weights.items())), "seed": self.seed}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Rebuild a structure from :meth:`state`."""
        weights, seed = read_state(cls.kind, state, "weights", "seed")
        return cls(weights, seed)


def _node(id_: str, seed: int) -> bytes:
    """Return 8 bytes that stand for a member: its id's hash, of the length-prefixed text."""
    data = key_bytes(id_)
    return digest16(len(data).to_bytes(4, "little") + data, seed)[:8]


def _score(draw: int, weight: float) -> float:
    """Return -ln(1 - v) / weight for v = draw / 2**128; ``inf`` where v rounds to 1."""
    v = draw * _UNIT
    return -log1p(-v) / weight if v < 1.0 else inf
