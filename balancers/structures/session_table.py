"""A table of sessions: bounded in number, each forgotten after a time without use."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import NamedTuple

__all__ = ["Session", "SessionTable"]


class Session(NamedTuple):
    """Where a session is served.

    Attributes:
        home: The id it was first placed on, or moved to for good.
        now: The id that serves it: its home, or who stands in.
    """

    home: str
    now: str


class SessionTable:
    """Sessions by key, the least recently used forgotten first.

    Invariants (checked by ``_check``):

    1. There are at most ``limit`` sessions.
    2. They are kept in the order of their last use, the oldest first, so that both bounds take
       from one end.

    Args:
        idle: Seconds without use after which a session is forgotten, > 0.
        limit: How many are remembered, ≥ 1.

    The caller gives the time in seconds, and does the locking. A time before the latest one,
    read before another thread's, counts as that.
    """

    __slots__ = ("_entries", "_latest", "evicted", "idle", "limit")

    def __init__(self, idle: float, limit: int) -> None:
        self.idle: float = idle
        self.limit: int = limit
        self.evicted: int = 0
        self._latest = -math.inf
        self._entries: OrderedDict[bytes, tuple[Session, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: bytes, now: float) -> Session | None:
        """Return the session, if it is not idle for too long; changes nothing. O(1)."""
        found = self._entries.get(key)
        return None if found is None or now - found[1] >= self.idle else found[0]

    def put(self, key: bytes, session: Session, now: float) -> None:
        """Note where the session is served, as used now. O(1) amortised."""
        entries = self._entries
        self._latest = now = max(now, self._latest)
        entries[key] = (session, now)
        entries.move_to_end(key)
        while len(entries) > self.limit:
            entries.popitem(last=False)
            self.evicted += 1
        self.expire(now)

    def expire(self, now: float) -> None:
        """Forget the sessions idle for too long. O(1) amortised."""
        entries = self._entries
        while entries and now - next(iter(entries.values()))[1] >= self.idle:
            entries.popitem(last=False)

    def counts(self) -> dict[str, int]:
        """Return how many sessions each id serves. O(sessions)."""
        counts: dict[str, int] = {}
        for session, _ in self._entries.values():
            counts[session.now] = counts.get(session.now, 0) + 1
        return counts

    def _check(self) -> None:
        used = [at for _, at in self._entries.values()]
        assert used == sorted(used)
        assert len(used) <= self.limit
