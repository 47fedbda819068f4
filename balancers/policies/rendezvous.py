"""Rendezvous hashing, also called highest random weight.

Guarantees:
    Endpoint i owns exactly w_i / W of the key space. Removing an endpoint moves its keys alone,
    adding one moves keys to it alone, raising a weight moves keys to that endpoint alone. The
    same key goes to the same endpoint in every process, whatever the order of the members.
    With ``load_factor`` no pick passes the bound.

Use when:
    Endpoints are few (up to some hundreds) or shares must be exact under any weights.

Avoid when:
    Endpoints are many and picks are hot: each pick scores every endpoint.

Cost:
    O(n) a pick, without a lock unless ``load_factor`` is given; O(n) an update.

Source:
    Thaler and Ravishankar 1998; logarithmic weights of Schindelhauer and Schomaker 2005.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Unpack

from balancers.core.hashed import HashPolicy
from balancers.core.membership import Options
from balancers.endpoint import EndpointLike
from balancers.hashing import check_seed
from balancers.structures.keyed import KeyedStructure
from balancers.structures.rendezvous import RendezvousHash

__all__ = ["Rendezvous"]


class Rendezvous(HashPolicy):
    """Places keys by weighted rendezvous hashing.

    Args:
        endpoints: The membership.
        load_factor: Bounds the leases of an endpoint; see ``HashPolicy``.
        min_load: Leases every endpoint may hold whatever the bound says.
        seed: 0 ≤ seed < 2³².
        options: What every balancer takes; see ``Policy``.
    """

    aliases: ClassVar[tuple[str, ...]] = ("hrw",)

    def __init__(
        self,
        endpoints: Iterable[EndpointLike],
        *,
        load_factor: float | None = None,
        min_load: int = 1,
        seed: int = 0,
        **options: Unpack[Options],
    ) -> None:
        self._seed = check_seed(seed)
        super().__init__(endpoints, load_factor=load_factor, min_load=min_load, **options)

    def _structure(self, weights: dict[str, float], old: KeyedStructure | None) -> KeyedStructure:
        return RendezvousHash(weights, self._seed)
