"""Slow start: how much of its share a returning endpoint gets.

Envoy's formula: after ``elapsed`` of ``window`` seconds the share is

    max(minimum, (elapsed / window) ** (1 / aggression))

published in steps of 1/20, rounded down, and on a common beat of window/20 seconds: a
thousand endpoints that return together then cost twenty rebuilt snapshots, not twenty
thousand.

Source:
    Envoy, slow start mode. The rule for "everything is new" is the balancer's: a share is
    relative, so where every candidate ramps, nobody does (envoyproxy/envoy#24689).
"""

from __future__ import annotations

import math

from balancers.health.policy import HealthPolicy

__all__ = ["STEPS", "Ramp"]

STEPS = 20


class Ramp:
    """The formula with its constants; a share is ``step / STEPS``."""

    __slots__ = ("_ages", "beat", "first")

    def __init__(self, policy: HealthPolicy) -> None:
        window = policy.slow_start
        # The age at which each step is reached; rounding may not hide a step from its own age.
        self._ages = [
            window * (step / STEPS) ** policy.slow_start_aggression for step in range(STEPS + 1)
        ]
        self.beat: float = window / STEPS
        self.first: int = max(1, math.floor(policy.slow_start_minimum * STEPS + 1e-9))

    def step(self, since: float, at: float) -> int:
        """The step reached at ``at`` by who began at ``since``. O(steps)."""
        age = (at - since) * (1.0 + 1e-12) + 1e-9
        step = self.first
        while step < STEPS and self._ages[step + 1] <= age:
            step += 1
        return step

    def end(self, since: float) -> float:
        """The beat on which the full share is published."""
        return self.next(since, STEPS - 1, since)

    def next(self, since: float, step: int, after: float) -> float:
        """The beat on which the step after ``step`` is published, later than ``after``."""
        if step >= STEPS:
            return math.inf
        beat = self.beat * math.ceil((since + self._ages[step + 1]) / self.beat - 1e-6)
        return beat if beat > after else max(after + self.beat, math.nextafter(after, math.inf))
