"""HAProxy's ``hash-type consistent``: 16 nodes a unit of weight, and the *nearest* node owns."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import ClassVar

from balancers.errors import InvalidEndpointError
from balancers.hashing import Key, key_bytes
from balancers.structures.keyed import KeyedStructure
from balancers.structures.placement.base import Ring32, whole_weights
from balancers.structures.placement.digests import KEY_HASHES, avalanche

__all__ = ["HaproxyRing"]

_HASHES = ("crc32", "djb2", "sdbm")


class HaproxyRing(Ring32):
    """The tree of HAProxy's consistent hashing with ``hash-key id``, its default.

    An id is the server's numeric id, as text: its place in the backend, from 1, unless set by
    ``id``. Node i of server s is ``avalanche(4096·s + i)``, for 16·weight nodes. A key goes to
    the nearest node on either side, the one before it if both are as near.

    Fallback: the nearest eligible node on either side, as HAProxy, which takes the nodes of a
    server that is down out of its tree. A redispatch (``option redispatch``) goes clockwise
    there instead.

    Args:
        ids_or_weights: id -> weight, a whole number from 1 to 256.
        key_hash: ``"sdbm"``, ``"djb2"`` or ``"crc32"``.
        avalanche: Whether keys are mixed too: HAProxy's default where it is given no function,
            and what ``hash-type consistent FUNCTION avalanche`` asks for.

    Raises:
        InvalidEndpointError: For an id that is no server id, from 1 to 2³¹ - 1, or occurs twice
            (``"1"`` and ``"01"``); and as ``PlacedRing``.
        ValueError: For an unknown ``key_hash``.
    """

    __slots__ = ("_node_owners", "_nodes")

    kind: ClassVar[str] = "haproxy"

    # Invariants: _nodes ascends and holds the tree's nodes, _node_owners runs beside it. The
    # circle's points are where the territory of each node ends: halfway to the next, rounded
    # down, so that the node before a key wins if both are as near.

    _nodes: array[int]
    _node_owners: array[int]

    def __init__(
        self,
        ids_or_weights: Mapping[str, float] | Iterable[str],
        *,
        key_hash: str = "sdbm",
        avalanche: bool = True,
    ) -> None:
        if key_hash not in _HASHES:
            raise ValueError(f"key_hash must be one of {', '.join(_HASHES)}, got {key_hash!r}")
        super().__init__(ids_or_weights, key_hash=key_hash, avalanche=avalanche)

    def _place(self, live: Sequence[tuple[int, str, float]]) -> Iterator[tuple[int, int]]:
        servers: dict[int, str] = {}
        for index, id_, weight in whole_weights(live, "HAProxy", 256):
            number = int(id_) if id_.isascii() and id_.isdigit() else 0
            if not 0 < number < 1 << 31:
                raise InvalidEndpointError(
                    f"{id_!r} is no HAProxy server id: a number from 1 to {(1 << 31) - 1} is needed"
                )
            if number in servers:
                raise InvalidEndpointError(
                    f"{servers[number]!r} and {id_!r} are one HAProxy server id"
                )
            servers[number] = id_
            for node in range(16 * weight):
                yield avalanche((4096 * number + node) & 0xFFFFFFFF), index

    def _settle(self, pairs: list[tuple[int, int]]) -> None:
        pairs.sort(key=lambda pair: pair[0])
        self._nodes = array("Q", [node for node, _ in pairs])
        self._node_owners = array("I", [index for _, index in pairs])
        ends = []
        for rank, (node, index) in enumerate(pairs):
            following = pairs[rank + 1][0] if rank + 1 < len(pairs) else pairs[0][0] + self.size
            ends.append(((node + (following - node) // 2) % self.size, index))
        super()._settle(ends)

    def _hash(self, data: bytes) -> int:
        h = KEY_HASHES[self._params["key_hash"]](data)
        return avalanche(h) if self._params["avalanche"] else h

    def first_able(self, key: Key, able: Sequence[object]) -> int | None:
        """Return the first of :meth:`walk_indices` for which ``able`` has no None, if there is one.

        Candidates stand in another order than the points: the rings' own way will not do.
        """
        return KeyedStructure.first_able(self, key, able)

    def walk_indices(self, key: Key) -> Iterator[int]:
        """Yield positions in ``ids``: the owner, then by the distance of the nearest node.

        Runtime complexity: O(log p) for the owner, O(1) expected for each next one while few have
        been seen, O(p) for all.
        """
        nodes, owners = self._nodes, self._node_owners
        count = len(nodes)
        if not count:
            return
        position = self._hash(key_bytes(key))
        right = bisect_left(nodes, position)
        left = right - 1
        seen: set[int] = set()
        wanted = sum(1 for weight in self.weights.values() if weight)
        while len(seen) < wanted:
            before = (position - nodes[left % count]) % self.size
            after = (nodes[right % count] - position) % self.size
            if before <= after:
                owner = owners[left % count]
                left -= 1
            else:
                owner = owners[right % count]
                right += 1
            if owner not in seen:
                yield owner
                seen.add(owner)
