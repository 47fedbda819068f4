"""Numbers given as options: what they must be, and how they are taken."""

from __future__ import annotations

from collections.abc import Collection
from fractions import Fraction
from math import fsum

from balancers.core.checks import LARGEST

__all__ = [
    "checked_factor",
    "checked_number",
    "checked_seconds",
    "checked_whole",
    "exact_total",
    "float_total",
]


def checked_number(name: str, value: float, *, least: float = 0.0, above: bool = False) -> float:
    """Return a finite number ≥ ``least``, or > ``least`` if ``above``.

    Raises:
        TypeError: If it is no number.
        ValueError: If it is out of range.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} is a number, not {value!r}")
    if not (least < value if above else least <= value) or not value <= LARGEST:
        sign = ">" if above else "≥"
        raise ValueError(f"{name} must be finite and {sign} {least:g}, not {value}")
    return float(value)


def checked_factor(name: str, value: float, *, above: bool = True) -> Fraction:
    """Return a finite number > 0, or ≥ 0, as the decimal it is written as: 1.4 is 7/5.

    Raises:
        TypeError: If it is no number.
        ValueError: If it is out of range.
    """
    checked_number(name, value, above=above)
    return Fraction(str(value))


def checked_seconds(name: str, value: float, *, above: bool = False) -> float:
    """Return a finite number of seconds ≥ 0, or > 0 if ``above``.

    Raises:
        TypeError: If it is no number.
        ValueError: If it is out of range.
    """
    return checked_number(name, value, above=above)


def checked_whole(name: str, value: int, least: int = 1) -> int:
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


def exact_total(weights: Collection[float]) -> Fraction:
    """Return the sum of weights, rounded once; exact where it is beyond the largest float. O(n)."""
    try:
        return Fraction(fsum(weights))
    except OverflowError:  # each is finite, their sum is no float
        return sum(map(Fraction, weights), Fraction(0))


def float_total(weights: Collection[float]) -> float:
    """Return the sum of weights, or the largest float where it is beyond that. O(n)."""
    try:
        return fsum(weights)
    except OverflowError:
        return LARGEST
