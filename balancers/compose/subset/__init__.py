"""Subsets of the endpoints: by client, or by what the endpoints are."""

from balancers.compose.subset.metadata import MetadataSubset, Selector
from balancers.compose.subset.subset import Subset

__all__ = ["MetadataSubset", "Selector", "Subset"]
