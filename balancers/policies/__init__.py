"""The policies, one algorithm a file; none imports another.

``registered()`` lists them; ``register`` adds yours to the command line and the suites.
"""

from balancers.policies.ip_hash import IPHash
from balancers.policies.jump_hash import JumpHash
from balancers.policies.least_connections import LeastConnections
from balancers.policies.maglev import Maglev
from balancers.policies.random import Random
from balancers.policies.registry import policy_named, register, registered
from balancers.policies.rendezvous import Rendezvous
from balancers.policies.ring_hash import RingHash
from balancers.policies.round_robin import RoundRobin
from balancers.policies.weighted_round_robin import WeightedRoundRobin

__all__ = [
    "IPHash",
    "JumpHash",
    "LeastConnections",
    "Maglev",
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
    RingHash,
    Maglev,
    Rendezvous,
    JumpHash,
    IPHash,
):
    register(_policy)
