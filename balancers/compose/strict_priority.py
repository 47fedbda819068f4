"""Strict priority: one tier at a time, with times to hold before failing over and back.

Guarantees:
    All picks go to one tier, the active one. A tier is up while it has an eligible endpoint.
    When the active tier has been down for ``failover_after`` seconds the first tier that is up
    becomes active; when a better one has been up for ``failback_after`` seconds, it does. Until
    then picks raise ``NoEligibleEndpointError`` that says when to come back. ``activate`` puts
    the choice in other hands: a lock service's, say.

Use when:
    Two tiers must not serve at once: active and passive halves of something with state.

Avoid when:
    They may: ``Priority`` moves over what is missing, no more.

Cost:
    O(1) a pick, beside the inner policy; while a change is due, the clock is read. O(n) an
    update or a health change.

Source:
    gRPC's priority policy, gRFC A56: 10 s and 0.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Iterable, Mapping
from operator import attrgetter
from typing import Unpack

from balancers.compose.composite import Branch, Composite, Group, PolicyFactory, State
from balancers.compose.spread import Spread
from balancers.core.ledger import Cell
from balancers.core.membership import Options
from balancers.core.numbers import checked_seconds, checked_whole
from balancers.core.view import View
from balancers.endpoint import Endpoint, EndpointLike
from balancers.errors import BalancerError, NoEligibleEndpointError
from balancers.hashing import Key
from balancers.structures.failover import Failover

__all__ = ["StrictPriority"]

_NOBODY = Spread({}, ())

Plan = Mapping[int, Spread]
"""A spread for each tier."""


class StrictPriority(Composite):
    """Tiers of endpoints, one at a time.

    Args:
        endpoints: The membership.
        policy: Makes the balancer of a tier.
        failover_after: Seconds the active tier may be down before another one serves, ≥ 0.
        failback_after: Seconds a better tier must be up before it serves again, ≥ 0.
        options: What every balancer takes; see ``Policy``. ``panic_threshold`` is of each tier;
            a tier in panic is up.

    Raises:
        TypeError: For an argument of the wrong type.
        ValueError: For an option out of range.
    """

    salt = 0x7374_7263
    _panics_by_group = True

    def __init__(
        self,
        endpoints: Iterable[EndpointLike],
        *,
        policy: PolicyFactory,
        failover_after: float = 0.0,
        failback_after: float = 0.0,
        **options: Unpack[Options],
    ) -> None:
        self._failover = Failover(
            checked_seconds("failover_after", failover_after),
            checked_seconds("failback_after", failback_after),
        )
        self._pinned: int | None = None
        super().__init__(endpoints, policy=policy, **options)

    def activate(self, tier: int | None) -> None:
        """Have one tier serve, and no other; None leaves it to health again.

        Where a lock service says who is active, let its callback say so here::

            lease.on_acquire(lambda: balancer.activate(0))
            lease.on_lose(lambda: balancer.activate(1))

        Raises:
            TypeError: If the tier is no int.
            ValueError: If it is negative.
        """
        self._pinned = None if tier is None else checked_whole("tier", tier, 0)
        self._root()._tell_listeners()

    @property
    def active(self) -> int | None:
        """The tier that serves, by its ``Endpoint.priority``; None if there are no members."""
        if self._pinned is not None:
            return self._pinned
        machine = self._failover
        return machine.at(self._ledger.clock() if machine.deadline < math.inf else -math.inf)

    def _groups(self, view: View, cells: Mapping[str, Cell]) -> Mapping[Hashable, Group]:
        groups: dict[Hashable, Group] = {}
        for tier, roster in self._parts(view.roster, attrgetter("priority")).items():
            groups[tier] = Group(roster, panic=bool(self._panic) or self._panics(roster, cells))
        return groups

    def _panics(self, roster: tuple[Endpoint, ...], cells: Mapping[str, Cell]) -> bool:
        """Whether some, but too few, of a tier may be picked: with none it is down instead."""
        weights = [(e.weight, cells[e.id].entry) for e in roster]
        enabled = sum(w for w, entry in weights if entry is None or entry.standing.enabled)
        able = sum(w for w, entry in weights if entry is None or entry.standing.admitted)
        return 0.0 < able < self._panic_threshold * enabled

    def _plan(self, view: View, branches: Mapping[Hashable, Branch]) -> Plan:
        return {tier: Spread({tier: 1.0}, (tier,)) for tier in branches if isinstance(tier, int)}

    def _publish(self, view: View) -> None:
        state: State = view.state
        up = {tier: bool(state.branches[tier].view.cells) for tier in state.plan}
        self._failover.see(up, self._ledger.clock())
        super()._publish(view)

    def _group_of(self, plan: Plan, endpoint: Endpoint) -> Hashable:
        return endpoint.priority

    def _spread(self, plan: Plan, key: Key | None) -> Spread:
        tier = self.active
        return _NOBODY if tier is None else plan.get(tier, _NOBODY)

    def _nobody(self, view: View, exclude: Collection[str]) -> BalancerError:
        state: State = view.state
        branch = state.branches.get(self.active)
        error = super()._nobody(view if branch is None else branch.view, exclude)
        deadline = self._failover.deadline if self._pinned is None else math.inf
        wait = deadline - self._ledger.clock()
        if not isinstance(error, NoEligibleEndpointError) or not 0.0 < wait < math.inf:
            return error
        known = error.retry_after
        return NoEligibleEndpointError(
            "the active tier is down, and its successor waits",
            retry_after=wait if known is None else min(known, wait),
        )

    def _details(self) -> Mapping[str, float]:
        active = self.active
        return {} if active is None else {"active": float(active)}

    def _check(self) -> None:
        super()._check()
        self._failover._check()
