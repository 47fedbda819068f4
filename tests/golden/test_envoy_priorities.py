"""Envoy's integers: priority load, degraded load and panic, from its unit tests and its docs.

Source: envoyproxy/envoy, test/extensions/load_balancing_policies/common/
load_balancer_impl_base_test.cc (OverProvisioningFactor, WeightedPriorityHealth, GentleFailover,
GentleFailoverWithExtraLevels) and the tables of priority.rst, degraded.rst. Its "excluded"
hosts are hosts that are not there.
"""

import pytest
from compose_models import Ward, shares_of

from balancers import Endpoint, Priority, Reason, RoundRobin

Hosts = tuple[int, int, int]
"""Of a tier: all, the healthy ones, the degraded ones."""

# tiers, percent to the healthy, percent to the degraded, which tiers are in panic
GENTLE = [
    ([(1, 1, 0), (1, 1, 0)], [100, 0], [0, 0], [0, 0]),
    ([(2, 1, 0), (2, 1, 0)], [70, 30], [0, 0], [0, 0]),
    ([(4, 1, 0), (2, 2, 0)], [35, 65], [0, 0], [0, 0]),
    ([(4, 1, 0), (4, 1, 0)], [50, 50], [0, 0], [1, 1]),
    ([(1, 1, 0), (5, 1, 0)], [100, 0], [0, 0], [0, 0]),
    ([(1, 0, 0), (1, 0, 0)], [50, 50], [0, 0], [1, 1]),
    ([(1, 0, 0), (2, 0, 0)], [34, 66], [0, 0], [1, 1]),
    ([(1, 0, 0), (2, 0, 0), (1, 1, 0)], [0, 0, 100], [0, 0, 0], [0, 0, 0]),
    ([(1, 1, 0), (2, 0, 0), (1, 1, 0)], [100, 0, 0], [0, 0, 0], [0, 0, 0]),
    ([(4, 2, 0), (4, 2, 0)], [70, 30], [0, 0], [0, 0]),
    ([(1, 1, 0), (1, 1, 0), (1, 1, 0)], [100, 0, 0], [0, 0, 0], [0, 0, 0]),
    ([(2, 1, 0), (2, 1, 0), (2, 1, 0)], [70, 30, 0], [0, 0, 0], [0, 0, 0]),
    ([(4, 1, 0), (2, 2, 0), (2, 1, 0)], [35, 65, 0], [0, 0, 0], [0, 0, 0]),
    ([(4, 1, 0), (4, 1, 0), (4, 1, 0)], [35, 35, 30], [0, 0, 0], [0, 0, 0]),
    ([(5, 1, 0), (5, 1, 0), (5, 1, 0)], [34, 33, 33], [0, 0, 0], [1, 1, 1]),
    ([(5, 0, 0), (5, 0, 0), (5, 5, 0)], [0, 0, 100], [0, 0, 0], [0, 0, 0]),
    ([(5, 0, 0), (5, 0, 0), (5, 4, 0)], [0, 0, 100], [0, 0, 0], [0, 0, 0]),
    ([(5, 0, 0), (5, 0, 0), (5, 2, 0)], [34, 33, 33], [0, 0, 0], [1, 1, 1]),
    ([(5, 0, 5), (5, 2, 2), (5, 2, 0)], [0, 56, 44], [0, 0, 0], [0, 0, 0]),
    ([(5, 0, 0), (3, 0, 0), (2, 0, 0)], [50, 30, 20], [0, 0, 0], [1, 1, 1]),
    ([(5, 0, 0), (6, 2, 0), (3, 1, 0)], [37, 42, 21], [0, 0, 0], [1, 1, 1]),
    ([(5, 0, 1), (5, 0, 5), (5, 1, 0)], [0, 0, 28], [28, 44, 0], [0, 0, 0]),
    ([(5, 0, 0), (5, 0, 2), (5, 0, 1)], [34, 33, 33], [0, 0, 0], [1, 1, 1]),
    ([(3, 0, 0), (3, 0, 0), (3, 0, 0)], [34, 33, 33], [0, 0, 0], [1, 1, 1]),
    ([(0, 0, 0), (6, 0, 0), (3, 0, 0)], [0, 67, 33], [0, 0, 0], [1, 1, 1]),
]

# The same with the panic threshold at 0; the tables are percentages of 100 hosts.
CALM = [
    ([(5, 0, 0), (5, 0, 2), (5, 0, 1)], [0, 0, 0], [0, 67, 33]),
    ([(100, 72, 0), (1, 1, 0)], [100, 0], [0, 0]),
    ([(100, 71, 0), (1, 1, 0)], [99, 1], [0, 0]),
    ([(100, 50, 0), (1, 1, 0)], [70, 30], [0, 0]),
    ([(100, 25, 0), (1, 1, 0)], [35, 65], [0, 0]),
    ([(100, 0, 0), (1, 1, 0)], [0, 100], [0, 0]),
    ([(100, 71, 0), (100, 71, 0)], [99, 1], [0, 0]),
    ([(100, 25, 0), (100, 25, 0)], [50, 50], [0, 0]),
    ([(100, 72, 0), (100, 72, 0), (1, 1, 0)], [100, 0, 0], [0, 0, 0]),
    ([(100, 25, 0), (100, 25, 0), (1, 1, 0)], [35, 35, 30], [0, 0, 0]),
    # The table says 36, 36, 28; its own rule, and its code, give the leftover to the first.
    ([(100, 25, 0), (100, 25, 0), (100, 20, 0)], [37, 35, 28], [0, 0, 0]),
    ([(100, 10, 20), (100, 20, 10), (100, 10, 0)], [16, 28, 14], [28, 14, 0]),
    ([(100, 100, 0)], [100], [0]),
    ([(100, 71, 29)], [99], [1]),
    ([(100, 25, 65)], [35], [65]),
    ([(100, 5, 0)], [100], [0]),
]


def tiers_of(hosts: list[Hosts], **options: object) -> Priority:
    """Build the tiers, each with its healthy hosts first, then the degraded, then the others."""
    ward = Ward()
    members = [
        Endpoint(f"{tier}-{i}", priority=tier)
        for tier, (count, _, _) in enumerate(hosts)
        for i in range(count)
    ]
    balancer = Priority(
        members, policy=RoundRobin, rounding="envoy", health=ward.registry, **options
    )
    for tier, (count, healthy, degraded) in enumerate(hosts):
        ward.degrade(*(f"{tier}-{i}" for i in range(healthy, healthy + degraded)))
        ward.down(*(f"{tier}-{i}" for i in range(healthy + degraded, count)))
    return balancer


def percentages(balancer: Priority, tiers: int) -> tuple[list[int], list[int]]:
    """Return the whole percentages of each tier: of its healthy members, of its degraded ones."""
    shares = {name: 100 * share for name, share in shares_of(balancer).items()}
    assert all(share.denominator == 1 for share in shares.values())
    healthy = [int(shares.get(f"{tier}", 0)) for tier in range(tiers)]
    return healthy, [int(shares.get(f"{tier} degraded", 0)) for tier in range(tiers)]


@pytest.mark.parametrize(("hosts", "healthy", "degraded", "panic"), GENTLE)
def test_gentle_failover(
    hosts: list[Hosts], healthy: list[int], degraded: list[int], panic: list[int]
):
    """Load and panic of every tier are Envoy's, to the integer."""
    balancer = tiers_of(hosts)
    branches = balancer._branches

    assert percentages(balancer, len(hosts)) == (healthy, degraded)
    for tier, (count, _, _) in enumerate(hosts):
        if count:
            assert (branches[f"{tier}"].view.reason is Reason.PANIC) == bool(panic[tier])


@pytest.mark.parametrize(("hosts", "healthy", "degraded"), CALM)
def test_documented_tables(hosts: list[Hosts], healthy: list[int], degraded: list[int]):
    """Load of every tier is that of Envoy's tables, to the integer, with panic switched off."""
    balancer = tiers_of(hosts, panic_threshold=0.0)

    assert percentages(balancer, len(hosts)) == (healthy, degraded)


def test_overprovisioning_of_one():
    """At a factor of 1 a tier gets as much as is healthy of it."""
    balancer = tiers_of([(4, 2, 0), (4, 2, 0)], overprovisioning=1.0)

    assert percentages(balancer, 2) == ([50, 50], [0, 0])


def test_weighted_priority_health():
    """Health is counted by weight: 6 of 10 make 60 %."""
    ward = Ward()
    members = [Endpoint(f"0-{i}", weight=w) for i, w in enumerate((3.0, 3.0, 2.0, 2.0))]
    members.append(Endpoint("1-0", priority=1))
    balancer = Priority(
        members, policy=RoundRobin, rounding="envoy", overprovisioning=1.0, health=ward.registry
    )
    ward.down("0-2", "0-3")

    assert percentages(balancer, 2) == ([60, 40], [0, 0])


def test_weighted_priority_health_with_degraded_hosts():
    """40 % and 10 % to the healthy, 30 % and the remaining 20 % to the degraded."""
    ward = Ward()
    members = [Endpoint(f"0-{i}", weight=w) for i, w in enumerate((4.0, 3.0, 2.0, 1.0))]
    members += [Endpoint(f"1-{i}", weight=w, priority=1) for i, w in enumerate((1.0, 9.0))]
    balancer = Priority(
        members, policy=RoundRobin, rounding="envoy", overprovisioning=1.0, health=ward.registry
    )
    ward.degrade("0-1", "1-1")
    ward.down("0-2", "0-3")

    assert percentages(balancer, 2) == ([40, 10], [30, 20])
