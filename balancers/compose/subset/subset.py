"""Subset: each client keeps to a few of many endpoints.

Guarantees:
    min(size, n) members, a function of the client's identity and the membership: the same in
    every process, whatever the order. Endpoints that may not be picked are passed over while
    others are left, and come back to their places when they may.
    ``"random"``: one endpoint more or less, or one more or less eligible, changes at most one
    member. Over C clients an endpoint is a member for Binomial(C, size/n) of them.
    ``"aperture"``: with indices 0..C−1 every endpoint gets exactly its weight's part of all
    clients' load, if the inner policy honours weights.
    ``"golden"``: the same to within (3 + 3.53 ln C) clients, for any run of integer indices
    whose number nobody knows; in practice within 2.

Use when:
    Clients times endpoints is more connections than either side wants to keep.

Avoid when:
    Clients are few: ten clients of 20 members each load 100 endpoints unevenly by chance, and
    leave some idle; use ``"aperture"``, or a larger size.

Cost:
    A pick costs what the inner policy's does, over ``size`` endpoints. O(n log n) an update,
    O(n) a health change.

Source:
    gRFC A68; Finagle, deterministic aperture. The golden-ratio places are ours.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Iterable, Mapping
from fractions import Fraction
from typing import Literal, Unpack

from balancers.compose.composite import Branch, Composite, Group, PolicyFactory
from balancers.compose.solo import ONLY
from balancers.compose.spread import Spread
from balancers.core.ledger import Cell
from balancers.core.membership import Options
from balancers.core.numbers import checked_whole, float_total
from balancers.core.view import View
from balancers.endpoint import Endpoint, EndpointLike
from balancers.hashing import Key, key_bytes
from balancers.structures.subsetting import (
    aperture_width,
    golden_offset,
    overlaps,
    rendezvous_order,
)

__all__ = ["Subset"]

Method = Literal["random", "aperture", "golden"]

_CIRCLE = "aperture"
"""Whose order the endpoints stand in around the circle: everybody's."""


class Subset(Composite):
    """One balancer over the client's part of the endpoints.

    ``endpoints`` is the whole membership, ``snapshot().endpoints`` the members chosen.

    Args:
        endpoints: The membership.
        policy: Makes the balancer of the members.
        size: How many endpoints to keep to, ≥ 1; an aperture spans as many of mean weight.
        seed: Who this client is: with ``"random"`` any key, unlike the other clients'; with
            ``"golden"`` an int; with ``"aperture"`` its index 0..clients − 1, or one of the
            identities in ``clients``.
        method: ``"random"``, ``"aperture"`` or ``"golden"``.
        clients: For ``"aperture"``: how many clients there are, or who they are, in any order.
        options: What every balancer takes; see ``Policy``.

    Raises:
        TypeError: For an argument of the wrong type.
        ValueError: For an option out of range, or one the method has no use for.
    """

    salt = 0x7375_6273

    def __init__(
        self,
        endpoints: Iterable[EndpointLike],
        *,
        policy: PolicyFactory,
        seed: Key,
        size: int = 20,
        method: Method = "random",
        clients: int | Collection[Key] | None = None,
        **options: Unpack[Options],
    ) -> None:
        self._size = checked_whole("size", size)
        key_bytes(seed)  # raises for what is no key
        if method not in ("random", "aperture", "golden"):
            raise ValueError(f'method is "random", "aperture" or "golden", not {method!r}')
        if clients is not None and method != "aperture":
            raise ValueError(f"method {method!r} has no use for clients")
        self._client = seed
        self._method = method
        self._clients = 0
        self._offset = Fraction(0)
        self._order: dict[str, None] | None = None  # of the places last seen
        if method == "golden":
            if not isinstance(seed, int):
                raise TypeError(f'method "golden" needs an int as seed, not {seed!r}')
            self._offset = golden_offset(seed)
        elif method == "aperture":
            index, self._clients = _coordinate(seed, clients)
            self._offset = Fraction(index, self._clients)
        super().__init__(endpoints, policy=policy, **options)

    def _groups(self, view: View, cells: Mapping[str, Cell]) -> Mapping[Hashable, Group]:
        by_place = {endpoint.hash_key: endpoint for endpoint in view.roster}
        if len(by_place) < len(view.roster):
            by_place = {endpoint.id: endpoint for endpoint in view.roster}
        if self._order is None or self._order.keys() != by_place.keys():
            who: Key = self._client if self._method == "random" else _CIRCLE
            self._order = dict.fromkeys(rendezvous_order(by_place, who))
        ring = [by_place[place] for place in self._order]
        able = {endpoint.id for endpoint in view.endpoints}
        if self._method == "random":
            # The eligible first, each part in the client's own order.
            ring.sort(key=lambda endpoint: endpoint.id not in able)
            chosen = ring[: self._size]
        else:
            chosen = self._arc(ring, able)
        by_id = {endpoint.id: endpoint for endpoint in chosen}
        # In the order given: it means something to some policies.
        return {ONLY: Group(tuple(by_id[e.id] for e in view.roster if e.id in by_id))}

    def _arc(self, ring: list[Endpoint], able: Collection[str]) -> list[Endpoint]:
        """Return the members under the client's arc, weighed by how much of each it covers."""
        weights = [endpoint.weight for endpoint in ring]
        whole = float_total(weights)
        if not whole:
            return ring[: self._size]
        count = sum(1 for weight in weights if weight)
        width = aperture_width(count, self._clients or count, self._size)
        wanted = min(self._size, sum(1 for endpoint in ring if endpoint.id in able))
        while True:
            covered = overlaps(weights, self._offset, width)
            under = [e for e, part in zip(ring, covered, strict=True) if part]
            if width == 1 or sum(1 for e in under if e.id in able) >= wanted:
                break
            width = min(Fraction(1), width + Fraction(1, count))  # round those who are out
        return [
            _weighed(endpoint, float(part) * whole)
            for endpoint, part in zip(ring, covered, strict=True)
            if part
        ]

    def _plan(self, view: View, branches: Mapping[Hashable, Branch]) -> Spread:
        members = branches[ONLY].view.roster
        return Spread({ONLY: 1.0}, [ONLY], {endpoint.id: ONLY for endpoint in members})

    def _group_of(self, plan: Spread, endpoint: Endpoint) -> Hashable:
        return plan.homes.get(endpoint.id)

    def _members(self) -> tuple[Cell, ...]:
        state = self._view.state
        members: tuple[Cell, ...] = state.branches[ONLY].view.members
        return members

    def _label(self, name: Hashable = None) -> str:
        return type(self).__name__

    def _left_out(self, view: View, endpoint: Endpoint) -> str:
        return view.skipped.get(endpoint.id, "not in this client's subset")

    def _details(self) -> Mapping[str, float]:
        return {"members": float(len(self._members()))}


def _coordinate(seed: Key, clients: int | Collection[Key] | None) -> tuple[int, int]:
    """Return the client's index and the number of clients."""
    if clients is None:
        raise ValueError('method "aperture" needs clients=, their number or their identities')
    if isinstance(clients, int):
        checked_whole("clients", clients)
        if isinstance(seed, bool) or not isinstance(seed, int):
            raise TypeError(f"seed is the client's index, an int, not {seed!r}")
        if not 0 <= seed < clients:
            raise ValueError(f"seed must be within 0..{clients - 1}, not {seed}")
        return seed, clients
    if isinstance(clients, str | bytes):
        raise TypeError(f"clients is a number or a collection of identities, not {clients!r}")
    everybody = sorted({key_bytes(client) for client in clients})
    if key_bytes(seed) not in everybody:
        raise ValueError(f"seed must be one of clients; {seed!r} is not")
    return everybody.index(key_bytes(seed)), len(everybody)


def _weighed(endpoint: Endpoint, weight: float) -> Endpoint:
    """Return the endpoint as the members' balancer is to see it."""
    if math.isclose(weight, endpoint.weight, rel_tol=1e-12):
        return endpoint  # covered whole
    return Endpoint(
        endpoint.id,
        weight=weight,
        region=endpoint.region,
        zone=endpoint.zone,
        priority=endpoint.priority,
        hash_key=endpoint.hash_key,
        metadata=endpoint.metadata,
    )
