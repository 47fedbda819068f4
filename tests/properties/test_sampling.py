"""Draws by weight and samples without replacement have exactly the chances they claim."""

import pickle
from collections import Counter
from fractions import Fraction
from itertools import permutations, product
from math import comb, log, prod
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from balancers.errors import InvalidEndpointError
from balancers.structures import AliasTable, DistinctSampler, distinct_indices

weight = st.one_of(
    st.sampled_from([0.0, 1.0, 1.0, 0.1, 0.3, 1e12, 1e-12, 5e-324, 1e300]),
    st.floats(min_value=0, max_value=1e9),
    st.integers(0, 20).map(float),
)
weight_sets = st.lists(weight, max_size=40).map(
    lambda weights: {f"e{place}": value for place, value in enumerate(weights)}
)


class Scripted(Random):
    """An rng whose ``random()`` returns given numbers, and whose ``randrange`` a given one."""

    def __init__(self, numbers, whole=None):
        super().__init__(0)
        self.numbers = list(numbers)
        self.whole = whole

    def random(self):
        return self.numbers.pop(0)

    def randrange(self, stop):
        assert 0 <= self.whole < stop
        return self.whole


def exact_shares(weights):
    """Return the share of each weight, in order."""
    exact = [Fraction(value) for value in weights]
    return [value / sum(exact) for value in exact]


def table_chances(table):
    """Return each position's chance as the cells of the table have it, exactly."""
    n = len(table.cuts)
    chances = [Fraction(0)] * n
    for cell, (cut, alias) in enumerate(zip(table.cuts, table.aliases, strict=True)):
        own = Fraction(cut) - cell
        chances[cell] += own / n
        chances[alias] += (1 - own) / n
    return chances


# -- the alias table -------------------------------------------------------------------------------


@given(weight_sets)
def test_the_cells_give_every_id_its_share(weights):
    """An id's area differs from its share by at most 2**-53 for each cell that it is in."""
    table = AliasTable(weights)
    table._check()
    if not any(weights.values()):
        with pytest.raises(LookupError, match="all weights are 0"):
            table.draw(Random(1))
        with pytest.raises(LookupError, match="all weights are 0"):
            table.draw_index(Random(1))
        return
    chances = table_chances(table)
    assert sum(chances) == 1
    for position, share in enumerate(exact_shares(weights.values())):
        cells = 1 + table.aliases.count(position)
        assert abs(chances[position] - share) <= Fraction(cells, 2**53)
        if share == 0:
            assert chances[position] == 0


@given(weight_sets, st.floats(min_value=0, max_value=1 - 2**-53), st.integers(0, 2**32))
def test_a_draw_takes_one_number_and_reads_the_table(weights, number, seed):
    """Draw and draw_index agree, use one random(), and never give an id of weight 0."""
    if not any(weights.values()):
        return
    table = AliasTable(weights)
    index = table.draw_index(Scripted([number]))
    assert table.draw(Scripted([number])) == table.ids[index]
    assert weights[table.ids[index]] > 0
    rng, twin = Random(seed), Random(seed)
    assert [table.draw(rng) for _ in range(5)] == [
        table.ids[table.draw_index(twin)] for _ in range(5)
    ]
    assert rng.getstate() == twin.getstate()
    for _ in range(5):
        Random.random(rng)


def test_the_largest_number_stays_inside():
    """The largest random() lands in the last cell for every n, never beyond it."""
    for n in [*range(1, 300), 2**10 - 1, 2**10 + 1, 3**9]:
        assert AliasTable(map(str, range(n))).draw_index(Scripted([1 - 2**-53])) == n - 1


def assert_counts_fit(counts, law, draws):
    """Assert that counts of independent draws fit; a right sampler fails with chance <= 1e-9.

    Chernoff: a count is as far from its mean as its relative entropy says with chance at most
    exp(-draws * KL), on either side; the alarm is shared among all outcomes.
    """
    assert set(counts) <= set(law)
    for outcome, chance in law.items():
        seen, p = counts[outcome] / draws, float(chance)
        entropy = sum(x * log(x / y) for x, y in ((seen, p), (1 - seen, 1 - p)) if x)
        assert draws * entropy <= log(2 * len(law) / 1e-9)


def test_draw_counts_fit():
    """200,000 draws fit the shares (false alarm 1e-9, seed fixed)."""
    weights = {"a": 5, "b": 1, "c": 1, "d": 0, "e": 2.5, "f": 0.25, "g": 8, "h": 1}
    table, rng, draws = AliasTable(weights), Random(20240607), 200_000
    law = {id_: Fraction(value) * 4 / 75 for id_, value in weights.items() if value}
    assert_counts_fit(Counter(table.draw(rng) for _ in range(draws)), law, draws)


# -- uniform samples -------------------------------------------------------------------------------


@pytest.mark.parametrize("n", range(7))
@pytest.mark.parametrize("d", range(6))
def test_every_ordered_sample_is_equally_likely(n, d):
    """Over all outcomes of the integer draws every ordered sample comes up equally often."""
    size = min(n, d)
    steps = range(n, n - size, -1) if size == 2 and n > 2 else range(n - size + 1, n + 1)
    # Every draw is int(random() * m): one number for each of the m outcomes.
    outcomes = product(*([(k + 0.5) / m for k in range(m)] for m in steps))
    counts = Counter(tuple(distinct_indices(Scripted(outcome), n, d)) for outcome in outcomes)
    assert set(counts) == set(permutations(range(n), size))
    assert set(counts.values()) == {prod(steps) // len(counts)}


@given(st.integers(0, 10_000), st.integers(0, 12), st.integers(0, 2**32))
def test_uniform_samples_are_distinct_and_in_range(n, d, seed):
    """A sample has min(d, n) distinct members of 0..n-1, one random() each, seed by seed."""
    rng = Random(seed)
    sample = distinct_indices(rng, n, d)
    assert len(sample) == len(set(sample)) == min(n, d)
    assert all(0 <= index < n for index in sample)
    assert sample == distinct_indices(Random(seed), n, d)
    twin = Random(seed)
    for _ in sample:
        twin.random()
    assert rng.getstate() == twin.getstate()


@pytest.mark.parametrize(("n", "d"), [(-1, 2), (3, -1)])
def test_negative_sizes_raise(n, d):
    """Negative n or d raise."""
    with pytest.raises(ValueError, match=">= 0"):
        distinct_indices(Random(1), n, d)
    if d < 0:
        with pytest.raises(ValueError, match=">= 0"):
            DistinctSampler(["a"]).draw(Random(1), d)


# -- weighted samples ------------------------------------------------------------------------------


def sequential_law(shares, d):
    """Return the chance of every ordered sample of d, by the definition."""
    law = {}
    members = [index for index, share in enumerate(shares) if share]
    for sample in permutations(members, min(d, len(members))):
        chance, left = Fraction(1), Fraction(1)
        for index in sample:
            chance *= shares[index] / left
            left -= shares[index]
        law[sample] = chance
    return law


def sampler_law(sampler, d):
    """Return the chance of every ordered sample as the code has it, by running all its branches.

    Each ``random()`` is replaced by one number inside each piece of the alias table (its chance is
    the piece's length), each ``randrange`` by all its outcomes.
    """
    pieces = []
    n = len(sampler.table.cuts)
    for cell, cut in enumerate(sampler.table.cuts):
        for low, high in ((Fraction(cell), Fraction(cut)), (Fraction(cut), Fraction(cell + 1))):
            if low < high:
                pieces.append((float((low + high) / 2 / n), (high - low) / n))
    law = Counter()

    class ScriptEndError(Exception):
        """The script is at its end; ``args`` says how the run may go on."""

    class Branching(Random):
        def __init__(self, script):
            self.script = list(script)

        def take(self, options):
            if not self.script:
                raise ScriptEndError(options)
            return self.script.pop(0)

        def random(self):
            return self.take(pieces)

        def randrange(self, stop):
            return self.take([(k, Fraction(1, stop)) for k in range(stop)])

    open_runs = [((), Fraction(1))]
    while open_runs:
        script, chance = open_runs.pop()
        try:
            law[tuple(sampler.draw_indices(Branching(script), d))] += chance
        except ScriptEndError as stop:
            open_runs += [((*script, value), chance * part) for value, part in stop.args[0]]
    return law


@pytest.mark.parametrize(
    ("weights", "d"),
    [
        ([1, 1], 2),
        ([3, 1], 2),
        ([5, 2], 5),
        ([1, 2, 0], 2),
        ([7, 1, 1], 2),
        ([4, 2, 1], 3),
        ([1], 3),
        ([0, 0], 2),
    ],
)
def test_weighted_samples_have_the_sequential_law(weights, d, monkeypatch):
    """All runs of the code, added up, give each ordered sample its chance within 1e-9.

    Two repeats instead of eight before the direct draw keep the runs countable; both ways to the
    next item are taken, and the law must not depend on how often.
    """
    monkeypatch.setattr("balancers.structures.sampling.MAX_REPEATS", 2)
    sampler = DistinctSampler({f"e{place}": value for place, value in enumerate(weights)})
    shares = exact_shares(weights) if any(weights) else weights
    expected, law = sequential_law(shares, d), sampler_law(sampler, d)
    assert set(law) == set(expected)
    for sample, chance in expected.items():
        assert abs(law[sample] - chance) < 1e-9


@pytest.mark.parametrize(
    ("weights", "barred", "d"),
    [
        ([3, 1, 2], [0, 1, 0], 2),
        ([5, 2, 1, 2], [1, 0, 0, 0], 2),
        ([4, 2, 0, 1], [0, 1, 0, 0], 3),
        ([4, 2, 1], [1, 0, 1], 2),
        ([1, 1, 1], [0, 0, 0], 2),
        ([1, 2], [1, 1], 2),
    ],
)
def test_the_barred_leave_the_law_of_the_others(weights, barred, d, monkeypatch):
    """Over the table of all, samples without some have the chances of a table without them.

    As above, all runs of the code are added up, with two repeats before the direct draw.
    """
    monkeypatch.setattr("balancers.structures.sampling.MAX_REPEATS", 2)
    names = [f"e{place}" for place in range(len(weights))]
    base = DistinctSampler(dict(zip(names, weights, strict=True)))
    sampler = base.without(bytes(barred))
    assert sampler.table is base.table
    left = [0 if out else value for out, value in zip(barred, weights, strict=True)]
    assert sampler.share == sum(left) / sum(weights)
    expected = sequential_law(exact_shares(left) if any(left) else left, d)
    law = sampler_law(sampler, d)
    assert set(law) == set(expected)
    for sample, chance in expected.items():
        assert abs(law[sample] - chance) < 1e-9
    again = sampler.without(b"")
    assert again.barred == b""
    assert sampler_law(again, 1) == sampler_law(base, 1)


@settings(max_examples=60)
@given(weight_sets, st.data(), st.integers(0, 2**32))
def test_the_barred_are_never_drawn(weights, data, seed):
    """Samples and pairs are of the others alone; two draws to begin with, or none, are alike."""
    base = DistinctSampler(weights)
    flags = st.lists(st.integers(0, 1), min_size=len(weights), max_size=len(weights))
    barred = bytes(data.draw(flags))
    sampler = base.without(barred)
    able = {i for i, value in enumerate(weights.values()) if value and not barred[i]}
    assert sampler.count == len(able)
    assert set(sampler.draw_indices(Random(seed), len(weights))) == able
    if len(able) >= 2:
        rng = Random(seed)
        begun = [sampler.table.draw_index(rng) for _ in range(2)]
        pair = sampler.draw_pair(rng, *begun)
        twin = Random(seed)
        assert list(pair) == sampler.draw_indices(twin, 2)
        assert rng.getstate() == twin.getstate()
    with pytest.raises(ValueError, match="positions"):
        base.without(bytes(len(weights) + 1))


@given(weight_sets.filter(lambda weights: any(weights.values())), st.data())
def test_the_direct_draw_is_a_draw_from_the_rest(weights, data):
    """After too many repeats, target r stands for the r-th unit of weight outside the sample."""
    sampler = DistinctSampler(weights)
    whole = sampler._whole
    sample = data.draw(
        st.lists(st.sampled_from(range(len(whole))), unique=True, max_size=len(whole) - 1)
    )
    rest = [index for index in range(len(whole)) if index not in sample]
    left = sum(whole[index] for index in rest)
    if not left:
        return
    target = data.draw(st.integers(0, left - 1))
    passed = 0
    for index in rest:
        passed += whole[index]
        if target < passed:
            break
    assert sampler.draw_rest(Scripted([], target), sample) == index


@settings(max_examples=60)
@given(weight_sets, st.integers(0, 6), st.integers(0, 2**32))
def test_weighted_samples_are_distinct_and_positive(weights, d, seed):
    """A sample has min(d, positive ids) distinct ids of positive weight, the same for a seed."""
    sampler = DistinctSampler(weights)
    positive = {id_ for id_, value in weights.items() if value}
    sample = sampler.draw(Random(seed), d)
    assert sampler.count == len(positive)
    assert len(sample) == len(set(sample)) == min(d, len(positive))
    assert set(sample) <= positive
    twin = pickle.loads(pickle.dumps(sampler))
    assert twin.draw(Random(seed), d) == sample
    assert [sampler.table.ids[i] for i in sampler.draw_indices(Random(seed), d)] == sample


def test_weighted_pairs_fit():
    """100,000 pairs fit the law with MAX_REPEATS as shipped and one id at 97 % of the weight.

    The direct draw serves most second items here. False alarm 1e-9, seed fixed.
    """
    weights = {"a": 97, "b": 1, "c": 1.5, "d": 0.5}
    sampler, rng, draws = DistinctSampler(weights), Random(77), 100_000
    law = sequential_law(exact_shares(weights.values()), 2)
    counts = Counter(tuple(sampler.draw_indices(rng, 2)) for _ in range(draws))
    assert len(law) == 2 * comb(4, 2)
    assert_counts_fit(counts, law, draws)


@pytest.mark.parametrize("kind", [AliasTable, DistinctSampler])
@pytest.mark.parametrize(
    ("bad", "error"),
    [
        ({"a": -1.0}, InvalidEndpointError),
        ({"a": float("nan")}, InvalidEndpointError),
        ({"a": True}, TypeError),
        (["a", "a"], InvalidEndpointError),
        ("ab", TypeError),
    ],
)
def test_bad_weights_raise(kind, bad, error):
    """Bad weights raise at construction."""
    with pytest.raises(error):
        kind(bad)
