"""The policies, one algorithm a file; none imports another.

``registered()`` lists them; ``register`` adds yours to the command line and the suites.
"""

from balancers.policies.adaptive import Adaptive
from balancers.policies.ip_hash import IPHash
from balancers.policies.jump_hash import JumpHash
from balancers.policies.least_connections import LeastConnections
from balancers.policies.least_response_time import LeastResponseTime
from balancers.policies.maglev import Maglev
from balancers.policies.peak_ewma import PeakEwma
from balancers.policies.power_of_two import PowerOfTwoChoices
from balancers.policies.prefix_affinity import PrefixAffinity
from balancers.policies.random import Random
from balancers.policies.registry import policy_named, register, registered
from balancers.policies.rendezvous import Rendezvous
from balancers.policies.ring_hash import RingHash
from balancers.policies.round_robin import RoundRobin
from balancers.policies.weighted_round_robin import WeightedRoundRobin

__all__ = [
    "Adaptive",
    "IPHash",
    "JumpHash",
    "LeastConnections",
    "LeastResponseTime",
    "Maglev",
    "PeakEwma",
    "PowerOfTwoChoices",
    "PrefixAffinity",
    "Random",
    "Rendezvous",
    "RingHash",
    "RoundRobin",
    "WeightedRoundRobin",
    "policy_named",
    "register",
    "registered",
]

for _policy in (
    RoundRobin,
    WeightedRoundRobin,
    Random,
    LeastConnections,
    PowerOfTwoChoices,
    LeastResponseTime,
    PeakEwma,
    Adaptive,
    RingHash,
    Maglev,
    Rendezvous,
    JumpHash,
    IPHash,
    PrefixAffinity,
):
    register(_policy)
