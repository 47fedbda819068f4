"""Placements of other systems: the same key goes to the same server as there.

Each is a structure like the native ones (``owner``, ``owners``, ``successors``, ``shares``,
``moved``, …). They follow their system in everything, the order of the members included; what
they do not take over is health: a structure knows members only.
"""

from balancers.structures.placement.base import PlacedRing
from balancers.structures.placement.envoy import EnvoyRing, GrpcRing
from balancers.structures.placement.envoy_maglev import EnvoyMaglev
from balancers.structures.placement.haproxy import HaproxyRing
from balancers.structures.placement.ketama import KetamaRing
from balancers.structures.placement.nginx import NginxRing

__all__ = [
    "EnvoyMaglev",
    "EnvoyRing",
    "GrpcRing",
    "HaproxyRing",
    "KetamaRing",
    "NginxRing",
    "PlacedRing",
]
