"""Subsets of the endpoints: by client, or by what the endpoints are."""

from balancers.compose.subset.subset import Subset

__all__ = ["Subset"]
