"""Priority: the first tier serves; the next takes what the first cannot.

Guarantees:
    Tiers are the endpoints of equal ``Endpoint.priority``, lowest first. A tier's capacity is
    overprovisioning · eligible weight / member weight, at most 1. Each tier gets its capacity
    of the load until nothing is left; degraded endpoints of any tier come after the healthy
    ones of all. Where all capacity is short of the load, it is scaled up to it. With
    ``rounding="exact"`` shares are real numbers that sum to exactly 1; with ``"envoy"`` whole
    percentages as Envoy rounds them, leftovers included.
    Panic is decided tier by tier, and only while all capacity is short of the load: a tier
    below the threshold uses all its enabled endpoints. Where all tiers are in panic the load is
    split by their enabled weight.

Use when:
    Some endpoints are dear, distant or spare: backups, active-passive pairs, burst capacity.

Avoid when:
    Tiers are of unlike size: the model takes it that one whole tier can stand in for another,
    so two backups for ten primaries are flooded when half the primaries fail.

Cost:
    O(log tiers) a pick, beside the inner policy; O(n) an update or a health change.

Source:
    Envoy, "priority levels", "degraded endpoints", "panic threshold".
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from operator import attrgetter
from typing import Literal, Unpack

from balancers.compose.composite import Branch, Composite, Group, PolicyFactory
from balancers.compose.spread import Spread
from balancers.core.ledger import Cell
from balancers.core.membership import Options
from balancers.core.numbers import checked_factor, exact_total
from balancers.core.view import View
from balancers.endpoint import Endpoint, EndpointLike
from balancers.health.states import HealthState
from balancers.structures.tiers import tier_percentages, tier_shares

__all__ = ["Priority"]

Rounding = Literal["exact", "envoy"]


class Priority(Composite):
    """Tiers of endpoints, the first one first.

    Args:
        endpoints: The membership.
        policy: Makes the balancer of a tier.
        overprovisioning: By how much a whole tier exceeds the load, > 0: with 1.4 it takes
            the whole load while 5/7 of it are eligible. Taken as the decimal it is written as.
        rounding: ``"exact"``, or ``"envoy"`` for its whole percentages.
        options: What every balancer takes; see ``Policy``. ``panic_threshold`` is per tier.

    Raises:
        TypeError: For an argument of the wrong type.
        ValueError: For an option out of range.
    """

    salt = 0x7469_6572
    _panics_by_group = True

    def __init__(
        self,
        endpoints: Iterable[EndpointLike],
        *,
        policy: PolicyFactory,
        overprovisioning: float = 1.4,
        rounding: Rounding = "exact",
        **options: Unpack[Options],
    ) -> None:
        self._overprovisioning = checked_factor("overprovisioning", overprovisioning)
        if rounding not in ("exact", "envoy"):
            raise ValueError(f'rounding is "exact" or "envoy", not {rounding!r}')
        self._rounding = rounding
        super().__init__(endpoints, policy=policy, **options)

    def _groups(self, view: View, cells: Mapping[str, Cell]) -> Mapping[Hashable, Group]:
        members = self._parts(view.roster, attrgetter("priority"))
        degraded = _degraded(view)
        able = {endpoint.id for endpoint in self._capacity_of(view)}
        load = _Load(self, {t: Tier.of(m, cells, able, degraded) for t, m in members.items()})
        view.state = load
        groups: dict[Hashable, Group] = {}
        for tier, roster in members.items():
            if load.panic[tier]:
                groups[_name(tier)] = Group(roster, panic=True)
                continue
            weak = tuple(endpoint for endpoint in roster if endpoint.id in degraded)
            aside = {endpoint.id: "degraded: waits for the healthy ones" for endpoint in weak}
            groups[_name(tier)] = Group(roster, False, aside)
            if weak:
                groups[_name(tier, degraded=True)] = Group(weak, panic=False)
        return groups

    def _plan(self, view: View, branches: Mapping[Hashable, Branch]) -> Spread:
        load: _Load = view.state
        names = [_name(tier) for tier in load.tiers]
        weak = [_name(tier, degraded=True) for tier in load.tiers]
        healthy, degraded = load.shares()
        shares = dict(zip(names + weak, healthy + degraded, strict=True))
        return Spread(
            {name: share for name, share in shares.items() if name in branches},
            [name for name in names + weak if name in branches],
            {e.id: name for name in weak if name in branches for e in branches[name].view.roster},
        )

    def _group_of(self, plan: Spread, endpoint: Endpoint) -> Hashable:
        return plan.homes.get(endpoint.id) or _name(endpoint.priority)


@dataclass(frozen=True, slots=True)
class Tier:
    """Weights of one tier.

    Attributes:
        members: Of all members.
        enabled: Of those the operator has not taken out.
        healthy: Of the eligible ones that are not degraded.
        degraded: Of the eligible ones that are.
    """

    members: Fraction
    enabled: Fraction
    healthy: Fraction
    degraded: Fraction = Fraction(0)

    @classmethod
    def of(
        cls,
        members: Collection[Endpoint],
        cells: Mapping[str, Cell],
        able: Collection[str],
        degraded: Collection[str],
    ) -> Tier:
        """Add up the weights of a tier, given the ids of eligible endpoints. O(members)."""
        pairs = [(e.weight, cells[e.id].entry) for e in members]
        fit = [e for e in members if e.id in able]
        return cls(
            exact_total([weight for weight, _ in pairs]),
            exact_total([w for w, entry in pairs if entry is None or entry.standing.enabled]),
            exact_total([e.weight for e in fit if e.id not in degraded]),
            exact_total([e.weight for e in fit if e.id in degraded]) if degraded else Fraction(0),
        )


class _Load:
    """How the load falls on the tiers.

    Attributes:
        tiers: Weights by tier, first tier first.
        panic: Whether a tier's health is ignored.
    """

    __slots__ = ("_degraded", "_healthy", "_rounds", "panic", "tiers")

    def __init__(self, owner: Priority, tiers: dict[int, Tier]) -> None:
        self.tiers = tiers
        self._rounds = owner._rounding == "envoy"
        factor = owner._overprovisioning
        self._healthy = [self._capacity(factor * t.healthy, t.members) for t in tiers.values()]
        self._degraded = [self._capacity(factor * t.degraded, t.members) for t in tiers.values()]
        threshold = Fraction(owner._panic_threshold)
        short = bool(threshold) and sum(self._healthy) + sum(self._degraded) < 1
        self.panic = {
            tier: bool(owner._panic)
            or (short and (not t.enabled or t.healthy + t.degraded < threshold * t.enabled))
            for tier, t in tiers.items()
        }

    def shares(self) -> tuple[list[Fraction], list[Fraction]]:
        """Return the share of the healthy and of the degraded members of each tier."""
        if all(self.panic.values()):
            enabled = [tier.enabled for tier in self.tiers.values()]
            return self._by_weight(enabled), [Fraction(0)] * len(enabled)
        if not self._rounds:
            return tier_shares(self._healthy, self._degraded)
        loads = tier_percentages(_percents(self._healthy), _percents(self._degraded))
        return [Fraction(n, 100) for n in loads[0]], [Fraction(n, 100) for n in loads[1]]

    def _by_weight(self, weights: list[Fraction]) -> list[Fraction]:
        total = sum(weights)
        if not self._rounds or not total:
            return weights
        percents = [100 * weight // total for weight in weights]
        first = next(index for index, weight in enumerate(weights) if weight)
        percents[first] += 100 - sum(percents)
        return [Fraction(percent, 100) for percent in percents]

    def _capacity(self, weight: Fraction, members: Fraction) -> Fraction:
        if not members:
            return Fraction(0)
        capacity = min(Fraction(1), weight / members)
        return Fraction(100 * capacity // 1, 100) if self._rounds else capacity


def _percents(capacities: list[Fraction]) -> list[int]:
    return [int(100 * capacity) for capacity in capacities]


def _degraded(view: View) -> frozenset[str]:
    """Return the candidates that would rather not serve."""
    return frozenset(
        endpoint.id
        for endpoint, cell in zip(view.endpoints, view.cells, strict=True)
        if cell.entry is not None and cell.entry.standing.state is HealthState.DEGRADED
    )


def _name(tier: int, *, degraded: bool = False) -> str:
    return f"{tier} degraded" if degraded else f"{tier}"
