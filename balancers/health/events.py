"""What happened, for those who want to know: events, their log, and their delivery."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from balancers.health.states import HealthState

__all__ = ["Batch", "Deliveries", "HealthEvent", "contained"]

log: logging.Logger = logging.getLogger("balancers")


@dataclass(frozen=True, slots=True)
class HealthEvent:
    """A change of one endpoint.

    Attributes:
        id: The endpoint.
        old: State before.
        new: State after; the same as ``old`` where the operator or the length of an
            ejection changed.
        reason: Why, in a phrase.
        at: When, on the registry's clock.
        until: When time alone ends the new state, None if time alone does not.
    """

    id: str
    old: HealthState
    new: HealthState
    reason: str
    at: float
    until: float | None


class Batch:
    """The events of one change, ready once every balancer shows it."""

    __slots__ = ("events", "ready")

    def __init__(self, events: list[HealthEvent]) -> None:
        self.events: list[HealthEvent] = events
        self.ready: bool = False


class Deliveries:
    """Calls subscribers in the order of events, one call at a time, outside every lock.

    A batch is queued under the registry's lock, which fixes the order, and marked ready
    later, when its balancers have been refreshed. Whoever finds the door open delivers what
    is ready at the head of the queue; everybody else leaves it to them.
    """

    __slots__ = ("_door", "_queue", "_subscribers")

    def __init__(self) -> None:
        self._queue: deque[Batch] = deque()
        self._subscribers: dict[object, Callable[[HealthEvent], object]] = {}
        self._door = threading.Lock()

    def subscribe(self, callback: Callable[[HealthEvent], object]) -> Callable[[], None]:
        """Add a subscriber; the result takes it out."""
        token = object()
        self._subscribers[token] = callback

        def unsubscribe() -> None:
            self._subscribers.pop(token, None)

        return unsubscribe

    def queue(self, batch: Batch) -> None:
        """Fix the place of a batch; called under the registry's lock."""
        if self._subscribers:
            self._queue.append(batch)

    def run(self) -> None:
        """Deliver what is ready, unless somebody is at it."""
        queue = self._queue
        while queue and queue[0].ready:
            if not self._door.acquire(blocking=False):
                return  # they look again after closing the door
            try:
                while queue and queue[0].ready:
                    for event in queue.popleft().events:
                        for callback in list(self._subscribers.values()):
                            contained("a health subscriber", callback, event)
            finally:
                self._door.release()

    def renew(self) -> None:
        """Start afresh in a forked child: the threads at the door, or to come, are not here."""
        self._door = threading.Lock()
        for batch in self._queue:
            batch.ready = True


def contained(what: str, call: Callable[..., object], *args: object) -> None:
    """Call somebody else's code; an ``Exception`` of its is logged and goes no further."""
    try:
        call(*args)
    except Exception:
        log.exception("%s raised", what)
