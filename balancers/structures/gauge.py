"""One endpoint on a ``ScoreBoard``."""

from __future__ import annotations

from collections.abc import Sized
from math import log
from typing import Generic, TypeVar

from balancers.structures.cost_estimate import CostEstimate
from balancers.structures.share_cap import Bucket

__all__ = ["LOG_LOAD", "MOST", "Gauge"]

Item = TypeVar("Item")

MOST = 1024

LOG_LOAD = [log(load + 1.0) for load in range(MOST)]
"""The logarithm of a load and one more, for loads below ``MOST``."""


class Gauge(Bucket, Generic[Item]):
    """What a board keeps of one endpoint, beside its bucket of tokens.

    Attributes:
        item: Whom it stands for.
        open: Its open leases: something with a length.
        estimate: What is known of it.
        known: Whether it has answered.
        score: Logarithm of the cost of a request over weight; meaningless while it is unknown.
        log_weight: Logarithm of the weight.
        entry: Its live entry among the remembered, or None.
        spot: Its place among the fresh, or -1.
        held: Until when it asked to be left alone; 0 if it did not.
        blame: What it adds to the errors of the sound; 0 if it is not counted.
    """

    __slots__ = (
        "blame",
        "entry",
        "estimate",
        "held",
        "item",
        "known",
        "log_weight",
        "open",
        "score",
        "spot",
    )

    def __init__(
        self, item: Item, serial: int, leases: Sized, estimate: CostEstimate, tokens: float
    ) -> None:
        super().__init__(serial, tokens)
        self.item: Item = item
        self.open: Sized = leases
        self.estimate: CostEstimate = estimate
        self.known: bool = False
        self.score: float = 0.0
        self.log_weight: float = 0.0
        self.entry: tuple[float, Gauge[Item]] | None = None
        self.spot: int = -1
        self.held: float = 0.0
        self.blame: float = 0.0

    def weigh(self, weight: float) -> None:
        """Give it a weight, > 0."""
        self.weight = weight
        self.log_weight = log(weight)
        self.score = self.estimate.log_cost - self.log_weight

    def copy(self) -> Gauge[Item]:
        """Return another gauge of the same standing, filed nowhere."""
        twin: Gauge[Item] = Gauge(self.item, self.serial, self.open, self.estimate, self.tokens)
        twin.weight, twin.mark = self.weight, self.mark
        twin.barred, twin.counted = self.barred, self.counted
        twin.known, twin.score, twin.log_weight = self.known, self.score, self.log_weight
        twin.spot, twin.held, twin.blame = self.spot, self.held, self.blame
        return twin
