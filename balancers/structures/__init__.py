"""The algorithms themselves, over ids and floats: no locks, no clock, no I/O.

Each structure is usable alone and at full speed; the policies are built on them.
"""

from balancers.structures.alias import AliasTable
from balancers.structures.chairman import ChairmanSchedule
from balancers.structures.ewma import Ewma, FadingEwma, PeakEwmaCell
from balancers.structures.jump import JumpHash, jump_hash
from balancers.structures.keyed import KeyedStructure
from balancers.structures.load_heap import LoadHeap
from balancers.structures.maglev import MaglevTable
from balancers.structures.movement import Movement
from balancers.structures.rendezvous import RendezvousHash
from balancers.structures.reported_load import ReportedLoad
from balancers.structures.ring import HashRing
from balancers.structures.sampling import DistinctSampler, distinct_indices
from balancers.structures.smooth import SmoothSchedule
from balancers.structures.weights import as_weights

__all__ = [
    "AliasTable",
    "ChairmanSchedule",
    "DistinctSampler",
    "Ewma",
    "FadingEwma",
    "HashRing",
    "JumpHash",
    "KeyedStructure",
    "LoadHeap",
    "MaglevTable",
    "Movement",
    "PeakEwmaCell",
    "RendezvousHash",
    "ReportedLoad",
    "SmoothSchedule",
    "as_weights",
    "distinct_indices",
    "jump_hash",
]
