"""Models of the machine behind an endpoint: queues, sharing, faults, language-model engines.

Each is a ``Server`` (see ``servers``); a factory of one takes the endpoint and the stage.
"""

from balancers.simulation.models.faults import KINDS, Fault, FaultyServer
from balancers.simulation.models.llm import EngineSpec, LlmServer, PrefixCache
from balancers.simulation.models.profile import Profile, noisy, steady, warming
from balancers.simulation.models.queue import QueueServer
from balancers.simulation.models.sharing import SharingServer

__all__ = [
    "KINDS",
    "EngineSpec",
    "Fault",
    "FaultyServer",
    "LlmServer",
    "PrefixCache",
    "Profile",
    "QueueServer",
    "SharingServer",
    "noisy",
    "steady",
    "warming",
]
