"""Work spread over a Dask cluster that is already running.

Dask places the tasks, sees workers die and runs their tasks elsewhere; a task that kills worker
after worker is given up alone. The cluster's workers need this library, in the same version.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

__all__ = ["spread_dask"]

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")


def spread_dask(
    work: Callable[[_Task], _Result], tasks: Iterable[_Task], address: str
) -> Iterator[tuple[_Task, _Result | Exception]]:
    """Yield each task with its result, or what went wrong with it, as they come.

    Args:
        work: A function of a module that the workers can import.
        tasks: What can be pickled.
        address: Of the scheduler, ``tcp://host:port``.

    Raises:
        ValueError: Without ``distributed`` (the extra ``dask``), or if nobody answers there.
    """
    try:
        distributed: Any = importlib.import_module("distributed")
    except ImportError:
        raise ValueError("--dask needs dask (pip install 'balancers[dask]')") from None
    try:
        client = distributed.Client(address, timeout="10s")
    except (OSError, ValueError) as error:
        raise ValueError(f"no Dask scheduler at {address}: {error}") from None
    with client:
        # Not pure: Dask must not answer from its memory of an older version of the code.
        futures = {client.submit(work, task, pure=False, retries=2): task for task in tasks}
        for future in distributed.as_completed(futures):
            failure = future.exception()
            if failure is None:
                yield futures[future], future.result()
            elif isinstance(failure, Exception):
                yield futures[future], failure
            else:
                yield futures[future], RuntimeError(str(failure))
            future.release()
