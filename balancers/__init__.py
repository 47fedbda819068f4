"""Load-balancing strategies behind one call, ``pick(key)``."""

from balancers.compose import Limit, Priority, Regions, Sticky, Subset, ZoneAware
from balancers.core.lease import Pick
from balancers.endpoint import Endpoint
from balancers.errors import (
    BalancerError,
    InvalidEndpointError,
    NoEligibleEndpointError,
    NoEndpointError,
)
from balancers.hashing import Key
from balancers.health import Admin, HealthEvent, HealthPolicy, HealthRegistry, HealthState
from balancers.policies import (
    Adaptive,
    IPHash,
    JumpHash,
    LeastConnections,
    LeastResponseTime,
    Maglev,
    PeakEwma,
    PowerOfTwoChoices,
    PrefixAffinity,
    Random,
    Rendezvous,
    RingHash,
    RoundRobin,
    WeightedRoundRobin,
)
from balancers.protocol import (
    Balancer,
    Delta,
    Explanation,
    Observer,
    Outcome,
    Reason,
    Snapshot,
)

__all__ = [
    "Adaptive",
    "Admin",
    "Balancer",
    "BalancerError",
    "Delta",
    "Endpoint",
    "Explanation",
    "HealthEvent",
    "HealthPolicy",
    "HealthRegistry",
    "HealthState",
    "IPHash",
    "InvalidEndpointError",
    "JumpHash",
    "Key",
    "LeastConnections",
    "LeastResponseTime",
    "Limit",
    "Maglev",
    "NoEligibleEndpointError",
    "NoEndpointError",
    "Observer",
    "Outcome",
    "PeakEwma",
    "Pick",
    "PowerOfTwoChoices",
    "PrefixAffinity",
    "Priority",
    "Random",
    "Reason",
    "Regions",
    "Rendezvous",
    "RingHash",
    "RoundRobin",
    "Snapshot",
    "Sticky",
    "Subset",
    "WeightedRoundRobin",
    "ZoneAware",
]
