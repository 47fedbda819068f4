"""What every pick and every update checks of its arguments."""

from __future__ import annotations

import sys
from collections.abc import Collection

from balancers.endpoint import Endpoint
from balancers.hashing import Key
from balancers.protocol import Delta, Observer

__all__ = [
    "LARGEST",
    "check_cost",
    "check_key",
    "check_observer",
    "checked_exclude",
    "checked_fraction",
    "difference",
]

LARGEST = sys.float_info.max
"""What a number may be at most: an int can be finite and still no float."""


def check_key(key: Key) -> None:
    """Raise TypeError unless the key is str, bytes or int."""
    if isinstance(key, bool) or not isinstance(key, str | bytes | int):
        raise TypeError(f"a key is str, bytes or int, not {type(key).__name__}")


def checked_exclude(exclude: Collection[str]) -> Collection[str]:
    """Return ``exclude`` as something quick to search; a plain str raises TypeError."""
    if isinstance(exclude, str | bytes):
        raise TypeError(f"exclude is a collection of ids, not the text {exclude!r}")
    if not exclude:
        return ()
    if isinstance(exclude, set | frozenset):
        return exclude
    return frozenset(exclude)


def check_cost(cost: float) -> None:
    """Raise unless the cost is a finite number > 0."""
    if isinstance(cost, bool) or not isinstance(cost, int | float):
        raise TypeError(f"cost is a number, not {cost!r}")
    if not 0.0 < cost <= LARGEST:
        raise ValueError(f"cost must be finite and > 0, not {cost!r}")


def check_observer(observer: Observer) -> None:
    """Raise TypeError unless the observer has every method: a pick must not find out."""
    for name in ("on_pick", "on_settle", "on_update"):
        if not callable(getattr(observer, name, None)):
            raise TypeError(f"observer has no method {name}: {observer!r}")


def checked_fraction(name: str, value: float) -> float:
    """Return the option as a float; raise unless it is a number within 0..1."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} is a number, not {value!r}")
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{name} must be within 0..1, not {value!r}")
    return float(value)


def difference(old: tuple[Endpoint, ...], new: tuple[Endpoint, ...]) -> Delta:
    """Return what turns one membership into the other, order aside. O(n)."""
    before = {endpoint.id: endpoint for endpoint in old}
    after = {endpoint.id: endpoint for endpoint in new}
    return Delta(
        added=tuple(name for name in after if name not in before),
        removed=tuple(name for name in before if name not in after),
        changed=tuple(n for n, e in after.items() if n in before and before[n] != e),
    )
