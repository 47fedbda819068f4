"""What tests of composites share: a fleet whose health a test sets, and shares read back."""

from collections import Counter
from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import Any

from balancers import Balancer, Endpoint
from balancers.health import Admin, HealthPolicy, HealthRegistry
from balancers.testing import ManualClock

__all__ = ["Ward", "counted", "shares_of"]

PLAIN = HealthPolicy(
    rise=1,
    fall=1,
    minimum_healthy_time=0.0,
    slow_start=0.0,
    consecutive_failures=None,
    sequential=False,
)
"""One probe decides, and nothing else does."""


class Ward:
    """A registry whose every verdict is a call of the test's."""

    def __init__(self, policy: HealthPolicy = PLAIN) -> None:
        self.clock = ManualClock(1_000.0)
        self.registry = HealthRegistry(policy, clock=self.clock)

    def up(self, *ids: str) -> None:
        for name in ids:
            self.registry.record_probe(name, True)

    def down(self, *ids: str) -> None:
        for name in ids:
            self.registry.record_probe(name, False)

    def degrade(self, *ids: str) -> None:
        for name in ids:
            self.registry.record_probe(name, True, degraded=True)

    def drain(self, *ids: str) -> None:
        for name in ids:
            self.registry.set_admin(name, Admin.DRAINING)

    def enable(self, *ids: str) -> None:
        for name in ids:
            self.registry.set_admin(name, Admin.ENABLED)


def shares_of(balancer: Any) -> dict[str, Fraction]:
    """Return the exact share of each group that has one, by its name."""
    plan = balancer._view.state.plan
    plan._check()
    return {str(name): share for name, share in plan.shares.items()}


def counted(balancer: Balancer, of: Callable[[Endpoint], Any], keys: Iterable[Any]) -> Counter[Any]:
    """Pick and settle once a key; count the picks by what ``of`` says of the endpoint."""
    counts: Counter[Any] = Counter()
    for key in keys:
        with balancer.pick(key) as pick:
            counts[of(pick.endpoint)] += 1
    return counts
