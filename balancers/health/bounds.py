"""Ranges that options are checked against."""

from __future__ import annotations

import math

__all__ = ["Real", "Whole"]


class Real:
    """A number between two bounds, each of them allowed or not."""

    def __init__(
        self, low: float, high: float = math.inf, *, above: bool = False, below: bool = False
    ) -> None:
        self.low: float = low
        self.high: float = high
        self.above: bool = above
        self.below: bool = below

    def __call__(self, name: str, value: object) -> None:
        """Raise, naming the option and the rule, unless the value is in range."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(f"{name} is a number, not {value!r}")
        low = value > self.low if self.above else value >= self.low
        high = value < self.high if self.below or self.high == math.inf else value <= self.high
        if not (low and high):
            left = f"above {self.low:g}" if self.above else f"{self.low:g} or more"
            if self.high == math.inf:
                right = "finite"
            else:
                right = f"below {self.high:g}" if self.below else f"{self.high:g} or less"
            raise ValueError(f"{name} must be {left} and {right}, not {value!r}")


class Whole:
    """A whole number of at least ``low``."""

    def __init__(self, low: int) -> None:
        self.low = low

    def __call__(self, name: str, value: object) -> None:
        """Raise, naming the option and the rule, unless the value is in range."""
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{name} is a whole number, not {value!r}")
        if value < self.low:
            raise ValueError(f"{name} must be {self.low} or more, not {value!r}")
