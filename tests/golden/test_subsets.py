"""Subsets of other systems: Finagle's aperture vectors, gRFC A68's distribution.

Sources: twitter/finagle, WeightedApertureTest.scala (weights as in its comments) and
RingTest.scala; grpc/grpc-go, balancer/randomsubsetting (TestUniformDistributionOfEndpoints).
"""

from collections import Counter
from fractions import Fraction

import pytest

from balancers import Endpoint, RoundRobin, Subset
from balancers.structures.subsetting import aperture, aperture_width, overlaps, rendezvous_order

TEN = (
    *(0.08754127852514175, 0.07160485112997249, 0.007191702249367171, 0.07962609718390336),
    *(0.05787169373422368, 0.09081256181340881, 0.014891457880475457, 0.0975219897302887),
    *(0.006559603048899776, 0.0069517882499888),
)
FIFTEEN = (
    *(0.06818127601781632, 0.02676535334991952, 0.024259669941850928, 0.060227644665411986),
    *(0.021662557088166313, 0.04581934074401264, 0.008902600511190118, 0.012225295738506748),
    *(0.03381119880745816, 0.09320068787692642, 0.06778865989313106, 1.8821268751749722e-4),
    *(0.04998637327300792, 0.09808325343250059, 0.08018058428232361),
)


def covered(weights: list[Fraction]) -> list[int]:
    """Return the indices of positive weight."""
    return [index for index, weight in enumerate(weights) if weight]


def test_finagle_wraps_around():
    """Ten nodes, least aperture 12, client 1 of 4: all ten, and weights that sum to 1."""
    weights = aperture(TEN, 1, 4)

    assert covered(weights) == list(range(10))
    assert sum(weights) == 1


def test_finagle_subsets_without_wrapping():
    """Fifteen nodes, client 1 of 5: nodes 3..14, sum .8; client 0: 0..13, sum .8."""
    one, other = aperture(FIFTEEN, 1, 5), aperture(FIFTEEN, 0, 5)

    assert covered(one) == [3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]
    assert covered(other) == list(range(14))
    assert sum(one) == sum(other) == Fraction(4, 5)


def test_finagle_ring_ranges():
    """The indices of a ring of ten that arcs of RingTest cover, wrapped ones included."""

    def ring(offset: Fraction, width: Fraction) -> set[int]:
        return set(covered(overlaps([1.0] * 10, offset, width)))

    assert ring(Fraction(1, 4), Fraction(1, 4)) == {2, 3, 4}
    assert ring(Fraction(3, 4), Fraction(1, 2)) == {7, 8, 9, 0, 1, 2}
    assert [ring(Fraction(i % 10, 10), Fraction(1, 10)) for i in range(11)] == [
        {i % 10} for i in range(11)
    ]
    assert ring(Fraction(1, 3), Fraction(1)) == set(range(10))


def test_finagle_ring_weights():
    """The whole of a node's arc counts 1; the ends of a wrapped arc count a half."""
    weights = [10 * part for part in overlaps([1.0] * 10, Fraction(3, 4), Fraction(1, 2))]

    assert weights[0] == weights[1] == weights[8] == weights[9] == 1
    assert weights[7] == weights[2] == Fraction(1, 2)


@pytest.mark.parametrize(
    ("count", "clients", "least", "width"),
    [
        (10, 4, 12, 1),
        (15, 5, 12, Fraction(4, 5)),
        (150, 150, 12, Fraction(12, 150)),
        (3, 3, 1, Fraction(1, 3)),
    ],
)
def test_finagle_widths(count: int, clients: int, least: int, width: Fraction):
    """The width is the least multiple of a client's own unit that spans the aperture."""
    assert aperture_width(count, clients, least) == width


# (endpoints, subset size, clients), and the largest chi-square of a fair draw at 5 %.
A68 = [
    (16, 4, 10, 24.996),
    (40, 20, 100, 54.572),
    (10, 2, 1000, 16.919),
    (16, 4, 1600, 24.996),
    (8, 4, 3200, 14.067),
    (4, 4, 6400, 7.815),
]


@pytest.mark.parametrize(("count", "size", "clients", "critical"), A68)
def test_a68_distribution(count: int, size: int, clients: int, critical: float):
    """Pearson's chi-square of how often each endpoint is chosen stays below its 5 % point.

    Seeds are fixed, so this is no chance; drawing without replacement only narrows it.
    """
    ids = [f"endpoint-{i}" for i in range(count)]
    counts: Counter[str] = Counter()
    for client in range(clients):
        counts.update(rendezvous_order(ids, f"client-{client}")[:size])
    expected = clients * size / count

    assert sum((counts[name] - expected) ** 2 / expected for name in ids) <= critical


PINNED = ["endpoint-2", "endpoint-4", "endpoint-8", "endpoint-12", "endpoint-13"]


def test_native_subset_is_pinned():
    """The members of one client are part of the API: the same in every release."""
    balancer = Subset(
        [Endpoint(f"endpoint-{i}") for i in range(15)], policy=RoundRobin, seed="client-7", size=5
    )

    assert [view.endpoint.id for view in balancer.snapshot().endpoints] == PINNED
