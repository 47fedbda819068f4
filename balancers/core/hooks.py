"""Hooks that tell of a lease's end: an observer, the health registry."""

from __future__ import annotations

from balancers.core.lease import TrackedPick
from balancers.core.ledger import contained
from balancers.protocol import Observer, Outcome

__all__ = ["Watch", "tell_registry"]


class Watch:
    """The hook that tells one observer."""

    __slots__ = ("observer",)

    def __init__(self, observer: Observer) -> None:
        self.observer: Observer = observer

    def __call__(
        self,
        pick: TrackedPick,
        outcome: Outcome,
        latency: float | None,
        load: float | None,
        retry_after: float | None,
        /,
    ) -> None:
        """Tell of a settlement."""
        contained("observer's on_settle", self.observer.on_settle, pick, outcome, latency)


def tell_registry(
    pick: TrackedPick,
    outcome: Outcome,
    latency: float | None,
    load: float | None,
    retry_after: float | None,
    /,
) -> None:
    """The hook that tells the health registry."""
    entry = pick._cell.entry
    if entry is not None:
        entry.settle(outcome, latency, retry_after, pick._started)
