"""The command line: ``balancers COMMAND …``, also ``python -m balancers COMMAND …``.

A subcommand is a module with ``register(commands)``, which adds its parser and sets ``run``, a
function from the parsed arguments to an exit status. ``COMMANDS`` lists them.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from balancers.simulation import advise, plan, sweep
from balancers.simulation import command as compare

__all__ = ["main"]

COMMANDS: tuple[Callable[[argparse._SubParsersAction[Any]], None], ...] = (
    compare.register,
    plan.register,
    advise.register,
    sweep.register,
)


class _Parser(argparse.ArgumentParser):
    """A parser that states what is wrong in one sentence."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status.

    Args:
        argv: The arguments; those of the process if None.

    Returns:
        0 if all went well, 1 if the result is a bad one, 2 for bad input, 130 if interrupted.
    """
    parser = _Parser(
        prog="balancers",
        description="Load-balancing strategies behind one call.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True, dest="command")
    for register in COMMANDS:
        register(commands)
    args = parser.parse_args(argv)
    run: Callable[[argparse.Namespace], int] = args.run
    try:
        status = run(args)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader (``| head``) has what it wanted; the flush at exit must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("\nbalancers: interrupted", file=sys.stderr)
        return 130
    return status


if __name__ == "__main__":
    sys.exit(main())
