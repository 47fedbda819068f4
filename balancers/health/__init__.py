"""Health: what probes saw, what traffic saw, and what the operator said."""

from balancers.health.states import Admin, HealthState

__all__ = ["Admin", "HealthState"]
