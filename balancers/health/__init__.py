"""Health: what probes saw, what traffic saw, and what the operator said."""

from balancers.health.active import ProbeResult
from balancers.health.events import HealthEvent
from balancers.health.policy import HealthPolicy
from balancers.health.registry import HealthRegistry
from balancers.health.states import Admin, HealthState

__all__ = ["Admin", "HealthEvent", "HealthPolicy", "HealthRegistry", "HealthState", "ProbeResult"]
