"""How much work a request is: the laws service times are drawn from.

A demand is seconds of work at speed 1. It is drawn once a request, in the order of arrival, so
every policy meets the same work whatever it picks (common random numbers: the difference of two
policies is then not the luck of the draw).

=============  =====================================================  ==========================
name           law                                                    shape
=============  =====================================================  ==========================
exponential    memoryless, squared coefficient of variation 1         none
lognormal      log-normal; many short requests, a heavy tail          scv > 0, default 10
pareto         bounded Pareto over [L, 1000 L]; the heaviest tail     exponent > 0, default 1.2
deterministic  every request is the same                              none
trace          a tenth fixed, nine tenths in proportion to the size   none
               the trace records
recorded       in proportion to the size the trace records: where that   none
               is a duration, the durations themselves, rescaled
=============  =====================================================  ==========================
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = ["LAWS", "ServiceLaw", "parse_law"]

DEFAULT_MEAN = 0.01
PARETO_RANGE = 1000.0
FIXED_PART = 0.1


@dataclass(frozen=True, slots=True)
class ServiceLaw:
    """A law of service times.

    Attributes:
        name: As in the table above.
        mean: Seconds, > 0.
        shape: The law's second number, or None.
        draw: ``draw(rng, sizes)`` returns one demand for each size, in seconds, > 0. A size is
            the recorded one divided by the mean recorded one; 1.0 where nothing is recorded.
    """

    name: str
    mean: float
    shape: float | None
    draw: Callable[[random.Random, Sequence[float]], list[float]]

    def __str__(self) -> str:
        shape = "" if self.shape is None else f":{self.shape:g}"
        return f"{self.name}:{self.mean:g}{shape}"

    @property
    def needs_sizes(self) -> bool:
        """Whether the law follows recorded sizes."""
        return self.name in ("trace", "recorded")


def parse_law(text: str) -> ServiceLaw:
    """Return the law named by ``NAME[:MEAN[:SHAPE]]``, e.g. ``lognormal:0.02:4``.

    Raises:
        ValueError: For an unknown name, or a number out of range.
    """
    name, *numbers = text.split(":")
    if name not in LAWS:
        raise ValueError(f"unknown service law {name!r}; known: {', '.join(LAWS)}")
    if len(numbers) > 2:
        raise ValueError(f"a service law is NAME[:MEAN[:SHAPE]], not {text!r}")
    values = [_positive(number, text) for number in numbers]
    mean = values[0] if values else DEFAULT_MEAN
    build, default_shape = LAWS[name]
    if default_shape is None:
        if len(values) > 1:
            raise ValueError(f"the service law {name!r} has no shape; got {text!r}")
        return ServiceLaw(name, mean, None, build(mean, 0.0))
    shape = values[1] if len(values) > 1 else default_shape
    return ServiceLaw(name, mean, shape, build(mean, shape))


def _positive(number: str, text: str) -> float:
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    # Beyond these bounds the laws' own arithmetic would overflow.
    if not 1e-9 <= value <= 1e9:
        raise ValueError(
            f"a number in a service law lies within 1e-9 … 1e9, not {number!r} in {text!r}"
        )
    return value


_Draw = Callable[[random.Random, Sequence[float]], list[float]]


def _exponential(mean: float, shape: float) -> _Draw:  # one signature for all
    def draw(rng: random.Random, sizes: Sequence[float]) -> list[float]:
        uniform, log = rng.random, math.log
        # 1 − u is within (0, 1]; a demand of exactly 0 (u = 0) becomes the least positive float.
        return [-mean * log(1.0 - uniform()) or 5e-324 for _ in sizes]

    return draw


def _lognormal(mean: float, scv: float) -> _Draw:
    sigma2 = math.log1p(scv)
    mu, sigma = math.log(mean) - sigma2 / 2.0, math.sqrt(sigma2)

    def draw(rng: random.Random, sizes: Sequence[float]) -> list[float]:
        gauss, exp = rng.gauss, math.exp
        return [exp(mu + sigma * gauss()) for _ in sizes]

    return draw


def _pareto(mean: float, alpha: float) -> _Draw:
    # Bounded Pareto over [L, rL]: P(X > x) = ((L/x)^α − r^−α) / (1 − r^−α), inverted below.
    if alpha < 0.01:
        raise ValueError(f"the exponent of the pareto law is ≥ 0.01, not {alpha}")
    r = PARETO_RANGE
    tail = r**-alpha
    if abs(alpha - 1.0) < 1e-9:
        unit_mean = math.log(r) / (1.0 - 1.0 / r)
    else:
        unit_mean = alpha / (alpha - 1.0) * (1.0 - r ** (1.0 - alpha)) / (1.0 - tail)
    least, power = mean / unit_mean, -1.0 / alpha

    def draw(rng: random.Random, sizes: Sequence[float]) -> list[float]:
        # tail + span·u rather than 1 − span·u: exact where the draw is greatest.
        uniform, span = rng.random, 1.0 - tail
        return [least * (tail + span * uniform()) ** power for _ in sizes]

    return draw


def _deterministic(mean: float, shape: float) -> _Draw:
    def draw(rng: random.Random, sizes: Sequence[float]) -> list[float]:
        return [mean] * len(sizes)

    return draw


def _from_trace(mean: float, shape: float) -> _Draw:
    fixed, slope = FIXED_PART * mean, (1.0 - FIXED_PART) * mean

    def draw(rng: random.Random, sizes: Sequence[float]) -> list[float]:
        return [fixed + slope * size for size in sizes]

    return draw


def _recorded(mean: float, shape: float) -> _Draw:
    def draw(rng: random.Random, sizes: Sequence[float]) -> list[float]:
        # A recorded 0 is a duration below the clock's resolution, not no work at all.
        return [mean * size or 1e-9 for size in sizes]

    return draw


LAWS: dict[str, tuple[Callable[[float, float], _Draw], float | None]] = {
    "exponential": (_exponential, None),
    "lognormal": (_lognormal, 10.0),
    "pareto": (_pareto, 1.2),
    "deterministic": (_deterministic, None),
    "trace": (_from_trace, None),
    "recorded": (_recorded, None),
}
"""Name → (builder of ``draw`` from mean and shape, default shape or None if there is none)."""
