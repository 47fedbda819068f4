"""The house of ``balancers``: floors, rooms, and who may touch what.

A file imports at run time from lower floors and from its own room alone, and never in a
circle. Imports under ``if TYPE_CHECKING`` do not count: they vanish when the program runs.
Each rule is a function from a file to complaints, shown to complain about a bad file too.
"""

import ast
import sys
from collections.abc import Callable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from importlib import import_module

import pytest
from source_tree import ROOT, Import, Source, sources

STOREYS = [
    ["balancers.errors"],  # L0: standard library only
    ["balancers.endpoint"],
    ["balancers.protocol"],
    ["balancers.hashing"],  # L1: pure, over ids and numbers
    ["balancers.structures"],
    ["balancers.health"],  # L2
    ["balancers.core"],  # L3
    ["balancers.policies.registry"],  # L4
    ["balancers.policies.*"],
    ["balancers.policies"],
    ["balancers.compose", "balancers.overload"],  # L5
    ["balancers"],  # names only
    ["balancers.testing"],
    ["balancers.simulation", "balancers.adapters"],
    ["balancers.__main__"],
]
FLOORS = {room: floor for floor, rooms in enumerate(STOREYS) for room in rooms}
"""Floor by room, bottom first. A file's room is its longest prefix here; below ``x.*`` each
file is a room of its own, so that siblings do not import each other."""

PUBLIC_ONLY = ("balancers.simulation", "balancers.adapters", "balancers.__main__")
PUBLIC = ("balancers", "balancers.policies", "balancers.structures", "balancers.health",
          "balancers.core", "balancers.compose", "balancers.testing")  # fmt: skip

OUTSIDE = {
    "mmh3": ("balancers.hashing",),
    "sortedcontainers": ("balancers.structures",),
    "numpy": ("balancers.hashing", "balancers.structures"),
    "hypothesis": ("balancers.testing",),
    "matplotlib": ("balancers.simulation",),
}
"""Packages that are not the standard library, by the rooms that may import them."""

IO_ROOMS = ("balancers.testing", "balancers.simulation", "balancers.adapters", "balancers.__main__")
IO_NAMES = ("socket", "ssl", "asyncio", "subprocess", "selectors", "select", "http", "urllib",
            "multiprocessing", "threading.Thread", "threading.Timer", "time.sleep")  # fmt: skip
WALL_TIME = ("time.time", "time.time_ns", "time.localtime", "time.gmtime", "time.ctime",
             "datetime.datetime.now", "datetime.datetime.utcnow", "datetime.datetime.today",
             "datetime.date.today")  # fmt: skip
PURE_ROOMS = ("balancers.structures", "balancers.hashing")
PURE_NAMES = ("threading", "time", "os", "io", "pathlib", "logging", "warnings",
              "balancers.endpoint", "balancers.protocol")  # fmt: skip

MAX_LINES = {"tests": 550}  # of cases; anywhere else 400, of thought


def room_of(module: str) -> str:
    """Return the room a file belongs to."""
    if module in FLOORS:
        return module
    parent, _, _ = module.rpartition(".")
    while parent:
        if f"{parent}.*" in FLOORS:
            return module
        if parent in FLOORS and parent != "balancers":
            return parent
        parent, _, _ = parent.rpartition(".")
    raise LookupError(f"{module} is on no floor: name one in FLOORS")


def floor_of(module: str) -> int:
    """Return the number of the file's floor, 0 at the bottom."""
    room = room_of(module)
    return FLOORS[room] if room in FLOORS else FLOORS[room.rpartition(".")[0] + ".*"]


def target(found: Import, known: Mapping[str, Source]) -> str:
    """Return the file an import reaches: a submodule if the name is one."""
    inner = f"{found.module}.{found.name}"
    return inner if inner in known else found.module


def upward(source: Source, known: Mapping[str, Source]) -> Iterator[str]:
    """An import reaches a lower floor, or stays in the room."""
    for found in source.imports():
        if not within(found.module, ("balancers",)):
            continue
        other = target(found, known)
        if room_of(other) != room_of(source.module) and floor_of(other) >= floor_of(source.module):
            yield f"line {found.line}: {source.module} imports {other}, which is not below it"


def private(source: Source, known: Mapping[str, Source]) -> Iterator[str]:
    """The rooms that show the library from outside import public names alone."""
    if not within(source.module, PUBLIC_ONLY):
        return
    for found in source.imports():
        if not within(found.module, ("balancers",)):
            continue
        other = target(found, known)
        if room_of(other) == room_of(source.module) or within(other, PUBLIC_ONLY):
            continue
        public = other in PUBLIC and (
            found.name is None or found.name in import_module(other).__all__
        )
        if not public:
            yield f"line {found.line}: {found.name} of {found.module} is not a public name"


def stranger(source: Source, known: Mapping[str, Source]) -> Iterator[str]:
    """A package outside the standard library is imported in its rooms alone."""
    for found in source.imports():
        package = found.module.partition(".")[0]
        if package == "balancers" or package in sys.stdlib_module_names:
            continue
        rooms = OUTSIDE.get(package, ("balancers.adapters",))
        if not within(source.module, rooms):
            yield f"line {found.line}: {package} is imported outside {', '.join(rooms)}"


def worldly(source: Source, known: Mapping[str, Source]) -> Iterator[str]:
    """Sockets, event loops, processes, threads and sleep stay out of the core."""
    if not within(source.module, IO_ROOMS):
        yield from _touched(source, IO_NAMES)


def impure(source: Source, known: Mapping[str, Source]) -> Iterator[str]:
    """Structures know ids and numbers: no lock, clock, I/O or endpoint."""
    if within(source.module, PURE_ROOMS):
        yield from _touched(source, PURE_NAMES)


def global_chance(source: Source, known: Mapping[str, Source]) -> Iterator[str]:
    """Of ``random`` only the class is used; whoever needs chance is handed an instance."""
    for name, line in source.attributes():
        if name.startswith("random.") and name.split(".")[1] != "Random":
            yield f"line {line}: {name} draws from the global generator"


def wall_time(source: Source, known: Mapping[str, Source]) -> Iterator[str]:
    """Nothing reads the time of day."""
    yield from _touched(source, WALL_TIME)


def within(module: str, rooms: tuple[str, ...]) -> bool:
    """Return whether a dotted name is one of the given ones or lies below one."""
    return any(module == room or module.startswith(room + ".") for room in rooms)


def _touched(source: Source, names: tuple[str, ...]) -> Iterator[str]:
    for found in source.imports():
        if within(found.module, names):
            yield f"line {found.line}: imports {found.module}"
    for name, line in source.attributes():
        if within(name, names):
            yield f"line {line}: uses {name}"


Rule = Callable[[Source, Mapping[str, Source]], Iterator[str]]
RULES: list[Rule] = [upward, private, stranger, worldly, impure, global_chance, wall_time]
TREE = sources()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_file_keeps_the_rule(rule: Rule):
    """No file of the library gives a rule cause to complain."""
    complaints = [f"{s.module}: {c}" for s in TREE.values() for c in rule(s, TREE)]

    assert not complaints, "\n".join([rule.__doc__ or "", *complaints])


@pytest.mark.parametrize(
    ("rule", "module", "code"),
    [
        (upward, "balancers.errors", "from balancers.core.policy import Policy"),
        (upward, "balancers.core.view", "from balancers.policies import registered"),
        (upward, "balancers.core.view", "def f():\n    from balancers import RoundRobin"),
        (upward, "balancers.policies.new", "from balancers.policies.round_robin import RoundRobin"),
        (upward, "balancers.policies.new", "from .round_robin import RoundRobin"),
        (upward, "balancers.structures.new", "import balancers.core.ledger"),
        (upward, "balancers.simulation.new", "import balancers.adapters"),
        (private, "balancers.simulation.new", "from balancers.core.ledger import Ledger"),
        (private, "balancers.simulation.new", "from balancers.core import _hidden"),
        (stranger, "balancers.core.view", "import mmh3"),
        (stranger, "balancers.structures.new", "from mmh3 import hash64"),
        (stranger, "balancers.policies.new", "import sortedcontainers"),
        (stranger, "balancers.core.view", "def f():\n    import httpx"),
        (worldly, "balancers.core.view", "import socket"),
        (worldly, "balancers.core.view", "from threading import Thread"),
        (worldly, "balancers.core.view", "import threading as t\nt.Thread()"),
        (worldly, "balancers.core.view", "import time\ntime.sleep(1)"),
        (impure, "balancers.structures.new", "from threading import Lock"),
        (impure, "balancers.structures.new", "from balancers.endpoint import Endpoint"),
        (global_chance, "balancers.core.view", "import random\nrandom.random()"),
        (global_chance, "balancers.core.view", "from random import choice"),
        (wall_time, "balancers.core.view", "import time\ntime.time()"),
        (wall_time, "balancers.simulation.new", "from datetime import datetime\ndatetime.now()"),
    ],
)
def test_the_rule_complains_of_a_bad_file(rule: Rule, module: str, code: str):
    """Each rule is seen to fail on a file that breaks it."""
    bad = Source(module, ast.parse(code))

    assert list(rule(bad, {**TREE, module: bad}))


def test_type_only_imports_do_not_count():
    """A name imported for signatures alone is no edge; its ``else`` branch is one."""
    code = (
        "if TYPE_CHECKING:\n    from balancers.core import Policy\nelse:\n    import balancers.core"
    )
    source = Source("balancers.errors", ast.parse(code))

    assert [found.module for found in source.imports()] == ["balancers.core"]


def test_no_import_circle():
    """The files can be loaded one after the other, each after what it imports."""
    graph = {
        source.module: {
            other
            for found in source.imports()
            if (other := target(found, TREE)) in TREE and other != source.module
        }
        for source in TREE.values()
    }

    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


def test_files_are_short():
    """One idea a file: none is longer than 400 lines, lists of cases than 550."""
    folders = ("balancers", "tests", "benchmarks", "docs")
    paths = [ROOT / "noxfile.py", *(p for f in folders for p in (ROOT / f).rglob("*.py"))]
    long = {
        str(path.relative_to(ROOT)): lines
        for path in paths
        if "_build" not in path.parts  # what Sphinx copies
        and (lines := len(path.read_text("utf-8").splitlines()))
        > MAX_LINES.get(path.relative_to(ROOT).parts[0], 400)
    }

    assert not long
