"""One endpoint on a ``ScoreBoard``."""

from __future__ import annotations

from collections.abc import Sized
from math import inf, log
from typing import Generic, TypeVar

from balancers.structures.cost_estimate import CostEstimate
from balancers.structures.share_cap import Bucket

__all__ = ["Gauge"]

Item = TypeVar("Item")

_NEVER = -inf  # one object for all gauges: each takes another for every minus sign


class Gauge(Bucket, Generic[Item]):
    """What a board keeps of one endpoint, beside its bucket of tokens.

    Attributes:
        item: Whom it stands for.
        open: Its open leases: something with a length.
        estimate: What is known of it.
        known: Whether it has answered.
        score: Logarithm of the cost of a request over weight; meaningless while it is unknown.
        log_weight: Logarithm of the weight.
        steady: Whether the next success can be taken note of the quick way: nothing of its past
            but latencies counts.
        entry: Its live entry among the remembered, or None.
        spot: Its place among the fresh, or -1.
        held: Until when it asked to be left alone; 0 if it did not.
        bonus: What its score is lowered by while it is idle, ≤ 0; see ``Turns``.
        blame: Its mean share of errors as the board has last counted it.
        picked: Time of its last pick, seconds; -infinity before the first.
        gap: Seconds between its last two picks; infinity before the second.
    """

    __slots__ = (
        "blame",
        "bonus",
        "entry",
        "estimate",
        "gap",
        "held",
        "item",
        "known",
        "log_weight",
        "open",
        "picked",
        "score",
        "spot",
        "steady",
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
        self.steady: bool = False
        self.held: float = 0.0
        self.blame: float = 0.0
        self.bonus: float = 0.0
        self.picked: float = _NEVER
        self.gap: float = inf

    @property
    def log_cost(self) -> float:
        """Logarithm of the cost of a request in seconds; meaningless while it is unknown."""
        return self.score + self.log_weight

    def weigh(self, weight: float) -> None:
        """Give it a weight, > 0."""
        log_cost = self.log_cost
        self.weight = weight
        self.log_weight = log(weight)
        if self.known:
            self.score = log_cost - self.log_weight

    def copy(self) -> Gauge[Item]:
        """Return another gauge of the same standing, filed nowhere."""
        twin: Gauge[Item] = Gauge(self.item, self.serial, self.open, self.estimate, self.tokens)
        twin.weight, twin.mark = self.weight, self.mark
        twin.barred, twin.counted = self.barred, self.counted
        twin.known, twin.score, twin.log_weight = self.known, self.score, self.log_weight
        twin.spot, twin.held = self.spot, self.held
        twin.blame, twin.bonus = self.blame, self.bonus
        twin.picked, twin.gap = self.picked, self.gap
        return twin
