"""Work spread over processes of this machine; a process that dies costs the work it had.

The standard library's pool gives up everything when one of its processes is killed. Here each
process has a pipe of its own: a death is seen as its end, the task is handed to a fresh process,
and after ``TRIES`` deaths it is given up alone. When the parent dies, the pipes end and the
children with them.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Generic, TypeVar

__all__ = ["TRIES", "WorkerDiedError", "cores", "spread"]

TRIES = 3

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")


class WorkerDiedError(Exception):
    """A task that killed every process it was given to."""


def cores() -> int:
    """Return how many processors this process may use."""
    try:
        return max(1, len(os.sched_getaffinity(0)))
    except AttributeError:  # not on this system
        return max(1, os.cpu_count() or 1)


def spread(
    work: Callable[[_Task], _Result], tasks: Iterable[_Task], jobs: int
) -> Iterator[tuple[_Task, _Result | Exception]]:
    """Yield each task with its result, or the exception it raised, as they come.

    Args:
        work: A function of a module, so that another process can find it.
        tasks: What can be pickled.
        jobs: Processes, ≥ 1. With one, everything happens in this process.
    """
    if jobs <= 1:
        for task in tasks:
            yield task, _tried(work, task)
        return
    pool = _Pool(work, jobs)
    try:
        yield from pool.run(deque((task, 0) for task in tasks))
    finally:
        pool.close()


def _tried(work: Callable[[_Task], _Result], task: _Task) -> _Result | Exception:
    try:
        return work(task)
    except Exception as error:  # belongs to the task
        return error


def _serve(work: Callable[[_Task], _Result], pipe: Connection) -> None:
    while True:
        try:
            task = pipe.recv()
        except (EOFError, OSError, KeyboardInterrupt):
            return
        try:
            pipe.send(_portable(_tried(work, task)))
        except KeyboardInterrupt:
            return


def _portable(result: _Result | Exception) -> _Result | Exception:
    """Return an exception that survives the pipe: many cannot be made again from their text."""
    if isinstance(result, Exception):
        try:
            pickle.loads(pickle.dumps(result))
        except Exception:  # whatever an exception's own code may raise
            return RuntimeError(f"{type(result).__name__}: {result}")
    return result


class _Pool(Generic[_Task, _Result]):
    """Processes, each with its pipe and the task it has.

    Invariant: a pipe is in ``_busy`` exactly while its process has a task, with how often the
    task has been tried.
    """

    def __init__(self, work: Callable[[_Task], _Result], jobs: int) -> None:
        # A fresh interpreter on every system: forking a process with threads can deadlock.
        self._context = multiprocessing.get_context("spawn")
        self._work = work
        self._processes: dict[Connection, BaseProcess] = {}
        self._busy: dict[Connection, tuple[_Task, int]] = {}
        self._jobs = jobs

    def run(self, queue: deque[tuple[_Task, int]]) -> Iterator[tuple[_Task, _Result | Exception]]:
        while queue or self._busy:
            while queue and len(self._busy) < self._jobs:
                self._hand_out(*queue.popleft())
            for pipe in wait(list(self._busy)):
                assert isinstance(pipe, Connection)
                task, tries = self._busy.pop(pipe)
                try:
                    result = pipe.recv()
                except (EOFError, OSError):
                    self._bury(pipe)
                    if tries + 1 < TRIES:
                        queue.append((task, tries + 1))
                    else:
                        yield task, WorkerDiedError(f"the process died {TRIES} times over it")
                else:
                    yield task, result

    def _hand_out(self, task: _Task, tries: int) -> None:
        while True:
            idle = next((pipe for pipe in self._processes if pipe not in self._busy), None)
            pipe = idle or self._start()
            try:
                pipe.send(task)
            except OSError:  # it died while it was idle
                self._bury(pipe)
            else:
                self._busy[pipe] = task, tries
                return

    def _start(self) -> Connection:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(self._work, theirs), daemon=True)
        process.start()
        theirs.close()  # so that the death of the process is the end of the pipe
        self._processes[ours] = process
        return ours

    def _bury(self, pipe: Connection) -> None:
        process = self._processes.pop(pipe)
        pipe.close()
        process.join()

    def close(self) -> None:
        """End all processes: the idle ones by the end of their pipe, the others at once."""
        for pipe, process in self._processes.items():
            if pipe in self._busy:
                process.terminate()
            pipe.close()
        for process in self._processes.values():
            process.join()
        self._processes.clear()
