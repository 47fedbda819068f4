"""What composites check of their own options."""

from __future__ import annotations

import math
from fractions import Fraction

__all__ = ["checked_count", "checked_factor", "checked_seconds"]


def checked_factor(name: str, value: float) -> Fraction:
    """Return a finite number > 0 as the exact decimal it is written as: 1.4 is 7/5.

    Raises:
        TypeError: If it is no number.
        ValueError: If it is out of range.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} is a number, not {value!r}")
    if not 0.0 < value < math.inf:
        raise ValueError(f"{name} must be finite and > 0, not {value!r}")
    return Fraction(str(value))


def checked_seconds(name: str, value: float) -> float:
    """Return a finite number ≥ 0 of seconds.

    Raises:
        TypeError: If it is no number.
        ValueError: If it is out of range.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} is a number of seconds, not {value!r}")
    if not 0.0 <= value < math.inf:
        raise ValueError(f"{name} must be finite and ≥ 0, not {value!r}")
    return float(value)


def checked_count(name: str, value: int, least: int = 1) -> int:
    """Return an int ≥ ``least``.

    Raises:
        TypeError: If it is no int.
        ValueError: If it is too small.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} is an int, not {value!r}")
    if value < least:
        raise ValueError(f"{name} must be ≥ {least}, not {value}")
    return value
