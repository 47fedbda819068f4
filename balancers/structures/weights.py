"""Ids and weights as every structure takes them, checked in one place.

A weight is a finite number >= 0; weight 0 means "a member that is never chosen". The order of the
source is kept. Nothing here knows what an endpoint is: ids are text, weights are numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import gcd, isfinite

from balancers.errors import InvalidEndpointError

__all__ = ["as_weights", "exact_integers"]


def as_weights(source: Mapping[str, float] | Iterable[str]) -> dict[str, float]:
    """Return ``source`` as a new dict id -> weight, checked.

    Args:
        source: A mapping id -> weight (an ``int`` is rounded to the nearest float, so it is exact
            up to 2**53), or an iterable of ids, each of weight 1.0. May be empty.

    Returns:
        The weights in the order of ``source``; ``-0.0`` becomes ``0.0``.

    Raises:
        InvalidEndpointError: For an id given twice, or a weight that is negative, NaN or infinite
            (an integer too large for a float included).
        TypeError: For a bare ``str`` (its letters are hardly meant), an id that is not ``str``,
            or a weight that is not ``int`` or ``float`` (``bool`` included).

    Runtime complexity: O(n).
    """
    if isinstance(source, str | bytes):
        raise TypeError(
            f"expected a mapping of ids to weights or an iterable of ids, not the bare "
            f"{type(source).__name__} {source!r}; wrap it in a list"
        )
    weights: dict[str, float] = {}
    if isinstance(source, Mapping):
        for id_, weight in source.items():
            _check_id(id_)
            weights[id_] = _as_weight(id_, weight)
        return weights
    for id_ in source:
        _check_id(id_)
        if id_ in weights:
            raise InvalidEndpointError(f"id {id_!r} is given twice; ids must be unique")
        weights[id_] = 1.0
    return weights


def _check_id(id_: object) -> None:
    if not isinstance(id_, str):
        raise TypeError(f"an id is str, not {type(id_).__name__}: {id_!r}")


def _as_weight(id_: str, weight: object) -> float:
    if isinstance(weight, bool) or not isinstance(weight, int | float):
        raise TypeError(
            f"the weight of {id_!r} must be int or float, not {type(weight).__name__}: {weight!r}"
        )
    try:
        value = float(weight)
    except OverflowError:
        raise InvalidEndpointError(
            f"the weight of {id_!r} is an integer too large for a float; weights are finite"
        ) from None
    if not isfinite(value):
        raise InvalidEndpointError(f"the weight of {id_!r} is {weight!r}; weights are finite")
    if value < 0:
        raise InvalidEndpointError(f"the weight of {id_!r} is {weight!r}; weights are >= 0")
    return value + 0.0  # turns -0.0 into 0.0


def exact_integers(weights: Iterable[float]) -> list[int]:
    """Return the smallest non-negative integers in exactly the proportions of ``weights``.

    Every float is an integer over a power of two, so one common factor makes all of them whole:
    0.1 : 0.2 becomes 1 : 2, while 0.1 : 0.3 becomes the two 53-bit integers those floats stand
    for. All zeros stay zeros.

    Args:
        weights: Finite numbers >= 0, as :func:`as_weights` returns them.

    Runtime complexity: O(n) operations on integers as long as the spread of the exponents
    (at most 2,100 bits).
    """
    ratios = [weight.as_integer_ratio() for weight in weights]
    # Denominators are powers of two, so the largest is their common multiple.
    scale = max((bottom for _, bottom in ratios), default=1)
    whole = [top * (scale // bottom) for top, bottom in ratios]
    shared = gcd(*whole)
    return [number // shared for number in whole] if shared > 1 else whole
