"""The algorithms themselves, over ids and floats: no locks, no clock, no I/O.

Each structure is usable alone and at full speed; the policies are built on them.
"""

from balancers.structures.jump import JumpHash, jump_hash
from balancers.structures.keyed import KeyedStructure
from balancers.structures.maglev import MaglevTable
from balancers.structures.movement import Movement
from balancers.structures.rendezvous import RendezvousHash
from balancers.structures.ring import HashRing
from balancers.structures.weights import as_weights

__all__ = [
    "HashRing",
    "JumpHash",
    "KeyedStructure",
    "MaglevTable",
    "Movement",
    "RendezvousHash",
    "as_weights",
    "jump_hash",
]
