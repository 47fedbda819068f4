"""Keep overload from feeding on itself: bounds on retries, and requests not even sent.

None of these is a balancer: they are asked before a pick. Bounds on requests in flight are
``balancers.Limit``.
"""

from balancers.overload.adaptive_throttle import AdaptiveThrottle
from balancers.overload.retry_budget import RetryBudget
from balancers.overload.retry_share import RetryShare
from balancers.overload.retry_tokens import RetryTokens

__all__ = ["AdaptiveThrottle", "RetryBudget", "RetryShare", "RetryTokens"]
