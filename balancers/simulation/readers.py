"""Traces on disk, plain or gzip, one record at a time.

A line that cannot be understood is counted, the first one is remembered with its reason, and
reading goes on. A file that cannot be read at all raises ``TraceError`` with one sentence.
Nothing is held but the line at hand.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

__all__ = ["BadLines", "Parse", "Record", "TraceError", "first_line", "read"]

MAX_LINE = 1 << 20
"""Bytes; a longer line is bad, and is skipped without being held."""


class TraceError(Exception):
    """A trace that cannot be used, in one sentence for the user."""


class Record(NamedTuple):
    """One request of a trace: seconds since some epoch, its key, and its size (0 if unknown).

    The key is a ``Key``, or a ``Prompt`` in traces of language models.
    """

    time: float
    key: Any
    size: float


Parse = Callable[[bytes], Record]
"""Reads one line; raises ValueError, with the reason, for a bad one."""


@dataclass(slots=True)
class BadLines:
    """What could not be understood.

    Attributes:
        count: Bad lines.
        first: Number of the first one, from 1; 0 if none.
        reason: What was wrong with it.
    """

    count: int = 0
    first: int = 0
    reason: str = ""

    def note(self, line: int, reason: str) -> None:
        """Count one."""
        if not self.count:
            self.first, self.reason = line, reason
        self.count += 1

    def __str__(self) -> str:
        lines = "1 line" if self.count == 1 else f"{self.count:,} lines"
        return f"{lines} could not be read, the first is line {self.first}: {self.reason}"


def read(path: str | Path, parse: Parse, bad: BadLines) -> Iterator[Record]:
    """Yield the records of a file, in its order.

    Args:
        path: Plain or gzip; told by its first bytes, not by its name.
        parse: One of ``formats``.
        bad: Told of every bad line. Empty lines are skipped in silence.

    Raises:
        TraceError: If the file cannot be opened, or breaks off.

    Runtime complexity: O(line) memory, O(file) time.
    """
    number = 0
    try:
        with contextlib.closing(_open(path)) as file:
            while line := file.readline(MAX_LINE):
                number += 1
                if len(line) == MAX_LINE and not line.endswith(b"\n"):
                    while rest := file.readline(MAX_LINE):
                        if rest.endswith(b"\n"):
                            break
                    bad.note(number, f"longer than {MAX_LINE:,} bytes")
                    continue
                try:
                    record = parse(line)
                except ValueError as error:
                    if line.strip():
                        bad.note(number, str(error))
                    continue
                yield record
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise TraceError(f"cannot read {path}: broken gzip data after line {number}") from error
    except OSError as error:
        raise TraceError(f"cannot read {path}: {error.strerror or error}") from error


def first_line(path: str | Path) -> bytes:
    """Return the first line that is not blank, cut at 4096 bytes; empty if there is none.

    Raises:
        TraceError: If the file cannot be read.
    """
    try:
        with contextlib.closing(_open(path)) as file:
            while line := file.readline(4096):
                if line.strip():
                    return line
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise TraceError(f"cannot read {path}: broken gzip data") from error
    except OSError as error:
        raise TraceError(f"cannot read {path}: {error.strerror or error}") from error
    return b""


def _open(path: str | Path) -> BinaryIO:
    file = Path(path).open("rb")  # noqa: SIM115 - the caller closes it
    if file.peek(2)[:2] != b"\x1f\x8b":
        return file
    # The GzipFile does not close what it was given; the buffered reader on top is what is held.
    return cast("BinaryIO", _OwningReader(gzip.GzipFile(fileobj=file), file))


class _OwningReader(io.BufferedReader):
    """A buffered reader that closes the file underneath its decompressor as well."""

    def __init__(self, raw: gzip.GzipFile, file: BinaryIO) -> None:
        super().__init__(cast("io.RawIOBase", raw), 1 << 17)
        self._file = file

    def close(self) -> None:
        try:
            super().close()
        finally:
            self._file.close()
