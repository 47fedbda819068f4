"""The policies, one algorithm a file; none imports another.

``registered()`` lists them; ``register`` adds yours to the command line and the suites.
"""

from balancers.policies.registry import policy_named, register, registered
from balancers.policies.round_robin import RoundRobin

__all__ = ["RoundRobin", "policy_named", "register", "registered"]

register(RoundRobin)
