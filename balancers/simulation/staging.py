"""From a scenario to things that run: endpoints, machines, arrivals, and what happens when.

Chance is split by purpose and seeded by the cell's seed, never by the policy: every policy meets
the same arrivals, the same work, and machines that are slow at the same times.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from balancers import Endpoint
from balancers.simulation.engine import Run, Stage
from balancers.simulation.formats import access_log, json_lines, llm_lines
from balancers.simulation.models import (
    KINDS,
    Fault,
    FaultyServer,
    LlmServer,
    Profile,
    QueueServer,
    SharingServer,
    noisy,
    steady,
    warming,
)
from balancers.simulation.prompts import PromptWorkload
from balancers.simulation.scenario import Event, Fleet, Group, Scenario
from balancers.simulation.servers import FifoServer, Server, ServerFactory
from balancers.simulation.service import parse_law
from balancers.simulation.trace import TraceFile, TraceWorkload
from balancers.simulation.traffic import Crowd, Surging
from balancers.simulation.workload import SyntheticWorkload, Workload, stream

__all__ = ["Cast", "TraceSpec", "cast", "schedule"]


@dataclass(frozen=True, slots=True)
class TraceSpec:
    """A trace by its options.

    It crosses to other processes, and to other machines if they find the file at the same path.

    Attributes:
        path: The file.
        form: ``"clf"``, ``"jsonl"`` or ``"llm"``.
        key: Of an access log.
        time_field: Of JSON Lines, as are the next two.
        key_field: Name or None.
        size_field: Name or None.
        spread: Resolution of the times, seconds.
    """

    path: str
    form: str = "clf"
    key: str = "client"
    time_field: str = "timestamp"
    key_field: str | None = None
    size_field: str | None = None
    spread: float = 0.0

    @property
    def title(self) -> str:
        """Name of the format."""
        return {
            "clf": "Common or Combined Log Format",
            "jsonl": "JSON Lines",
            "llm": "LLM trace",
        }[self.form]

    def file(self, limit: int | None, seed: int) -> TraceFile:
        """Return the trace, ready to be read."""
        if self.form == "clf":
            parse = access_log(self.key)
        elif self.form == "llm":
            parse = llm_lines(self.time_field)
        else:
            parse = json_lines(self.time_field, self.key_field, self.size_field)
        return TraceFile(
            Path(self.path), parse, self.title, spread=self.spread, limit=limit, seed=seed
        )


@dataclass(frozen=True, slots=True)
class Cast:
    """What a scenario needs on stage.

    Attributes:
        endpoints: The membership at the start.
        servers: Factory of the machines.
        workload: The arrivals.
        seconds: How long they last; times of events are parts of it.
        speeds: By endpoint id.
    """

    endpoints: tuple[Endpoint, ...]
    servers: ServerFactory
    workload: Workload
    seconds: float
    speeds: dict[str, float]


def cast(scenario: Scenario, seed: int, trace: TraceSpec | None = None) -> Cast:
    """Return what the scenario needs.

    Args:
        scenario: The story.
        seed: Of everything drawn.
        trace: Arrivals, keys and sizes instead of made-up ones.

    Raises:
        TraceError: If the trace cannot be used.
        ValueError: If a number of the scenario makes no sense, as a service law.
    """
    fleet = scenario.fleet
    speeds = _speeds(fleet)
    told = fleet.told or bool(fleet.members)
    endpoints = tuple(
        Endpoint(
            id_,
            weight=speed if told else 1.0,
            region=fleet.regions[i % len(fleet.regions)] if fleet.regions else None,
        )
        for i, (id_, speed) in enumerate(speeds.items())
    )
    workload = _workload(scenario, seed, sum(speeds.values()) * fleet.workers, trace)
    seconds = workload.count / workload.rate
    servers = _machines(scenario, seed, seconds, endpoints, speeds)
    return Cast(endpoints, servers, workload, seconds, speeds)


def _speeds(fleet: Fleet) -> dict[str, float]:
    if fleet.members:
        return {id_: weight or 1.0 for id_, weight in fleet.members}
    groups = fleet.groups
    if fleet.size:
        groups = _scaled(groups, fleet.size)
    found: dict[str, float] = {}
    for group in groups:
        for _ in range(group.count):
            found[f"s{len(found)}"] = group.speed
    return found


def _scaled(groups: Sequence[Group], size: int) -> tuple[Group, ...]:
    """Share ``size`` out in proportion, largest remainders first."""
    total = sum(group.count for group in groups)
    parts = [size * group.count // total for group in groups]
    rests = sorted(range(len(groups)), key=lambda i: -(size * groups[i].count % total))
    for i in rests[: size - sum(parts)]:
        parts[i] += 1
    return tuple(Group(part, group.speed) for part, group in zip(parts, groups, strict=True))


def _workload(scenario: Scenario, seed: int, able: float, trace: TraceSpec | None) -> Workload:
    traffic = scenario.traffic
    law = parse_law(traffic.service)
    rate = traffic.rate or traffic.load * able / law.mean
    seconds = traffic.requests / rate if traffic.requests else traffic.seconds
    surges = [(s.begin * seconds, s.end * seconds, s.factor) for s in traffic.surges]
    more = sum((end - begin) * (factor - 1.0) for begin, end, factor in surges)
    count = traffic.requests or max(1, round(rate * (seconds + more)))
    workload: Workload
    if trace is not None:
        file = trace.file(traffic.requests or None, seed)
        workload = TraceWorkload(file, file.survey(), law, rate=rate)
    elif scenario.llm:
        workload = PromptWorkload(rate, count, block=scenario.fleet.engine.block, seed=seed)
    else:
        workload = SyntheticWorkload(
            rate, law, count=count, keys=traffic.keys, skew=traffic.skew, seed=seed
        )
    if surges:
        workload = Surging(workload, surges)
    if traffic.clients > 1:
        workload = Crowd(workload, traffic.clients, traffic.client_skew, seed)
    return workload


def _machines(
    scenario: Scenario,
    seed: int,
    seconds: float,
    endpoints: Sequence[Endpoint],
    speeds: dict[str, float],
) -> ServerFactory:
    fleet = scenario.fleet
    faults: dict[str, list[Fault]] = {}
    for event in scenario.events:
        if event.kind in KINDS:
            fault = Fault(
                event.kind,
                event.begin * seconds,
                event.end * seconds,
                event.factor,
                event.share,
                event.after,
            )
            for endpoint in _struck(event, scenario, endpoints):
                faults.setdefault(endpoint.id, []).append(fault)

    def profile(id_: str, now: float) -> Profile:
        speed = speeds.get(id_, 1.0)
        if now > 0.0 and fleet.warm_up:
            return warming(speed, now, fleet.warm_up["seconds"], fleet.warm_up["factor"])
        if fleet.noise:
            noise = fleet.noise
            rng = stream(seed, f"noise/{id_}")
            return noisy(speed, rng, noise["factor"], noise["busy"], noise["quiet"])
        return steady(speed)

    def build(endpoint: Endpoint, stage: Stage) -> Server:
        id_, now = endpoint.id, stage.clock.now
        server: Server
        if fleet.server == "llm":
            server = LlmServer(stage, fleet.engine, speeds.get(id_, 1.0))
        elif fleet.server == "sharing":
            server = SharingServer(stage, profile(id_, now), fleet.workers, fleet.queue)
        elif fleet.noise or fleet.queue is not None or (now > 0.0 and fleet.warm_up):
            server = QueueServer(profile(id_, now), fleet.workers, fleet.queue)
        else:
            server = FifoServer(speeds.get(id_, 1.0), fleet.workers)
        if id_ in faults:
            server = FaultyServer(server, faults[id_], stream(seed, f"faults/{id_}"))
        return server

    return build


def _struck(event: Event, scenario: Scenario, endpoints: Sequence[Endpoint]) -> Sequence[Endpoint]:
    """Return whom an event happens to."""
    if event.region:
        return [each for each in endpoints if each.region == event.region]
    if event.part:
        return endpoints[: max(1, round(event.part * len(endpoints)))]
    if not event.count:
        return endpoints
    count = event.count
    if scenario.fleet.size and not scenario.fleet.members:  # a larger fleet, more of them
        told = sum(group.count for group in scenario.fleet.groups)
        count = max(1, round(count * len(endpoints) / told))
    return endpoints[:count]


def schedule(
    run: Run, scenario: Scenario, play: Cast, around: Callable[[Callable[[], None]], None]
) -> None:
    """Set the timers for every change of membership the scenario tells of.

    Args:
        run: Not begun yet.
        scenario: The story.
        play: Its cast.
        around: Called with each change; it makes it, and may look before and after.
    """
    members = {endpoint.id: endpoint for endpoint in play.endpoints}

    def leave(endpoint: Endpoint) -> None:
        members.pop(endpoint.id, None)
        run.update(members.values())

    def join(endpoint: Endpoint) -> None:
        members[endpoint.id] = endpoint
        run.join(endpoint)
        run.update(members.values())

    for event in scenario.events:
        begin = event.begin * play.seconds
        if event.kind == "join":
            struck = len(_struck(event, scenario, play.endpoints)) if event.count else 1
            joiners = [Endpoint(f"j{i}") for i in range(struck)]

            def all_join(at: float, joiners: Sequence[Endpoint] = joiners) -> None:
                def change() -> None:
                    for joiner in joiners:
                        members[joiner.id] = joiner
                        run.join(joiner)
                    run.update(members.values())

                around(change)

            run.at(begin, all_join)
        elif event.kind == "restart":
            struck_ones = _struck(event, scenario, play.endpoints)
            gap = (event.end - event.begin) * play.seconds / max(1, len(struck_ones))
            for i, endpoint in enumerate(struck_ones):
                out = begin + i * gap
                back = out + event.down * play.seconds
                run.at(out, lambda at, e=endpoint: around(lambda: leave(e)))  # type: ignore[misc]
                run.at(back, lambda at, e=endpoint: around(lambda: join(e)))  # type: ignore[misc]
