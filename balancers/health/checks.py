"""Arguments checked once, with messages that name the value and the rule."""

from __future__ import annotations

import math
from collections.abc import Iterable

__all__ = ["checked_ids", "checked_seconds"]


def checked_seconds(name: str, value: float | None) -> None:
    """Raise unless the value is None or finite seconds ≥ 0."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} is a number or None, not {value!r}")
    if not 0.0 <= value < math.inf:
        raise ValueError(f"{name} must be finite and ≥ 0, not {value!r}")


def checked_ids(ids: Iterable[str]) -> list[str]:
    """Return the ids as a list, once each; a bare str or an id that is none raises."""
    if isinstance(ids, str | bytes):
        raise TypeError(f"ids is an iterable of ids, not the text {ids!r}")
    found = list(dict.fromkeys(ids))
    for name in found:
        if not isinstance(name, str):
            raise TypeError(f"an endpoint id is a str, not {name!r}")
    return found
