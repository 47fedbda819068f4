"""The policies, one algorithm a file; none imports another.

``registered()`` lists them; ``register`` adds yours to the command line and the suites.
"""

from balancers.policies.ip_hash import IPHash
from balancers.policies.jump_hash import JumpHash
from balancers.policies.maglev import Maglev
from balancers.policies.registry import policy_named, register, registered
from balancers.policies.rendezvous import Rendezvous
from balancers.policies.round_robin import RoundRobin

__all__ = [
    "IPHash",
    "JumpHash",
    "Maglev",
    "Rendezvous",
    "RoundRobin",
    "policy_named",
    "register",
    "registered",
]

for _policy in (RoundRobin, Maglev, Rendezvous, JumpHash, IPHash):
    register(_policy)
