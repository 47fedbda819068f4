"""Registries across ``os.fork``: none is forked in the middle of a change.

The forking thread takes the lock of every registry, so that the child's copies are whole; the
child gets fresh locks. What other threads of the parent had changed but not shown yet, nobody
would show in the child: each registry shows everything anew there (``Engine._after_fork``).

A lock that its holder does not give back within ``PATIENCE`` seconds is left to it: that can only
be this thread itself, in a signal handler that forks. Waiting longer would hang both processes.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from balancers.health.engine import Engine

__all__ = ["enrol"]

PATIENCE = 2.0

_alive: weakref.WeakSet[Engine] = weakref.WeakSet()
_forking = threading.Lock()  # one fork at a time: what is held belongs to it
_held: list[Engine] = []


def enrol(engine: Engine) -> None:
    """Have a registry taken care of when the process forks."""
    _alive.add(engine)


def _all() -> list[Engine]:
    while True:
        try:
            return list(_alive)
        except RuntimeError:  # another thread made a registry meanwhile
            continue


def _before() -> None:
    _forking.acquire()
    _held.extend(engine for engine in _all() if engine._lock.acquire(timeout=PATIENCE))


def _in_parent() -> None:
    while _held:
        _held.pop()._lock.release()
    _forking.release()


def _in_child() -> None:
    global _forking
    _forking = threading.Lock()
    _held.clear()
    for engine in _all():
        engine._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
