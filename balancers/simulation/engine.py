"""The event loop: one policy, its servers, and time that moves only when told.

Arrivals come in batches, in order of time. What happens between two arrivals waits in one heap:
the ends of requests, and timers. Before an arrival is placed, everything due by then is settled,
so a policy sees exactly the leases that are open at that moment. At equal times an end precedes an
arrival, and of two ends the one that was scheduled first.

The loop never looks at the real clock and draws no random numbers; a run is a function of the
batches and of the stage's rng.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import replace
from heapq import heappop, heappush
from itertools import repeat
from typing import Any

from balancers import (
    Balancer,
    Endpoint,
    NoEligibleEndpointError,
    NoEndpointError,
    Outcome,
    Pick,
)
from balancers.simulation.keys import adapter
from balancers.simulation.quantiles import LatencyHistogram
from balancers.simulation.servers import Reply, Server, ServerFactory
from balancers.simulation.stage import Batch, Build, SimulatedClock, Stage, Timer, Watch
from balancers.simulation.timeline import Slice, Slicing

__all__ = ["Batch", "Build", "Run", "SimulatedClock", "Stage", "Timer", "Watch"]

_SUCCESS = Outcome.SUCCESS


class Run:
    """One policy, in as many copies as there are clients, in front of its own servers.

    Invariants, between calls:
        1. ``started`` = ``settled`` + open leases (on the heap or in ``_held``).
        2. ``arrived`` = ``started`` + ``refused``.
        3. The histogram holds one latency for every lease that ended, or will end, in SUCCESS;
           ``failed`` counts the others. If the run is sliced, the slices hold them until
           ``finish`` puts them together.

    Attributes:
        ended: After ``finish``: simulated time of the last arrival or end.
        first: Times to the first byte, of models that tell it.
        retired: Servers replaced by ``join``, with their ids.
        slices: The run by time, if it is sliced.

    Args:
        build: Makes the policy from the stage.
        endpoints: The membership; weights are speeds, unless ``servers`` says otherwise.
        servers: Makes one model an endpoint.
        seed: Text or number; the same seed gives the same run, in every process.
        keyed: Whether the policy is handed the keys; one that ignores them is spared them.
        key_kind: What kind of keys it takes, see ``keys.adapter``.
        clients: Independent copies of the policy, ≥ 1; each sees its own requests alone.
        slicing: How to cut the run in time; None for not at all.
        watch: Called after every part of a batch with the keys as the workload made them and
            the ids they went to, None where nobody took the request.

    Runtime complexity: O(log open leases) a request, besides the policy's own.
    """

    __slots__ = (
        "_adapt",
        "_events",
        "_factory",
        "_held",
        "_keyed",
        "_records",
        "_serial",
        "_serve",
        "_slicing",
        "_watch",
        "arrived",
        "balancers",
        "clock",
        "ended",
        "failed",
        "first",
        "histogram",
        "refused",
        "retired",
        "servers",
        "settled",
        "slices",
        "stage",
        "started",
    )

    def __init__(
        self,
        build: Build,
        endpoints: tuple[Endpoint, ...],
        servers: ServerFactory,
        *,
        seed: str | int = 0,
        keyed: bool = True,
        key_kind: str = "any",
        clients: int = 1,
        slicing: Slicing | None = None,
        watch: Watch | None = None,
    ) -> None:
        self.clock: SimulatedClock = SimulatedClock()
        self._events: list[tuple[float, int, Any, Any]] = []  # (time, serial, lease, outcome)
        self._held: dict[int, tuple[Pick, float]] = {}
        self._serial = 0
        self._keyed = keyed
        self._adapt = adapter(key_kind) if keyed else None
        self._slicing = slicing
        self._watch = watch
        self.slices: list[Slice] = [Slice() for _ in range(slicing.count)] if slicing else []
        self._records: list[list[float]] = [[] for _ in range(slicing.count if slicing else 1)]
        self.histogram: LatencyHistogram = LatencyHistogram()
        self.first: LatencyHistogram = LatencyHistogram()
        self.arrived: int = 0
        self.started: int = 0
        self.settled: int = 0
        self.refused: int = 0
        self.failed: int = 0
        self.ended: float = 0.0
        self.servers: dict[str, Server] = {}
        self.retired: list[tuple[str, Server]] = []
        self.stage: Stage = Stage(
            endpoints=endpoints,
            clock=self.clock,
            rng=random.Random(seed),
            servers=self.servers,
            at=self.at,
            complete=self.complete,
            respond=self.respond,
            join=self.join,
        )
        self._factory = servers
        self._serve: dict[str, Callable[[float, float, Any, int], Reply | None]] = {}
        for endpoint in endpoints:
            self.join(endpoint)
        others = (
            replace(self.stage, rng=random.Random(f"{seed}/client/{i}")) for i in range(1, clients)
        )
        self.balancers: list[Balancer] = [build(stage) for stage in (self.stage, *others)]

    @property
    def balancer(self) -> Balancer:
        """The policy of the first client."""
        return self.balancers[0]

    def join(self, endpoint: Endpoint) -> None:
        """Put a fresh server behind ``endpoint``, before it is added to the policy.

        A server of the same id retires; the requests it took still end.
        """
        server = self._factory(endpoint, self.stage)
        if endpoint.id in self.servers:
            self.retired.append((endpoint.id, self.servers[endpoint.id]))
        self.servers[endpoint.id] = server
        self._serve[endpoint.id] = server.serve

    def total(self, what: str) -> dict[str, float]:
        """Return the sum of a server's attribute by endpoint id, the retired included.

        Servers without it count as 0.
        """
        found = {id_: float(getattr(server, what, 0)) for id_, server in self.servers.items()}
        for id_, server in self.retired:
            found[id_] += getattr(server, what, 0)
        return found

    def update(self, endpoints: Iterable[Endpoint]) -> None:
        """Give every client's policy a new membership."""
        members = list(endpoints)
        for balancer in self.balancers:
            balancer.update(members)

    def at(self, time: float, timer: Timer) -> None:
        """Call ``timer(time)`` when simulated time reaches ``time``; not before now.

        Raises:
            ValueError: If ``time`` is in the past or no number.
        """
        if not time >= self.clock.now:
            raise ValueError(f"a timer must not be set before now ({self.clock.now}), at {time}")
        self._serial += 1
        heappush(self._events, (time, self._serial, None, timer))

    def respond(self, ticket: int) -> None:
        """Tell, now, that the first byte of a request is out whose server returned None.

        Raises:
            KeyError: If the ticket is not open.
        """
        lease, arrived = self._held[ticket]
        lease.responded()
        self.first.add_all((self.clock.now - arrived,))

    def complete(self, ticket: int, outcome: Outcome = _SUCCESS) -> None:
        """End, now, a request whose server returned None.

        Raises:
            KeyError: If the ticket is not open.
        """
        lease, arrived = self._held.pop(ticket)
        lease.done(outcome)
        self.settled += 1
        index = self._slicing.index(arrived) if self._slicing else 0
        if outcome is _SUCCESS:
            self._records[index].append(self.clock.now - arrived)
        else:
            self.failed += 1
            if self.slices:
                self.slices[index].lost += 1

    def feed(self, batch: Batch) -> None:
        """Play a batch of arrivals.

        Whatever the policy raises, other than "nobody is there", passes through and leaves the
        run unusable.
        """
        slicing, times = self._slicing, batch.times
        if slicing is None:
            self._play(batch, 0)
        else:
            start = 0
            while start < len(times):
                index = slicing.index(times[start])
                # At least one, whatever the last bit of a product says of the edge.
                stop = max(start + 1, bisect_left(times, slicing.end(index), start))
                lost = self.refused + self.failed
                self._play(_part(batch, start, stop), index)
                found = self.slices[index]
                found.arrived += stop - start
                found.lost += self.refused + self.failed - lost
                start = stop
        self._fold()

    def _play(self, batch: Batch, index: int) -> None:
        # Every name used a million times is local; the tuple on the heap is the one allocation
        # a request costs beside its lease.
        events, clock, held, serve = self._events, self.clock, self._held, self._serve
        picks, record = [each.pick for each in self.balancers], self._records[index].append
        pick = picks[0]
        many = len(picks) > 1 and batch.clients is not None
        watch = self._watch
        chosen: list[str | None] = []
        started = settled = refused = failed = 0
        raw: Iterable[Any] = batch.keys
        keys: Iterable[Any] = raw
        if not self._keyed:
            keys = repeat(None, len(batch.times))
        elif self._adapt is not None:
            keys = self._adapt(batch.keys)
        clients = batch.clients if many and batch.clients else repeat(0, len(batch.times))
        for now, key, demand, what_for, client in zip(
            batch.times, keys, batch.demands, raw, clients, strict=True
        ):
            while events and events[0][0] <= now:
                clock.now, _, lease, what = heappop(events)
                if lease is None:
                    what(clock.now)
                else:
                    settled += lease.done(what)
            clock.now = now
            if many:
                pick = picks[client]
            try:
                lease = pick(key)
            except (NoEligibleEndpointError, NoEndpointError):
                refused += 1
                if watch is not None:
                    chosen.append(None)
                continue
            started += 1
            # Models and timers draw serials too, so the counter lives on the instance.
            self._serial = serial = self._serial + 1
            target = lease.endpoint.id
            if watch is not None:
                chosen.append(target)
            reply = serve[target](now, demand, what_for, serial)
            if reply is None:
                held[serial] = lease, now
                continue
            end, outcome = reply
            heappush(events, (end, serial, lease, outcome))
            if outcome is _SUCCESS:
                record(end - now)
            else:
                failed += 1
        self.arrived += len(batch.times)
        self.started += started
        self.settled += settled
        self.refused += refused
        self.failed += failed
        if watch is not None:
            watch(batch.keys, chosen)

    def finish(self) -> None:
        """Let every open request end; timers beyond that are dropped.

        Raises:
            RuntimeError: If a server keeps a request and nothing will ever end it.
        """
        events, clock = self._events, self.clock
        while self.settled < self.started:
            if not events:
                raise RuntimeError(f"{len(self._held)} requests were taken and never completed")
            clock.now, _, lease, what = heappop(events)
            if lease is None:
                what(clock.now)
            else:
                self.settled += lease.done(what)
        events.clear()
        self.ended = clock.now
        self._fold()
        for part in self.slices:
            self.histogram.merge(part.latencies)

    def close(self) -> None:
        """Close every client's policy."""
        for balancer in self.balancers:
            balancer.close()

    def _fold(self) -> None:
        for index, records in enumerate(self._records):
            if records:
                target = self.slices[index].latencies if self.slices else self.histogram
                target.add_all(records)
                records.clear()

    def _check(self) -> None:
        on_heap = sum(1 for event in self._events if event[2] is not None)
        assert self.started == self.settled + on_heap + len(self._held)
        assert self.arrived == self.started + self.refused
        parts = [self.histogram] if self.histogram.count else [s.latencies for s in self.slices]
        answered = sum(part.count for part in parts)
        assert answered + self.failed + len(self._held) == self.started
        assert not self.slices or self.arrived == sum(part.arrived for part in self.slices)


def _part(batch: Batch, start: int, stop: int) -> Batch:
    if not start and stop == len(batch.times):
        return batch
    cut = slice(start, stop)
    clients = None if batch.clients is None else batch.clients[cut]
    return Batch(batch.times[cut], batch.keys[cut], batch.demands[cut], clients)
