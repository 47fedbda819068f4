"""Subsets: which k of n backends a client keeps connections to.

``rendezvous_order``: a client's own order of all backends, by hash. The first k are its subset;
one backend more or less changes at most one of them. Needs no knowledge of other clients; a
backend is in a client's subset with chance k/n, independently of the other clients.

``aperture``: clients stand evenly around a circle, in the order of their index; each takes an
arc. Backends share the same circle, each an arc of its own. Every backend gets exactly the same
load, if clients weigh backends by how much of their arcs overlaps. Needs the client's index and
the number of clients.

``golden_offset``: where a client stands if nobody knows how many there are. Clients whose
indices are any run of integers stand nearly evenly: an interval of the circle that should hold
m of N clients holds m ± (3 + 3.53 ln N), by theorem, and in practice m ± 2. Gaps in the indices
cost evenness, nothing else.

Sources: gRFC A68 (rendezvous); Finagle, deterministic aperture and weighted aperture; Kuipers
and Niederreiter, "Uniform Distribution of Sequences", 1974, chapter 2, theorem 3.4 (the bound
for multiples of the golden ratio, all of whose partial quotients are 1).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction

from balancers.hashing import Key, hash64, key_bytes

__all__ = ["aperture", "aperture_width", "golden_offset", "overlaps", "rendezvous_order"]

_GOLDEN = 0x9E3779B97F4A7C15  # 2⁶⁴ / ((1 + √5) / 2), rounded to an odd number


def rendezvous_order(ids: Iterable[str], client: Key) -> list[str]:
    """Return the ids in the client's own order.

    Args:
        ids: The backends.
        client: Who asks; the same identity gets the same order in every process.

    Runtime complexity: O(n log n), n hashes.
    """
    name = key_bytes(client)
    prefix = len(name).to_bytes(8, "little") + name
    return sorted(ids, key=lambda id_: (hash64(prefix + key_bytes(id_)), id_))


def aperture_width(count: int, clients: int, least: int) -> Fraction:
    """Return how much of the circle each client's arc takes: a multiple of 1/clients.

    Args:
        count: Backends, ≥ 1.
        clients: Clients, ≥ 1.
        least: Backends an arc must span, counted in backends of mean weight, ≥ 1.

    Returns:
        The smallest multiple of 1/clients that spans ``least`` backends, at most 1.
    """
    wanted = Fraction(min(least, count), count)
    units = -(-wanted * clients // 1)
    return min(Fraction(1), Fraction(units, clients))


def overlaps(
    weights: Sequence[Fraction | float], offset: Fraction, width: Fraction
) -> list[Fraction]:
    """Return how much of the arc [offset, offset + width) lies over each backend's own.

    Args:
        weights: Weight of each backend ≥ 0, in the order they lie around the circle.
        offset: Where the arc begins, in [0, 1).
        width: How long it is, in [0, 1].

    Returns:
        The overlap with each backend; they sum to ``width``, if any weight is positive.

    Runtime complexity: O(n), exact.
    """
    # Integers throughout: the circle is whole = total · scale long, and so are all lengths on it.
    exact = [weight.as_integer_ratio() for weight in weights]
    common = math.lcm(*(below for _, below in exact))
    units = [above * (common // below) for above, below in exact]
    total = sum(units)
    nothing = Fraction(0)
    if not total:
        return [nothing] * len(units)
    scale = math.lcm(offset.denominator, width.denominator)
    whole = total * scale
    begin = int(offset * whole)
    end = begin + int(width * whole)
    found = []
    start = 0
    for unit in units:
        stop = start + unit * scale
        # The arc may go round: its second lap lies one circle on.
        common_part = max(0, min(stop, end) - max(start, begin))
        common_part += max(0, min(stop + whole, end) - max(start + whole, begin))
        found.append(Fraction(common_part, whole) if common_part else nothing)
        start = stop
    return found


def aperture(
    weights: Sequence[Fraction | float], index: int, clients: int, least: int = 12
) -> list[Fraction]:
    """Return the weight that client ``index`` of ``clients`` gives each backend; 0 is outside.

    Summed over all clients, each backend gets exactly clients · width times its own part of
    the whole weight.

    Args:
        weights: Weight of each backend ≥ 0, in an order all clients share.
        index: The client's, 0 ≤ index < clients.
        clients: How many there are, ≥ 1.
        least: Backends an arc spans at least, in backends of mean weight.

    Runtime complexity: O(n), exact.
    """
    if not 0 <= index < clients:
        raise ValueError(f"index must be within 0..{clients - 1}, not {index}")
    if not weights:
        return []
    width = aperture_width(len(weights), clients, least)
    return overlaps(weights, Fraction(index, clients), width)


def golden_offset(index: int) -> Fraction:
    """Return the place in [0, 1) of the client with that index: a multiple of the golden ratio.

    Args:
        index: The client's; any integer. Clients of equal index modulo 2⁶⁴ share a place.
    """
    return Fraction(index * _GOLDEN % (1 << 64), 1 << 64)
