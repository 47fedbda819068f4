"""Caps: how many endpoints ejection may take from one balancer.

A group is what one balancer holds, id to weight. An endpoint counts in a group if it is
ENABLED and its weight is above 0. Ejection takes it only if in *every* group that counts it

* at least ``min_eligible`` others stay eligible, and
* the endpoints under sentence (EJECTED, PROBATION, or UNHEALTHY on top of it) stay within
  ``max_ejected`` of count and of weight, or within ``min_ejected`` of them.

The same conditions are looked at again whenever a group shrinks or probes take endpoints out:
who is no longer covered is *spared*, those nearest to their return first.

Ids that only ``track`` holds form a group of their own. Where a balancer holds the id too,
the tracked set has no say: it is no balancer, and a set of one would spare its member for ever.

gRFC A50 looks at the share *before* the ejection, so that one more than the cap can be out
(``outlier_rules="grpc"``); Envoy and we look at the share it would be after.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from balancers.health.policy import HealthPolicy
from balancers.health.states import HealthState

if TYPE_CHECKING:
    from balancers.health.attachment import Attachment
    from balancers.health.entry import Entry

__all__ = ["Group", "judges", "within_caps"]

_SLACK = 1e-9
_ORDER = {HealthState.PROBATION: 0, HealthState.EJECTED: 1}


class Group:
    """What one balancer holds, with the counts the caps are judged by.

    Invariants (checked by ``_check``): ``size`` and ``weight`` are number and weight of the
    entries counted (those the group is a judge of), ``eligible`` the number of them that are
    eligible, ``out`` those of them under sentence, by serial, and ``out_weight`` their weight.
    """

    __slots__ = (
        "__weakref__",
        "eligible",
        "out",
        "out_weight",
        "owner",
        "size",
        "tracked",
        "weight",
        "weights",
    )

    def __init__(self, *, tracked: bool = False) -> None:
        self.weights: dict[str, float] = {}
        self.owner: weakref.ref[Attachment] | None = None
        self.tracked: bool = tracked
        self.size: int = 0
        self.weight: float = 0.0
        self.eligible: int = 0
        self.out: dict[int, Entry] = {}
        self.out_weight: float = 0.0

    def count(
        self, entry: Entry, old: tuple[bool, bool, bool], new: tuple[bool, bool, bool]
    ) -> None:
        """Move an entry from one way of being counted to another. O(1).

        A way is (enabled, under sentence, eligible).
        """
        weight = self.weights[entry.id]
        if weight == 0.0:
            return
        for sign, (enabled, sentenced, eligible) in ((-1, old), (1, new)):
            if not enabled:
                continue
            self.size += sign
            self.weight += sign * weight
            self.eligible += sign * eligible
            if sentenced:
                self.out_weight += sign * weight
                if sign > 0:
                    self.out[entry.serial] = entry
                else:
                    del self.out[entry.serial]

    def spares(self, entry: Entry, policy: HealthPolicy) -> bool:
        """Whether the group can do without an entry that is not under sentence. O(1)."""
        enabled, _, eligible = entry.counted
        weight = self.weights[entry.id]
        if weight == 0.0 or not enabled:
            return True
        if self.eligible - eligible < policy.min_eligible:
            return False
        out = len(self.out)
        if out + 1 <= policy.min_ejected:
            return True
        if policy.outlier_rules == "grpc":
            return out < policy.max_ejected * self.size - _SLACK
        return (
            out + 1 <= policy.max_ejected * self.size + _SLACK
            and self.out_weight + weight <= policy.max_ejected * self.weight * (1 + _SLACK)
        )

    def excused(self, policy: HealthPolicy) -> Entry | None:
        """Return who must be let back for the caps to hold, None if they do.

        O(1) while they do, else O(number under sentence).
        """
        out = len(self.out)
        if not out:
            return None
        if self.eligible < policy.min_eligible:
            sparable = [e for e in self.out.values() if e.state in _ORDER]
            if sparable:
                return min(sparable, key=_nearness)
        if out <= policy.min_ejected:
            return None
        allowed = policy.max_ejected * self.size
        if policy.outlier_rules == "grpc":
            over = out - 1 >= allowed - _SLACK
        else:
            most = policy.max_ejected * self.weight * (1 + _SLACK)
            over = out > allowed + _SLACK or self.out_weight > most
        return min(self.out.values(), key=_nearness) if over else None

    def _check(self, entries: Callable[[str], Entry], policy: HealthPolicy) -> None:
        counted = [entries(name) for name, weight in self.weights.items() if weight > 0.0]
        counted = [entry for entry in counted if entry.counted[0] and self in entry.judges]
        assert self.size == len(counted)
        assert abs(self.weight - sum(self.weights[e.id] for e in counted)) <= 1e-6 * self.weight
        assert self.eligible == sum(entry.counted[2] for entry in counted)
        assert set(self.out) == {entry.serial for entry in counted if entry.counted[1]}
        assert self.excused(policy) is None


def within_caps(entry: Entry, policy: HealthPolicy) -> bool:
    """Whether every balancer that holds the entry can do without it. O(balancers)."""
    return all(group.spares(entry, policy) for group in entry.judges)


def judges(holders: Iterable[Group]) -> tuple[Group, ...]:
    """Return the groups that have a say: the balancers', or the tracked set alone."""
    holders = tuple(holders)
    return tuple(group for group in holders if not group.tracked) or holders


def _nearness(entry: Entry) -> tuple[int, float, int]:
    """Who comes first when somebody must be let back."""
    return _ORDER.get(entry.state, 2), entry.ejected_until, entry.serial
