"""Failover: which of several tiers serves, one at a time.

Rules:

1. A tier serves while it is up. Once it has been down for ``failover_after`` seconds the first
   tier that is up takes over; at once if that is a better one, or if the tier is gone.
2. When a better tier has been up for ``failback_after`` seconds, the best that is up takes over.
3. While nobody is up, nobody takes over.

Source: gRPC's priority policy (A56), where the two times are 10 s and 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

__all__ = ["Failover"]


class Failover:
    """A state machine over tiers that have numbers, the lowest best; the caller gives the time.

    Between two calls of ``see`` at most one change comes, at ``deadline``: so whoever asks
    ``at`` changes nothing.

    Args:
        failover_after: Seconds a tier may be down before it is replaced, ≥ 0.
        failback_after: Seconds a better tier must be up before it returns, ≥ 0.

    Attributes:
        deadline: When time alone changes who serves, ``math.inf`` if never.

    Invariants (checked by ``_check``):

    1. ``_down_since`` is a time exactly while the active tier is down.
    2. ``_better_since`` is a time exactly while a tier above the active one is up.
    3. A change is due only if some tier is up, and then ``_best`` is the first of them.
    """

    __slots__ = (
        "_active",
        "_best",
        "_better_since",
        "_down_since",
        "_failback_after",
        "_failover_after",
        "_up",
        "deadline",
    )

    def __init__(self, failover_after: float, failback_after: float) -> None:
        self._failover_after = failover_after
        self._failback_after = failback_after
        self._up: dict[int, bool] = {}
        self._active: int | None = None
        self._best: int | None = None
        self._down_since: float | None = None
        self._better_since: float | None = None
        self.deadline: float = math.inf

    def at(self, now: float) -> int | None:
        """Return the tier that serves at a time not before the last ``see``; None if none is."""
        return self._active if now < self.deadline else self._best

    def see(self, up: Mapping[int, bool], now: float) -> None:
        """Note which tiers there are, and which are up. O(tiers)."""
        active = self.at(now)
        if active != self._active:
            self._down_since = self._better_since = None
        self._up = dict(sorted(up.items()))
        self._best = next((tier for tier, is_up in self._up.items() if is_up), None)
        if active not in self._up:
            # The first time, or the tier is gone: nothing to wait for.
            active = self._best if self._best is not None else next(iter(self._up), None)
            self._down_since = self._better_since = None
        self._active = active
        self._date(now)

    def _date(self, now: float) -> None:
        active, best = self._active, self._best
        self.deadline = math.inf
        if active is None or self._up[active]:
            self._down_since = None
        elif self._down_since is None:
            self._down_since = now
        if active is None or best is None or best >= active:
            self._better_since = None
        elif self._better_since is None:
            self._better_since = now
        if best is None:
            return
        down, better = self._down_since, self._better_since
        if down is not None:
            self.deadline = now if better is not None else down + self._failover_after
        elif better is not None:
            self.deadline = better + self._failback_after

    def _check(self) -> None:
        active, best = self._active, self._best
        if active is None:
            assert not self._up
            return
        assert (self._down_since is None) == self._up[active]
        assert (self._better_since is None) == (best is None or best >= active)
        assert best == next((tier for tier, is_up in self._up.items() if is_up), None)
        assert best is not None or self.deadline == math.inf
