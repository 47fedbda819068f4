"""Policies that go by a bulletin: true queue lengths, published every so often, read by everybody.

What a scraped metric is. Between two bulletins nobody knows more, whoever sent what, so it makes no
difference how many clients read it; one policy stands for all of them. They are references beside
the policies, to show what such information is worth and how fast it spoils:

* **bulletin, least**: the shortest published queue; all herd to it until the next bulletin.
* **bulletin, two choices**: the shorter of two drawn at random.
* **bulletin, interpreted**: drawn so that, after the requests expected until the next bulletin, all
  queues are level (basic load interpretation). The rate it needs is that of the requests so far,
  which servers can publish too.

Sources: Mitzenmacher, "How useful is old information?", 2000; Dahlin, "Interpreting stale load
information", 2000.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from itertools import accumulate
from typing import Any, TypeAlias, cast

from balancers import Balancer, Endpoint, NoEndpointError
from balancers.simulation.contenders import Contender
from balancers.simulation.oracles import Seat
from balancers.simulation.stage import Stage

__all__ = ["BULLETINS", "BulletinReader", "bulletin", "filled"]

_Pick: TypeAlias = Callable[[], int]
_Rule: TypeAlias = Callable[[Stage, Sequence[float], Sequence[float], float], _Pick]
"""From the stage, queues, speeds, and requests until the next bulletin, to who is next."""


def filled(queues: Sequence[float], speeds: Sequence[float], coming: float) -> list[float]:
    """Return how many of ``coming`` requests each should get for all to be level afterwards.

    Level in queue over speed; who is above the level gets none.

    Args:
        queues: Each ≥ 0.
        speeds: Each > 0.
        coming: ≥ 0.

    Runtime complexity: O(n log n).
    """
    order = sorted(range(len(queues)), key=lambda i: queues[i] / speeds[i])
    level: float = 0  # whole zeros, so that whatever counts exactly stays exact
    water: float = 0
    speed: float = 0
    for i in order:
        if speed and queues[i] / speeds[i] >= level:
            break
        water += queues[i]
        speed += speeds[i]
        level = (coming + water) / speed
    return [max(0, level * s - q) for q, s in zip(queues, speeds, strict=True)]


def _least(stage: Stage, queues: Sequence[float], speeds: Sequence[float], coming: float) -> _Pick:
    delays = [(q + 1.0) / s for q, s in zip(queues, speeds, strict=True)]
    least = min(delays)
    return partial(stage.rng.choice, [i for i, delay in enumerate(delays) if delay == least])


def _two(stage: Stage, queues: Sequence[float], speeds: Sequence[float], coming: float) -> _Pick:
    delays = [(q + 1.0) / s for q, s in zip(queues, speeds, strict=True)]
    everybody = range(len(delays))

    def pick() -> int:
        # Drawn in random order, so that the first of two that tie is either.
        return min(stage.rng.sample(everybody, min(2, len(delays))), key=delays.__getitem__)

    return pick


def _interpreted(
    stage: Stage, queues: Sequence[float], speeds: Sequence[float], coming: float
) -> _Pick:
    weights = list(accumulate(filled(queues, speeds, coming)))
    if not weights[-1]:  # so few that rounding leaves none
        return _least(stage, queues, speeds, coming)
    everybody = range(len(weights))
    return lambda: stage.rng.choices(everybody, cum_weights=weights)[0]


BULLETINS: dict[str, _Rule] = {
    "bulletin, least": _least,
    "bulletin, two choices": _two,
    "bulletin, interpreted": _interpreted,
}
"""Rules by name."""


class BulletinReader:
    """Sends requests by the queue lengths of the last bulletin.

    Invariant: ``_counts`` holds one cell an endpoint, the number of its open leases, which is
    what is published; ``_next`` is bound to the bulletin of ``_seen`` endpoints.

    Args:
        stage: What it plays on.
        every: Seconds between two bulletins, > 0.
        rule: One of ``BULLETINS``.
    """

    def __init__(self, stage: Stage, every: float, rule: _Rule) -> None:
        self._stage = stage
        self._every = every
        self._rule = rule
        self._sent = 0
        self._counts: dict[str, list[int]] = {}
        self.endpoints: tuple[Endpoint, ...] = ()
        self.update(stage.endpoints)
        stage.at(every, self._publish)

    def update(self, endpoints: Iterable[Endpoint]) -> None:
        """Replace the membership, and publish at once."""
        self.endpoints = tuple(endpoints)
        self._counts = {each.id: self._counts.get(each.id, [0]) for each in self.endpoints}
        self._read()

    def _publish(self, now: float) -> None:
        self._read()
        self._stage.at(now + self._every, self._publish)

    def _read(self) -> None:
        if not self.endpoints:
            return
        now = self._stage.clock.now
        # Before there is a rate to go by, one request for each.
        coming = self._sent / now * self._every if self._sent and now else len(self.endpoints)
        speeds = [each.weight or 1.0 for each in self.endpoints]
        queues = [self._counts[each.id][0] for each in self.endpoints]
        self._next = self._rule(self._stage, queues, speeds, coming)

    def pick(self, key: Any = None, *, exclude: Collection[str] = (), cost: float = 1.0) -> Seat:
        """Lease the endpoint the bulletin suggests.

        Raises:
            NoEndpointError: The membership is empty.
        """
        if not self.endpoints:
            raise NoEndpointError("no endpoint")
        chosen = self.endpoints[self._next()]
        self._sent += 1
        count = self._counts[chosen.id]
        count[0] += 1
        return Seat(chosen, count)

    def close(self) -> None:
        """Nothing to leave."""


def bulletin(name: str, every: float) -> Contender:
    """Return a reader of bulletins as a contender.

    Args:
        name: One of ``BULLETINS``.
        every: Seconds between two bulletins, > 0.

    Raises:
        ValueError: If the scenario publishes none (``every`` is 0).
    """
    if not every > 0.0:
        raise ValueError(f"{name!r} needs a fleet that publishes bulletins")
    return Contender(
        name,
        lambda stage: cast("Balancer", BulletinReader(stage, every, BULLETINS[name])),
        keyed=False,
        oracle=True,
    )
