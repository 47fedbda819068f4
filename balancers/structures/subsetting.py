"""Subsets: which k of n backends a client keeps connections to.

``rendezvous_order``: a client's own order of all backends, by hash. The first k are its subset;
one backend more or less changes at most one of them. Needs no knowledge of other clients; a
backend is in a client's subset with chance k/n, independently of the other clients.

``aperture``: clients stand evenly around a circle, in the order of their index; each takes an
arc. Backends share the same circle, each an arc of its own. Every backend gets exactly the same
load, if clients weigh backends by how much of their arcs overlaps. Needs the client's index and
the number of clients.

``lots``: backends are dealt into lots of nearly equal size, one lot for each place in the
subset; a client takes one backend of each lot. Clients whose indices run through a whole number
of rounds of a lot use each backend of it equally often. Needs an index that tells clients apart;
gaps cost evenness, nothing else.

Sources: gRFC A68 (rendezvous); Finagle, deterministic aperture and weighted aperture; Ward,
Wankadia and Guliani, "Reinventing Backend Subsetting at Google", 2022 (lots).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction

from balancers.hashing import Key, hash64, key_bytes

__all__ = ["aperture", "aperture_width", "lots", "overlaps", "rendezvous_order"]

_LOT_SEED = 0x6C6F7473
_TURN_SEED = 0x7475726E


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
    exact = [Fraction(weight) for weight in weights]
    total = sum(exact)
    if not total:
        return [Fraction(0)] * len(exact)
    end = offset + width
    found = []
    start = Fraction(0)
    for weight in exact:
        stop = start + weight / total
        # The arc may go round: its second lap lies one circle on.
        found.append(_common(start, stop, offset, end) + _common(start + 1, stop + 1, offset, end))
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


def lots(ids: Iterable[str], index: int, size: int) -> list[str]:
    """Return the subset of the client with that index.

    Backends are dealt by a hash order all clients share: the i-th goes to lot i mod ``size``. In
    each lot client ``index`` takes the member whose turn it is; turns run through the lot in a
    fresh order each round, hashed from the round and the lot.

    Over any clients with distinct indices no backend has more of them than there are rounds
    begun; over whole rounds each has exactly one a round.

    Args:
        ids: The backends.
        index: The client's, ≥ 0.
        size: How many it takes, ≥ 1; all if there are no more.

    Runtime complexity: O(n log n), n hashes.
    """
    if index < 0:
        raise ValueError(f"index must be ≥ 0, not {index}")
    dealt = sorted(ids, key=lambda id_: (hash64(key_bytes(id_), _LOT_SEED), id_))
    count = min(size, len(dealt))
    chosen = []
    for lot in range(count):
        members = dealt[lot::count]
        turn, place = divmod(index, len(members))
        mark = turn.to_bytes(8, "little") + lot.to_bytes(4, "little")
        members.sort(key=lambda id_: (hash64(mark + key_bytes(id_), _TURN_SEED), id_))
        chosen.append(members[place])
    return chosen


def _common(start: Fraction, stop: Fraction, other: Fraction, end: Fraction) -> Fraction:
    return max(Fraction(0), min(stop, end) - max(start, other))
