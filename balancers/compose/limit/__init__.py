"""In-flight capacity, for each endpoint and in all."""

from balancers.compose.limit.limit import Limit
from balancers.compose.limit.ticket import Ticket

__all__ = ["Limit", "Ticket"]
