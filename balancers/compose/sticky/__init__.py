"""Session affinity over any policy."""

from balancers.compose.sticky.sticky import Sticky

__all__ = ["Sticky"]
