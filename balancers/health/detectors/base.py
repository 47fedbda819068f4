"""What a passive detector is: something that watches the outcomes of one endpoint."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Detector"]


class Detector(Protocol):
    """Watches one endpoint; told of every outcome that may matter, under the registry's lock.

    A success that finds every detector ``quiet`` is not told: that is what makes the usual
    request cost nothing.
    """

    __slots__ = ()

    @property
    def quiet(self) -> bool:
        """Whether a success would change nothing."""
        ...

    def failed(self, at: float) -> str | None:
        """Learn of a failure; return why the endpoint should be ejected, or None."""
        ...

    def succeeded(self, at: float, latency: float | None) -> None:
        """Learn of a success, and its seconds if known."""
        ...

    def reset(self) -> None:
        """Forget everything: the endpoint was ejected, or comes back."""
        ...

    def report(self) -> dict[str, float]:
        """Numbers for the snapshot."""
        ...
