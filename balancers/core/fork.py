"""Balancers across ``os.fork``: in the child, fresh locks, and fresh draws where the library drew.

Whoever held a lock in the parent did not come along; and a child that went on with its parent's
phases and random numbers would pick what the parent picks.
"""

from __future__ import annotations

import os
import weakref
from typing import TYPE_CHECKING

from balancers.core.ledger import contained

if TYPE_CHECKING:
    from balancers.core.membership import Membership

__all__ = ["enrol"]

_alive: weakref.WeakSet[Membership] = weakref.WeakSet()


def enrol(member: Membership) -> None:
    """Have a balancer taken care of when the process forks."""
    _alive.add(member)


def _in_child() -> None:
    alive = list(_alive)
    for member in alive:
        member._renew_locks()
        if member._draws_own():
            member._rng.seed()
    for member in alive:
        if member._parent is None and member._draws_own():
            contained("the redraw of a balancer in a forked child", member._renew)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
