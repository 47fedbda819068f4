"""A scenario as data: a fleet, its traffic, what happens to it, and what counts.

A scenario is a TOML file beside this module, in ``scenarios``, or anywhere. All it leaves out
has the defaults below. Scenarios compose: ``one-slow+skewed-keys`` is the second laid over the
first, table by table; its events come on top. Times of events are parts of the run, 0..1, so
that a shorter run is the same story.
"""

from __future__ import annotations

import tomllib
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from balancers.simulation.models import EngineSpec

__all__ = [
    "Event", "Fleet", "Group", "Scenario", "Surge", "Traffic", "known_scenarios", "load_scenario",
    "overlay",
]  # fmt: skip

EVENTS = ("slow", "intermittent", "fail", "hang", "join", "restart")
GOALS = ("latency", "affinity", "first")


@dataclass(frozen=True, slots=True)
class Group:
    """Endpoints of one speed."""

    count: int
    speed: float = 1.0


@dataclass(frozen=True, slots=True)
class Fleet:
    """What serves.

    Attributes:
        groups: Endpoints by speed; they are called s0, s1, …
        members: Ids with weights instead; the weight is the speed.
        size: Endpoints in all, shared out over the groups in proportion; 0: as they say.
        server: ``"fifo"``, ``"sharing"`` or ``"llm"``.
        workers: Requests served at a time, each.
        queue: Requests that may wait, each; None: any number.
        told: Whether policies are told the speeds, as weights.
        regions: Dealt out in turn.
        noise: Slower by ``factor`` for ``busy`` of every ``busy + quiet`` seconds, by chance.
        warm_up: A joiner starts ``factor`` times slower and is warm after ``seconds``.
        engine: Numbers of a language-model engine.
        bulletin: Seconds between two bulletins of everybody's queue length; 0: there are none.
    """

    groups: tuple[Group, ...] = (Group(20),)
    members: tuple[tuple[str, float], ...] = ()
    size: int = 0
    server: str = "fifo"
    workers: int = 4
    queue: int | None = None
    told: bool = False
    regions: tuple[str, ...] = ()
    noise: Mapping[str, float] = field(default_factory=dict)
    warm_up: Mapping[str, float] = field(default_factory=dict)
    engine: EngineSpec = field(default_factory=EngineSpec)
    bulletin: float = 0.0


@dataclass(frozen=True, slots=True)
class Surge:
    """Traffic times ``factor`` from ``begin`` to ``end``, parts of the run."""

    begin: float
    end: float
    factor: float


@dataclass(frozen=True, slots=True)
class Traffic:
    """What is asked for.

    Attributes:
        load: Work over capacity.
        rate: Requests a second instead, > 0; 0: by load.
        service: Law of service times.
        seconds: How long.
        requests: How many instead; 0: by time. A trace is read that far.
        keys: Different keys.
        skew: Zipf exponent of the keys.
        clients: Independent copies of the policy.
        client_skew: Zipf exponent of how much the clients ask; 0: all alike.
        surges: When there is more.
    """

    load: float = 0.8
    rate: float = 0.0
    service: str = "exponential:0.05"
    seconds: float = 25.0
    requests: int = 0
    keys: int = 10_000
    skew: float = 0.0
    clients: int = 1
    client_skew: float = 0.0
    surges: tuple[Surge, ...] = ()


@dataclass(frozen=True, slots=True)
class Event:
    """What happens.

    Attributes:
        kind: A fault (see ``models.faults``), ``join`` (new endpoints) or ``restart`` (one after
            the other leaves and comes back, over the time from ``begin`` to ``end``).
        begin: Part of the run, 0..1.
        end: Part of the run; faults are over, or the last restart has begun.
        count: How many endpoints, from the first; 0: all.
        part: Such a part of all endpoints instead, 0..1; 0: by count.
        region: All of one region instead.
        factor: How much more work.
        share: Of requests.
        after: Seconds until an error.
        down: Part of the run for which a restarting endpoint is away.
    """

    kind: str
    begin: float
    end: float = 1.0
    count: int = 1
    part: float = 0.0
    region: str = ""
    factor: float = 10.0
    share: float = 1.0
    after: float = 0.001
    down: float = 0.02


@dataclass(frozen=True, slots=True)
class Scenario:
    """A story.

    Attributes:
        title: What it is, in a few words.
        question: What it asks of a policy, in one sentence.
        goal: What the verdict goes by, errors aside: ``"latency"``, ``"affinity"`` (among
            policies that place by key) or ``"first"`` (time to the first byte).
        llm: Whether requests are prompts.
        name: What it was loaded as.
    """

    title: str
    question: str = ""
    goal: str = "latency"
    fleet: Fleet = field(default_factory=Fleet)
    traffic: Traffic = field(default_factory=Traffic)
    events: tuple[Event, ...] = ()
    name: str = ""

    @property
    def llm(self) -> bool:
        """Whether requests are prompts to language models."""
        return self.fleet.server == "llm"


def known_scenarios(*, parts: bool = False) -> list[str]:
    """Return the names of the scenarios that come along, in the order of the report.

    Args:
        parts: Those too that make sense only laid over another.
    """
    return [name for name, table in _shipped().items() if parts or not table.get("part", False)]


@cache
def _shipped() -> dict[str, dict[str, Any]]:
    folder = resources.files("balancers.simulation") / "scenarios"
    found = {
        entry.name.removesuffix(".toml"): tomllib.loads(entry.read_text("utf-8"))
        for entry in folder.iterdir()
        if entry.name.endswith(".toml")
    }
    return dict(sorted(found.items(), key=lambda item: (item[1].get("order", 1000), item[0])))


def load_scenario(text: str, *layers: Mapping[str, Any]) -> Scenario:
    """Return the scenario of ``NAME`` or ``NAME+NAME…``.

    Args:
        text: Names of scenarios that come along, or paths of files, ending in ``.toml``.
        layers: Tables laid over it, for options of the command line.

    Raises:
        ValueError: For an unknown name, a file that cannot be read, an unknown or bad value.
    """
    table: dict[str, Any] = {}
    for name in text.split("+"):
        table = overlay(table, _table(name.strip()))
    for layer in layers:
        table = overlay(table, layer)
    for name in ("order", "part"):  # for the list, not for the story
        table.pop(name, None)
    scenario: Scenario = _build(Scenario, {**table, "name": text}, text)
    _check(scenario)
    return scenario


def _table(name: str) -> dict[str, Any]:
    if name.endswith(".toml"):
        try:
            return tomllib.loads(Path(name).read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(f"cannot read the scenario {name}: {error}") from error
    try:
        return _shipped()[name]
    except KeyError:
        raise ValueError(
            f"unknown scenario {name!r}; known: {', '.join(known_scenarios(parts=True))}"
        ) from None


def overlay(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return one table laid over another: tables by name, events one after the other."""
    found = dict(under)
    for name, value in over.items():
        if isinstance(value, Mapping) and isinstance(found.get(name), Mapping):
            found[name] = overlay(found[name], value)
        elif name == "events":
            found[name] = [*found.get(name, ()), *value]
        elif name in ("title", "question") and name in found:
            found[name] = f"{found[name]} {value}" if name == "question" else (
                f"{found[name]}; {value[:1].lower()}{value[1:]}"
            )  # fmt: skip
        else:
            found[name] = value
    return found


def _build(kind: Any, value: Any, where: str) -> Any:
    """Return ``value`` as ``kind``; tables become dataclasses, lists tuples.

    Raises:
        ValueError: If it cannot be, naming the place.
    """
    origin, inner = get_origin(kind), get_args(kind)
    if isinstance(kind, type) and hasattr(kind, "__dataclass_fields__"):
        if not isinstance(value, Mapping):
            raise ValueError(f"{where}: a table is wanted, not {value!r}")
        types_ = get_type_hints(kind)
        names = [each.name for each in fields(kind)]
        for name in value:
            if name not in names:
                raise ValueError(f"{where}: unknown name {name!r}; known: {', '.join(names)}")
        made = {name: _build(types_[name], part, f"{where}.{name}") for name, part in value.items()}
        try:
            return kind(**made)
        except TypeError as error:
            raise ValueError(f"{where}: {error}") from None
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ValueError(f"{where}: a list is wanted, not {value!r}")
        if inner[-1] is Ellipsis:
            return tuple(_build(inner[0], part, where) for part in value)
        return tuple(_build(k, part, where) for k, part in zip(inner, value, strict=True))
    if origin is types.UnionType or origin is Union:
        return None if value is None else _build(inner[0], value, where)
    if origin is not None:  # a mapping of numbers
        return {str(name): _build(float, part, f"{where}.{name}") for name, part in value.items()}
    wanted = (int, float) if kind is float else kind
    if not isinstance(value, wanted) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"{where}: {kind.__name__} is wanted, not {value!r}")
    return kind(value)


def _check(scenario: Scenario) -> None:
    for complaint in _complaints(scenario):
        raise ValueError(f"{scenario.name}: {complaint}")


def _complaints(scenario: Scenario) -> Iterator[str]:
    fleet, traffic = scenario.fleet, scenario.traffic
    if scenario.goal not in GOALS:
        yield f"goal is one of {', '.join(GOALS)}, not {scenario.goal!r}"
    if fleet.server not in ("fifo", "sharing", "llm"):
        yield f"server is fifo, sharing or llm, not {fleet.server!r}"
    if fleet.workers < 1 or fleet.size < 0 or (fleet.queue is not None and fleet.queue < 0):
        yield "workers must be ≥ 1, size and queue ≥ 0"
    if not fleet.members and not fleet.groups:
        yield "a fleet needs endpoints"
    if any(group.count < 1 or not 0.0 < group.speed < 1e9 for group in fleet.groups):
        yield "a group has count ≥ 1 and speed > 0"
    if fleet.noise and set(fleet.noise) != {"factor", "busy", "quiet"}:
        yield "noise has factor, busy and quiet"
    if fleet.warm_up and set(fleet.warm_up) != {"factor", "seconds"}:
        yield "warm_up has factor and seconds"
    if not 0.0 <= fleet.bulletin < 1e9:
        yield "bulletin is ≥ 0"
    if not all(v > 0.0 for v in (*fleet.noise.values(), *fleet.warm_up.values())):
        yield "numbers of noise and warm_up are > 0"
    if not (0.0 < traffic.load < 1e3 and 0.0 <= traffic.rate < 1e9 and 0.0 < traffic.seconds < 1e9):
        yield "load and seconds must be > 0, rate ≥ 0"
    if traffic.clients < 1 or traffic.keys < 1 or traffic.requests < 0:
        yield "clients and keys must be ≥ 1, requests ≥ 0"
    if not (0.0 <= traffic.skew <= 10.0 and 0.0 <= traffic.client_skew <= 10.0):
        yield "skew and client_skew lie within 0 … 10"
    for surge in traffic.surges:
        if not (0.0 <= surge.begin < surge.end <= 1.0 and surge.factor > 0.0):
            yield f"a surge lies within 0..1 and has a factor > 0, not {surge}"
    for event in scenario.events:
        if event.kind not in EVENTS:
            yield f"an event is one of {', '.join(EVENTS)}, not {event.kind!r}"
        if not 0.0 <= event.begin <= event.end <= 1.0 or event.count < 0:
            yield f"an event lies within 0..1 and has count ≥ 0, not {event}"
        if not 0.0 <= event.part <= 1.0:
            yield f"the part of the endpoints lies within 0..1, not {event.part}"
        if event.region and event.region not in fleet.regions:
            yield f"no region {event.region!r}"
