"""The words health is told in."""

from __future__ import annotations

import enum

__all__ = ["Admin", "HealthState"]


class HealthState(enum.Enum):
    """What the registry thinks of an endpoint, the operator's word apart."""

    UNKNOWN = "unknown"
    """Nothing seen yet; eligible unless the policy asks for a probe first."""
    HEALTHY = "healthy"
    DEGRADED = "degraded"
    """Answers, but says it would rather not; eligible."""
    UNHEALTHY = "unhealthy"
    """Probes fail; not eligible."""
    EJECTED = "ejected"
    """Traffic failed; not eligible until its time is served."""
    PROBATION = "probation"
    """Time served: a bounded number of picks decides."""
    GRACE = "grace"
    """Probes pass again, but not for long enough yet; not eligible."""
    RAMPING = "ramping"
    """Back, on a growing share."""


class Admin(enum.Enum):
    """What the operator said of an endpoint."""

    ENABLED = "enabled"
    DRAINING = "draining"
    """No new picks; open leases and, by option, sticky sessions go on."""
    DISABLED = "disabled"
    """No picks at all."""
