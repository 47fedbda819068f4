"""``Ticket``: a place in the queue of a ``Limit``."""

from __future__ import annotations

from collections.abc import Callable, Collection
from threading import Lock
from typing import TYPE_CHECKING

from balancers.core.lease import Pick
from balancers.core.ledger import contained
from balancers.hashing import Key
from balancers.protocol import Outcome

if TYPE_CHECKING:
    from balancers.compose.limit.waiting import Waiting

__all__ = ["Ticket"]


class Ticket:
    """A request for a pick: granted, waiting, or given up.

    It does no waiting of its own: ``Limit.acquire`` waits for it on a thread, and
    ``balancers.adapters.waiting.acquire`` in an event loop.

    Attributes:
        key: As given to ``enqueue``, like ``exclude`` and ``cost``.
        pick: The lease, once it is granted.
    """

    __slots__ = ("_callback", "_limit", "_lock", "cost", "exclude", "key", "pick")

    def __init__(
        self, limit: Waiting, key: Key | None, exclude: Collection[str], cost: float
    ) -> None:
        self._limit = limit
        self._lock = Lock()  # guards _callback beside the answer
        self._callback: Callable[[], object] | None = None
        self.key: Key | None = key
        self.exclude: Collection[str] = exclude
        self.cost: float = cost
        self.pick: Pick | None = None

    def then(self, callback: Callable[[], object]) -> None:
        """Call ``callback()`` once the pick is there: at once if it is already.

        It runs on the thread that settled the lease which made room, outside every lock; an
        exception is logged and contained. A second callback takes the place of the first.
        """
        with self._lock:
            if self.pick is None:
                self._callback = callback
                return
        contained("a ticket's callback", callback)

    def cancel(self) -> bool:
        """Leave the queue.

        Returns:
            True if the ticket was waiting; False if it had its pick, which is then the caller's
            to settle, or had been cancelled before.
        """
        return self._limit._give_up(self)

    def abandon(self) -> None:
        """Leave the queue, or settle the pick as CANCELLED if it has come."""
        if not self.cancel() and self.pick is not None:
            self.pick.done(Outcome.CANCELLED)

    def _answer(self) -> None:
        """Tell that the pick has come; called once, outside the limit's lock."""
        with self._lock:
            callback, self._callback = self._callback, None
        if callback is not None:
            contained("a ticket's callback", callback)
