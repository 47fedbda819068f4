"""Balancers made of balancers: tiers, zones, regions, subsets, sessions, limits.

Each is a balancer over the same endpoints, takes ``policy=`` for what it puts inside, and may
itself be put inside another::

    Regions(endpoints, policy=lambda e: Priority(e, policy=PeakEwma), locate=country_of)
"""

from balancers.compose.composite import Composite, PolicyFactory
from balancers.compose.geo import GeoAnswer, distance
from balancers.compose.limit import Limit, Ticket
from balancers.compose.local_first import LocalFirst
from balancers.compose.priority import Priority
from balancers.compose.regions import Regions
from balancers.compose.sticky import Sticky
from balancers.compose.strict_priority import StrictPriority
from balancers.compose.subset import MetadataSubset, Selector, Subset
from balancers.compose.zone_aware import ZoneAware
from balancers.compose.zone_weighted import ZoneWeighted

__all__ = [
    "Composite",
    "GeoAnswer",
    "Limit",
    "LocalFirst",
    "MetadataSubset",
    "PolicyFactory",
    "Priority",
    "Regions",
    "Selector",
    "Sticky",
    "StrictPriority",
    "Subset",
    "Ticket",
    "ZoneAware",
    "ZoneWeighted",
    "distance",
]
