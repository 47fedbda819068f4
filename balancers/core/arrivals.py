"""Requests on the way to one endpoint: the work they bring, and the beginnings it will cache."""

from __future__ import annotations

from collections.abc import Sequence

from balancers.core.lease import Pick, TrackedPick
from balancers.core.ledger import Cell
from balancers.protocol import Outcome
from balancers.structures.prefix_memory import PrefixMemory

__all__ = ["Arrival", "Arrivals"]


class Arrival:
    """One request: the hook that its lease tells of its end.

    Attributes:
        work: Blocks it leaves to compute, ≥ 1.
        serial: Of its lease.
    """

    __slots__ = ("_fresh", "_home", "serial", "work")

    def __init__(self, home: Arrivals, work: int, fresh: Sequence[bytes]) -> None:
        self._home = home
        self._fresh = fresh  # beginnings that the endpoint remembers because of this request
        self.work: int = work
        self.serial: int = -1

    def queue(self, pick: Pick) -> None:
        """Count the work as waiting, as long as the lease is open and has not responded."""
        self.serial = pick._serial
        self._home.waiting[self] = None

    def __call__(
        self,
        pick: TrackedPick,
        outcome: Outcome,
        latency: float | None,
        load: float | None,
        retry_after: float | None,
        /,
    ) -> None:
        """Count the work no more; after a failure, forget what only this request brought."""
        self._home.waiting.pop(self, None)
        if outcome is Outcome.FAILURE:
            self._home.memory.forget(self._fresh)


class Arrivals:
    """What waits at one endpoint, and what it probably has cached; a fact of its cell.

    Args:
        memory: Beginnings to remember, ≥ 2.

    Invariants:
        1. ``waiting`` holds requests whose leases are open and have not responded.
        2. A request that failed has left nothing in ``memory`` that was not there before it.
    """

    __slots__ = ("memory", "waiting")

    def __init__(self, memory: int) -> None:
        self.memory: PrefixMemory[None] = PrefixMemory(memory)
        self.waiting: dict[Arrival, None] = {}

    def follow(self, cell: Cell) -> None:
        """Have the cell tell of responses. O(1)."""
        cell.watch(self._fell)

    def queued(self) -> int:
        """Return the blocks that wait to be computed. O(waiting requests)."""
        return sum([arrival.work for arrival in list(self.waiting)])

    def expect(self, work: int, digests: Sequence[bytes]) -> Arrival:
        """Remember the beginnings of a request that is about to be sent. O(digests)."""
        arrival = Arrival(self, work, digests[self.memory.depth(digests) :])
        self.memory.note(digests, None)
        return arrival

    def _fell(self, news: Pick | Cell) -> None:
        if isinstance(news, Cell):  # somebody has responded, and may be told by a cost of 0
            for arrival in list(self.waiting):
                if news.costs.get(arrival.serial) == 0.0:
                    self.waiting.pop(arrival, None)

    def _check(self, cell: Cell) -> None:
        assert all(arrival.serial in cell.open for arrival in self.waiting)
        assert not any(cell.costs.get(arrival.serial) == 0.0 for arrival in self.waiting)
