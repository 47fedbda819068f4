"""``Attachment``: a balancer's hold on the registry."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from balancers.health.entry import Entry

if TYPE_CHECKING:
    from balancers.health.caps import Group
    from balancers.health.engine import Engine

__all__ = ["Attachment"]


class Calm(Protocol):
    """What a balancer keeps of an endpoint, and reads at the end of every lease.

    Attributes:
        entry: The registry's entry it stands for.
        calm: ``entry.pool`` while ``entry.quiet``, else None: one look where that takes three.
    """

    entry: Any
    calm: Any


class Attachment:
    """What ``HealthRegistry.attach`` returns; the balancer owns it, the registry does not.

    Attributes:
        group: The membership declared.
        cells: What the balancer keeps of each id; see ``Calm``.
    """

    __slots__ = ("__weakref__", "_in_flight", "_nudge", "_refresh", "_registry", "cells", "group")

    def __init__(
        self,
        registry: Engine,
        group: Group,
        refresh: Callable[[], object],
        nudge: Callable[[], object] | None,
        in_flight: Callable[[str], int] | None,
    ) -> None:
        self._registry: Engine | None = registry
        self.group: Group = group
        self.cells: Mapping[str, Calm] = {}
        self._refresh = _loosely(refresh)
        self._nudge = self._refresh if nudge is None else _loosely(nudge)
        self._in_flight = None if in_flight is None else _loosely(in_flight)

    def hold(self, weights: Mapping[str, float]) -> dict[str, Entry]:
        """Declare the whole membership, id to weight, and return each id's entry.

        Survivors keep their entries; ids that nobody holds any more are dropped with their
        facts. Calls nobody back, so the balancer may hold its own lock; balancers that share
        an endpoint are refreshed by the next call of the registry.

        Raises:
            RuntimeError: After ``release``.

        Runtime complexity: O(n).
        """
        if self._registry is None:
            raise RuntimeError("the attachment was released")
        return self._registry._hold(self.group, weights)

    def release(self) -> None:
        """Hold nothing, for good; idempotent. O(n)."""
        registry, self._registry = self._registry, None
        if registry is not None:
            registry._hold(self.group, {})

    def refresh(self, wait: bool) -> None:
        """Have the balancer rebuild its view from its entries; called without a lock held.

        Args:
            wait: False on behalf of a pick or a settlement, which must not wait.
        """
        call = (self._refresh if wait else self._nudge)()
        if call is not None and self._registry is not None:
            call()

    def in_flight(self, name: str) -> int:
        """Open leases of the balancer on an endpoint, 0 if it cannot say."""
        call = None if self._in_flight is None else self._in_flight()
        return 0 if call is None else int(call(name))


def _loosely(call: Callable[..., Any]) -> Callable[[], Callable[..., Any] | None]:
    """Return a way to the function that does not keep alive whose method it is."""
    if hasattr(call, "__self__") and hasattr(call, "__func__"):
        return weakref.WeakMethod(call)
    return lambda: call
