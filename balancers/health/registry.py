"""``HealthRegistry``: one shared ledger of what probes, traffic and the operator said.

It does no I/O and starts no thread: it says which probes are due and is told what came of
them; balancers tell it how their leases ended, and read what follows from that.

::

    registry = HealthRegistry()
    balancer = LeastConnections(["a", "b", "c"], health=registry)
    for id in registry.due_probes():
        registry.record_probe(id, ok=my_probe(id))
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from random import Random
from typing import Any, NoReturn

from balancers.health.active import ProbeResult, answer, check_result
from balancers.health.attachment import Attachment
from balancers.health.caps import Group
from balancers.health.checks import checked_ids, checked_seconds
from balancers.health.engine import Engine
from balancers.health.entry import Entry
from balancers.health.events import HealthEvent
from balancers.health.policy import HealthPolicy
from balancers.health.report import describe
from balancers.health.states import Admin, HealthState
from balancers.protocol import Clock, Outcome, Unsubscribe

__all__ = ["HealthRegistry"]


class HealthRegistry(Engine):
    """Health of endpoints, shared by any number of balancers; thread-safe.

    Args:
        policy: Every threshold.
        clock: Seconds, never going backwards; a reading that does is taken for the last one.
        rng: Source of jitter; one of its own, freshly seeded, if None.

    Attributes:
        deadline: When time alone changes something next, ``math.inf`` if never; a pick that
            reads a later time calls ``advance``.

    Raises:
        TypeError: If an argument is of the wrong type.
    """

    def __init__(
        self,
        policy: HealthPolicy | None = None,
        *,
        clock: Clock = time.monotonic,
        rng: Random | None = None,
    ) -> None:
        if policy is not None and not isinstance(policy, HealthPolicy):
            raise TypeError(f"policy is a HealthPolicy, not {policy!r}")
        if not callable(clock):
            raise TypeError(f"clock is callable, not {clock!r}")
        if rng is not None and not isinstance(rng, Random):
            raise TypeError(f"rng is a random.Random or None, not {rng!r}")
        super().__init__(HealthPolicy() if policy is None else policy, clock, rng)
        self._tracked = Group(tracked=True)

    def __reduce__(self) -> NoReturn:
        # A copy would share entries and locks, and not know who is attached to the other.
        raise TypeError("a registry can be neither copied nor pickled: make another one")

    # -- what happened ---------------------------------------------------------------------

    def record(
        self,
        id: str,  # noqa: A002 - the field's standard name
        outcome: Outcome,
        *,
        latency: float | None = None,
        retry_after: float | None = None,
    ) -> bool:
        """Tell how a request ended that took no lease; balancers tell of their own.

        Args:
            id: The endpoint.
            outcome: CANCELLED says nothing.
            latency: Seconds the answer took, ≥ 0.
            retry_after: Seconds the server asked to be left alone, ≥ 0.

        Returns:
            False if nobody holds the id.

        Raises:
            TypeError: For a value of the wrong type.
            ValueError: For a number that is negative, NaN or infinite.

        Runtime complexity: O(1) for a success that says nothing new, else O(log n), and
        what the balancers rebuild if it changes anything.
        """
        if not isinstance(outcome, Outcome):
            raise TypeError(f"outcome is an Outcome, not {outcome!r}")
        checked_seconds("latency", latency)
        checked_seconds("retry_after", retry_after)
        known = self._members.entries.get(id)
        if (
            known is not None
            and known.quiet
            and outcome is Outcome.SUCCESS
            and retry_after is None
            and not self._gone
            and self.clock() < self.deadline
        ):
            known.pool.good += 1  # nothing new; what ``Entry.settle`` would do
            return True

        def work(now: float) -> bool:
            entry = self._members.entries.get(id)
            if entry is None:
                return False
            if outcome is not Outcome.CANCELLED:
                self._passive.outcome(entry, outcome, latency, retry_after, None, now)
            return True

        return self._run(work)

    def record_probe(
        self,
        id: str,  # noqa: A002
        ok: bool,
        *,
        degraded: bool = False,
        latency: float | None = None,
    ) -> bool:
        """Tell how a probe ended.

        Args:
            id: The endpoint.
            ok: Whether it passed; a timeout is a failure.
            degraded: Whether the endpoint, though answering, would rather not be used.
            latency: Seconds the answer took, ≥ 0.

        Returns:
            False if nobody holds the id.

        Raises:
            TypeError: For a value of the wrong type.
            ValueError: For a latency that is negative, NaN or infinite.

        Runtime complexity: O(log n), and what the balancers rebuild if it changes anything.
        """
        result = ProbeResult(id, ok, degraded, latency)
        check_result(result)
        return self._run(lambda now: self._probed(result, now))

    def record_probes(self, results: Iterable[ProbeResult]) -> int:
        """Tell how several probes ended, in order, as one change.

        Balancers are refreshed once for all of them: where a thousand endpoints go down
        together, that is a thousandth of the work.

        Returns:
            How many of the ids somebody holds.

        Raises:
            TypeError: For a value of the wrong type; then none of the results counts.
            ValueError: For a latency out of range; likewise.
        """
        results = [ProbeResult(*result) for result in results]
        for result in results:
            check_result(result)
        return self._run(lambda now: sum(self._probed(result, now) for result in results))

    def _probed(self, result: ProbeResult, now: float) -> bool:
        name, ok, degraded, latency = result
        entry = self._members.entries.get(name)
        if entry is None:
            return False
        answer(self._machine, entry, ok, degraded, latency, now)
        self._machine.spare(now)
        self._probes.answered(entry, now)
        return True

    def set_admin(
        self,
        id: str,  # noqa: A002
        admin: Admin,
        *,
        timeout: float | None = None,
    ) -> None:
        """Note the operator's word; it outlives membership and may come before it.

        ENABLED restores what health says at once, without grace or ramp.

        Args:
            id: The endpoint.
            admin: ENABLED, DRAINING (no new picks; open leases and, by option, sticky
                sessions go on) or DISABLED.
            timeout: Seconds after which DRAINING becomes DISABLED; by default the policy's
                ``drain_timeout``.

        Raises:
            TypeError: For a value of the wrong type.
            ValueError: For a timeout out of range, or with another word than DRAINING.
        """
        if not isinstance(id, str):
            raise TypeError(f"an endpoint id is a str, not {id!r}")
        if not isinstance(admin, Admin):
            raise TypeError(f"admin is an Admin, not {admin!r}")
        checked_seconds("timeout", timeout)
        if timeout is not None and admin is not Admin.DRAINING:
            raise ValueError(f"a timeout goes with DRAINING, not with {admin.name}")
        if timeout is None:
            timeout = self.policy.drain_timeout
        self._run(lambda now: self._members.order(id, admin, timeout, now))

    # -- what is known ---------------------------------------------------------------------

    def state(self, id: str) -> HealthState:  # noqa: A002
        """Return the health of an endpoint now.

        Raises:
            KeyError: If nobody holds the id.
        """
        return self._run(lambda now: self._known(id).state)

    def admin(self, id: str) -> Admin:  # noqa: A002
        """Return the operator's word about an endpoint, held or not."""
        return self._run(lambda now: self._members.admin(id, now))

    def drained(self, id: str) -> bool:  # noqa: A002
        """Whether an endpoint can be taken away without hurting anybody.

        It can when the operator has it DRAINING or DISABLED and no attached balancer has a
        lease open on it, or when its drain timeout is over; an id nobody holds can, too.
        """

        def work(now: float) -> tuple[bool, list[Attachment]]:
            entry = self._members.entries.get(id)
            if entry is None or self._members.overdue(id, now):
                return True, []
            owners = [group.owner() for group in entry.holders if group.owner is not None]
            holders = [attachment for attachment in owners if attachment is not None]
            return self._members.admin(id, now) is not Admin.ENABLED, holders

        gone, holders = self._run(work)
        return gone and not any(attachment.in_flight(id) for attachment in holders)

    def events(self, id: str | None = None) -> tuple[HealthEvent, ...]:  # noqa: A002
        """Return the events remembered, oldest first; of one endpoint if named. O(events)."""
        return self._run(lambda now: tuple(e for e in self._log if id is None or e.id == id))

    def snapshot(self) -> dict[str, Any]:
        """Return everything known as plain JSON values. O(n)."""

        def work(now: float) -> dict[str, Any]:
            machine = self._machine
            deadline = self._next_change()
            return {
                "at": now,
                "deadline": None if deadline == math.inf else deadline,
                "serving": machine.serving,
                "pool_failure_rate": machine.pool.overall(),
                "endpoints": {
                    name: describe(entry, machine, self._probes)
                    for name, entry in self._members.entries.items()
                },
            }

        return self._run(work)

    def subscribe(self, callback: Callable[[HealthEvent], object]) -> Unsubscribe:
        """Call ``callback(event)`` after each event.

        Calls come after every balancer shows the change, outside every lock, in the order of
        events, one at a time; an exception is logged and contained.
        """
        if not callable(callback):
            raise TypeError(f"callback is callable, not {callback!r}")
        return self._deliveries.subscribe(callback)

    # -- who is watched --------------------------------------------------------------------

    def track(self, ids: Iterable[str]) -> None:
        """Hold these ids, and of those tracked before no others. O(n).

        For whoever uses the registry without a balancer, or before one.

        Raises:
            TypeError: For a bare str, or an id that is none.
        """
        weights = dict.fromkeys(checked_ids(ids), 1.0)
        self._run(lambda now: self._members.hold(self._tracked, weights, now))

    def _known(self, name: str) -> Entry:
        entry = self._members.entries.get(name)
        if entry is None:
            raise KeyError(f"no balancer holds, and nobody tracks, the id {name!r}")
        return entry

    def due_probes(self, *, limit: int | None = None) -> list[str]:
        """Return the ids to probe now, and expect their ``record_probe``.

        Args:
            limit: How many at most; the rest stay due.

        Raises:
            TypeError: If ``limit`` is not a whole number.
            ValueError: If it is negative.

        Runtime complexity: O(k log n) for k ids.
        """
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int)):
            raise TypeError(f"limit is a whole number or None, not {limit!r}")
        if limit is not None and limit < 0:
            raise ValueError(f"limit must be ≥ 0, not {limit!r}")
        most = math.inf if limit is None else limit
        return self._run(lambda now: [entry.id for entry in self._probes.take(now, most)])

    def next_deadline(self) -> float:
        """When something is due next, a probe or a change; ``math.inf`` if never."""
        return self._run(lambda now: min(self._next_change(), self._probes.next()))

    def tick(self) -> None:
        """Do what time has made due; for whoever wants it done before the next pick."""
        self._run(lambda now: None)
