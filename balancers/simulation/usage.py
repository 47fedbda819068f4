"""What the commands share: sentences for the user, and printing what a terminal may lack."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

__all__ = ["UsageError", "check_writable", "complain", "print_safely", "usage"]


class UsageError(Exception):
    """Options that make no sense, in one sentence for the user."""


@contextmanager
def usage() -> Iterator[None]:
    """Turn the ValueErrors of what the user's values are handed to into sentences.

    Only where values are checked: a ValueError of the simulation itself is a bug and must show.
    """
    try:
        yield
    except ValueError as error:
        raise UsageError(str(error)) from error


def complain(command: str, sentence: str) -> int:
    """Print why a command cannot be carried out; return its exit status."""
    print_safely(f"balancers {command}: {sentence}", sys.stderr)
    return 2


def print_safely(text: str, stream: TextIO) -> None:
    """Print what the stream may lack characters for: a name with surrogates, × in ASCII."""
    encoding = stream.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), file=stream)


def check_writable(paths: Sequence[str]) -> None:
    """Find out before the work whether its results can be written; ``-`` can.

    Raises:
        ValueError: If one cannot.
    """
    for path in paths:
        target = Path(path)
        if path == "-":
            continue
        if target.is_dir():
            raise ValueError(f"cannot write {path}: it is a directory")
        if not target.parent.is_dir():
            raise ValueError(f"cannot write {path}: no directory {target.parent}")
        if not os.access(target if target.exists() else target.parent, os.W_OK):
            raise ValueError(f"cannot write {path}: permission denied")
