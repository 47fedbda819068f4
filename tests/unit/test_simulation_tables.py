"""The published figures of our research notes come out of the scenarios as they are shipped.

20 servers × 4 workers, exponential work of 10 ms, load 0.8, one client. The notes add half a
millisecond of network, which is taken off; they ran for a minute with three seeds, here it is
twelve seconds with one, so p50 may be off by 6 % and p99 by 9 %, about three times what other
seeds give. "Unstable" means what it means there: a p99 that only grows.
"""

import pytest

from balancers.policies.adaptive import Adaptive
from balancers.policies.least_connections import LeastConnections
from balancers.policies.peak_ewma import PeakEwma
from balancers.policies.power_of_two import PowerOfTwoChoices
from balancers.simulation.cells import Cell, play

NETWORK = 0.0005
UNSTABLE = None


def path(policy):
    """Return the policy as ``--policies`` names one that may not be registered."""
    return f"{policy.__module__}:{policy.__name__}"


RANDOM, ROUND, ORACLE = "Random", "RoundRobin", "oracle"
LEAST, TWO = path(LeastConnections), path(PowerOfTwoChoices)
PEAK, SCORE = path(PeakEwma), path(Adaptive)

TABLE = {
    # p50 and p99 in milliseconds
    "steady": {
        RANDOM: (13.8, 69), ROUND: (10.4, 53), LEAST: (7.5, 47), TWO: (8.4, 48), PEAK: (8.6, 48),
        SCORE: (7.7, 47), ORACLE: (7.5, 47),
    },
    "heterogeneous-2x": {
        ROUND: UNSTABLE, LEAST: (9.2, 73), TWO: (11.2, 79), PEAK: (11.2, 73), SCORE: (9.9, 67),
        ORACLE: (9.8, 65),
    },
    "heterogeneous-10x": {
        ROUND: UNSTABLE, LEAST: (7.8, 138), TWO: UNSTABLE, PEAK: UNSTABLE, SCORE: (8.1, 48),
        ORACLE: (7.6, 47),
    },
}  # fmt: skip


def played(policy, scenario, seconds=12.0):
    """Play a cell as published, but shorter."""
    layer = {"traffic": {"seconds": seconds}}
    return play(Cell(policy, f"{scenario}+as-published", 1, layer))["measures"]


@pytest.mark.parametrize("scenario", TABLE)
def test_latencies_are_those_published(scenario):
    """p50 and p99 are the notes', and who was unstable there is unstable here."""
    for policy, expected in TABLE[scenario].items():
        found = played(policy, scenario)
        if expected is UNSTABLE:
            assert found["p99"] > 1.0, policy
            continue
        p50, p99 = (value / 1000.0 - NETWORK for value in expected)
        # The score prunes to three candidates or scans all, by the size of the fleet: either row.
        assert found["p50"] == pytest.approx(p50, rel=0.09 if policy == SCORE else 0.06), policy
        assert found["p99"] == pytest.approx(p99, rel=0.09), policy


def test_errors_are_those_published():
    """One server of twenty fails in a millisecond: blind policies send it a twentieth of the
    requests, least connections a quarter of them, the score hardly one.

    The notes let it fail all the time, the scenario for three fifths of it.
    """  # noqa: D205
    published = {ROUND: 0.05, LEAST: 0.2745, TWO: 0.0951, SCORE: 0.0}
    for policy, share in published.items():
        found = played(policy, "fast-failing", 6.0)
        assert found["error_share"] == pytest.approx(0.6 * share, rel=0.06, abs=0.0005), policy
