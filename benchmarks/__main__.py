"""``python -m benchmarks TABLE``: print one table of measurements."""

from __future__ import annotations

import argparse
import importlib
import platform
import sys

TABLES = {
    "adaptive": "p99 of Adaptive beside an omniscient scheduler's, faults and clients",
    "composites": "composites beside the policy inside them",
    "cycles": "pick cycles in units of the floor cycle, every policy",
    "hashing": "keyed structures beside floor key and their peers",
    "memory": "bytes per idle endpoint and per open pick, every policy",
    "peers": "speed and fairness of other packages beside ours, versions printed",
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
