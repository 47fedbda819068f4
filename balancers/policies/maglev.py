"""Maglev hashing: one look-up in a table of prime size, with the evenest shares of all.

Guarantees:
    Endpoint i owns within one entry of M · w_i / W of the M entries, for every weight vector.
    The same key goes to the same endpoint in every process with the same members and seed,
    whatever their order. The keys of an ineligible or excluded endpoint go to their own next
    candidates; nobody else's move. With ``load_factor`` no pick passes the bound.

Use when:
    Shares must be even to the percent, look-ups must be as fast as they get, and membership
    changes seldom.

Avoid when:
    Every needless move hurts: removing one of 100 or 1,000 endpoints also moves up to 0.64 % of
    the other endpoints' keys (the largest of twelve removals each), where a ring moves none.

Cost:
    O(1) a pick, without a lock unless ``load_factor`` is given; O(M log M) an update.

Source:
    Eisenbud et al., "Maglev", NSDI 2016; quotas by largest remainder.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Unpack

from balancers.core.hashed import HashPolicy
from balancers.core.membership import Options
from balancers.endpoint import EndpointLike
from balancers.hashing import check_seed
from balancers.structures.keyed import KeyedStructure
from balancers.structures.maglev import MaglevTable, check_prime
from balancers.structures.placement import EnvoyMaglev

__all__ = ["Maglev"]


class Maglev(HashPolicy):
    """Places keys by a Maglev table.

    Args:
        endpoints: The membership; each of positive weight must be due an entry.
        table_size: M, a prime up to 2²⁴.
        load_factor: Bounds the leases of an endpoint; see ``HashPolicy``.
        min_load: Leases every endpoint may hold whatever the bound says.
        seed: 0 ≤ seed < 2³²; a secret one keeps strangers from aiming keys at one endpoint.
        placement: "native", or "envoy": Envoy's table, keys placed as Envoy places them.
        options: What every balancer takes; see ``Policy``.
    """

    aliases: ClassVar[tuple[str, ...]] = ("maglev-hash",)

    def __init__(
        self,
        endpoints: Iterable[EndpointLike],
        *,
        table_size: int = 65537,
        load_factor: float | None = None,
        min_load: int = 1,
        seed: int = 0,
        placement: str = "native",
        **options: Unpack[Options],
    ) -> None:
        self._table_size = check_prime(table_size)
        self._seed = check_seed(seed)
        if placement not in ("native", "envoy"):
            raise ValueError(f"placement is native or envoy, not {placement!r}")
        if placement == "envoy" and seed:
            raise ValueError("seed is for the native placement, not 'envoy'")
        self._placement = placement
        super().__init__(endpoints, load_factor=load_factor, min_load=min_load, **options)

    def _structure(self, weights: dict[str, float], old: KeyedStructure | None) -> KeyedStructure:
        if self._placement == "envoy":
            return EnvoyMaglev(weights, size=self._table_size)
        return MaglevTable(weights, self._table_size, self._seed)
