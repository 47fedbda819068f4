"""Jump consistent hashing: no table at all, for shards numbered 0 to n - 1.

Guarantees:
    Slot i is the i-th endpoint of positive weight in the order given. From n to n + 1 slots a
    key stays or goes to slot n, so growth at the end moves 1/(n + 1) of the keys. Shares are
    even. The keys of an ineligible or excluded endpoint spread over the others.

Use when:
    Endpoints are numbered shards that only ever grow or shrink at the end.

Avoid when:
    Any endpoint may leave: removing one that is not the last renumbers those after it, and
    their keys move. Weights differ: unequal positive weights are refused.

Cost:
    O(ln n) a pick, without a lock and without memory; O(n) an update.

Source:
    Lamping and Veach 2014.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Unpack

from balancers.core.hashed import HashPolicy
from balancers.core.membership import Options
from balancers.endpoint import Endpoint, EndpointLike
from balancers.hashing import check_seed
from balancers.structures import jump
from balancers.structures.keyed import KeyedStructure

__all__ = ["JumpHash"]


class JumpHash(HashPolicy):
    """Places keys by jump hashing; the order of the endpoints is the placement.

    Args:
        endpoints: The membership, in slot order; all positive weights equal.
        seed: 0 ≤ seed < 2³².
        options: What every balancer takes; see ``Policy``.
    """

    aliases: ClassVar[tuple[str, ...]] = ("jump",)

    def __init__(
        self,
        endpoints: Iterable[EndpointLike],
        *,
        seed: int = 0,
        **options: Unpack[Options],
    ) -> None:
        self._seed = check_seed(seed)
        super().__init__(endpoints, **options)

    def _admit(self, roster: tuple[Endpoint, ...]) -> None:
        super()._admit(roster)
        jump.JumpHash({e.hash_key: e.weight for e in roster}, self._seed)

    def _structure(self, weights: dict[str, float], old: KeyedStructure | None) -> KeyedStructure:
        return jump.JumpHash(weights, self._seed)
