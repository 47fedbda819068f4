"""``python -m benchmarks TABLE``: print one table of measurements."""

from __future__ import annotations

import argparse
import importlib
import platform
import sys

TABLES = {
    "adaptive": "p99 of Adaptive beside an omniscient scheduler's, faults and clients",
    "affinity": "who keeps a sticky session: hashing, bounded loads, cookie and table",
    "classics": "classic policies in simulation, published figures beside",
    "composites": "composites beside the policy inside them",
    "cycles": "pick cycles in units of the floor cycle, every policy",
    "hashing": "keyed structures beside floor key and their peers",
    "detectors": "the sequential test beside threshold rules: delay, false ejections",
    "health": "what a registry adds to a pick, and what a change and probing cost",
    "incidents": "requests to an endpoint gone bad, beside Envoy's and nginx's rules",
    "memory": "bytes per idle endpoint and per open pick, every policy",
    "mooncake": "PrefixAffinity beside others on an hour of chat prompts: cache hits, first tokens",
    "peers": "speed and fairness of other packages beside ours, versions printed",
    "prompts": "pick cycles of PrefixAffinity by the length of the prompt",
    "published": "the simulator's figures beside published ones, faults and stale information",
    "simulator": "simulated requests a second of a core, every policy, and memory by length",
    "threads": "what a second thread costs, beside the interpreter's own part",
}
"""Tables by name: each is a module here with ``add_arguments(parser)`` and ``run(options)``."""
MODULES = {"peers": "peers_table"}
"""Modules whose name is not that of their table."""


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and print the table asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="table", required=True, metavar="TABLE")
    for name, what in TABLES.items():
        module = importlib.import_module(f"benchmarks.{MODULES.get(name, name)}")
        command = commands.add_parser(name, help=what, description=module.__doc__)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    options = parser.parse_args(arguments)
    build = "free-threaded" if not getattr(sys, "_is_gil_enabled", lambda: True)() else "GIL"
    print(
        f"{platform.python_implementation()} {platform.python_version()} ({build}), "
        f"{platform.system()} {platform.machine()}\n"
    )
    options.run(options)


if __name__ == "__main__":
    main()
