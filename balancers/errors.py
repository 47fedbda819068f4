"""Errors the library raises.

::

    BalancerError
     ├─ NoEndpointError            membership is empty
     ├─ NoEligibleEndpointError    nobody may be picked now; says when to come back, if known
     └─ InvalidEndpointError       bad membership; also a ValueError
"""

from __future__ import annotations

__all__ = [
    "BalancerError",
    "InvalidEndpointError",
    "NoEligibleEndpointError",
    "NoEndpointError",
]


class BalancerError(Exception):
    """Base of every error that is about balancing rather than about an argument."""


class NoEndpointError(BalancerError):
    """The membership is empty: no health change can help, only ``update``."""


class NoEligibleEndpointError(BalancerError):
    """Endpoints exist, but none may be picked by this call now.

    Attributes:
        retry_after: Seconds until the soonest endpoint may return, or None where nothing
            but a call of the operator or of ``update`` brings one back.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class InvalidEndpointError(BalancerError, ValueError):
    """A membership that cannot be balanced over; the message names the value and the rule."""
