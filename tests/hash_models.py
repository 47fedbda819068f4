"""Slow, obvious models of the keyed structures, from their documentation alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal, localcontext
from math import log, sqrt

import mmh3
from hypothesis import strategies as st

from balancers.hashing import key_bytes

__all__ = [
    "CIRCLE",
    "arcs_of",
    "hoeffding",
    "member_ids",
    "rendezvous_scores",
    "ring_points",
    "ring_walk",
    "whole",
]

CIRCLE = 1 << 64

member_ids = st.sampled_from([*"abcdef", "", "é", "\ud800", "10.0.0.1:80"])
"""Few enough that memberships overlap, and of every kind of text."""


def whole(low: int = 0, high: int = 5) -> st.SearchStrategy[dict[str, int]]:
    """Memberships with small whole weights, zero and empty ones included."""
    return st.dictionaries(member_ids, st.integers(low, high), max_size=8)


def ring_points(weights: Mapping[str, float], vnodes: int, seed: int) -> list[tuple[int, str]]:
    """Return all points of a ring and their ids, in order."""
    points = []
    for id_, weight in weights.items():
        data = key_bytes(id_)
        for j in range(round(vnodes * weight)):
            source = len(data).to_bytes(4, "little") + data + (j // 2).to_bytes(4, "little")
            points.append((mmh3.mmh3_x64_128_utupledigest(source, seed)[j % 2], id_))
    return sorted(points)


def ring_walk(points: list[tuple[int, str]], position: int) -> list[str]:
    """Return the distinct ids met clockwise from a position on."""
    after = [id_ for point, id_ in points if point >= position]
    before = [id_ for point, id_ in points if point < position]
    return list(dict.fromkeys(after + before))


def arcs_of(
    before: list[tuple[int, str]], after: list[tuple[int, str]]
) -> Iterator[tuple[str, str, int]]:
    """Cut the circle at every point of two rings: the owner in each and the length of each arc."""
    cuts = sorted({point for point, _ in before + after} | {CIRCLE - 1})
    start = -1
    for cut in cuts:
        yield ring_walk(before, cut)[0], ring_walk(after, cut)[0], cut - start
        start = cut


def rendezvous_scores(
    weights: Mapping[str, float], key: object, seed: int
) -> list[tuple[Decimal, str]]:
    """Return -ln(1 - v) / w for each member of positive weight, to 80 digits, ascending."""
    stem = mmh3.mmh3_x64_128_digest(key_bytes(key), seed)  # type: ignore[arg-type]
    scores = []
    with localcontext() as context:
        context.prec = 80
        for id_, weight in weights.items():
            if not weight:
                continue
            data = key_bytes(id_)
            node = mmh3.mmh3_x64_128_digest(len(data).to_bytes(4, "little") + data, seed)[:8]
            draw = mmh3.mmh3_x64_128_uintdigest(stem + node)
            v = (Decimal(2 * draw) + 1) / Decimal(1 << 129)
            scores.append((-(1 - v).ln() / Decimal(weight), id_))
    return sorted(scores)


def hoeffding(samples: int, assertions: int, alarm: float = 1e-9) -> float:
    """Return how far a frequency may stray from its probability: exact bound, all samples i.i.d.

    Args:
        samples: Independent draws.
        assertions: How many frequencies are held to the bound.
        alarm: Chance that any of them passes it although all is well.
    """
    return sqrt(log(2 * assertions / alarm) / (2 * samples))
