"""Finished cells on disk, so that a sweep that was stopped, however rudely, goes on.

A cell is one file, written beside its place and moved there: it is whole or it is not there.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from balancers.simulation.cells import Cell, CellResult, result_bytes

__all__ = ["Store", "write_whole"]


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that a reader, or a crash, sees all of it or nothing.

    Raises:
        OSError: If it cannot be written.
    """
    # Not by tempfile: its files are for their owner's eyes alone, and stay so when moved.
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


class Store:
    """A folder of results by cell.

    Args:
        folder: Made if it is not there.

    Raises:
        OSError: If it cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def get(self, cell: Cell) -> CellResult | None:
        """Return the result of a cell that was finished, or None; a broken file is no result."""
        try:
            found = json.loads(self._path(cell).read_bytes())
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) and "trouble" in found else None

    def put(self, cell: Cell, result: CellResult) -> None:
        """Keep a result."""
        write_whole(self._path(cell), result_bytes(result))

    def _path(self, cell: Cell) -> Path:
        return self._folder / f"{cell.id}.json"
