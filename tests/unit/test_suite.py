"""Many cells together: intervals, verdicts, reports, and processes that die."""

import gc
import html
import json
import math
import os
import random
import re
import signal
import tracemalloc
from html.parser import HTMLParser

import pytest

from balancers.simulation.book import as_book_json, bind, cell_text, columns, ordered
from balancers.simulation.bootstrap import Interval, bootstrap_mean
from balancers.simulation.cells import Cell, play, result_bytes
from balancers.simulation.markdown import as_markdown
from balancers.simulation.page import as_html
from balancers.simulation.pool import TRIES, WorkerDiedError, spread
from balancers.simulation.scenario import load_scenario
from balancers.simulation.store import Store, write_whole
from balancers.simulation.storytelling import as_text, default_policies, make_cells
from balancers.simulation.suite import Chapter, Row, chapters, run_cells
from balancers.simulation.verdict import RULE, all_round, ratio_to_best, recommendation, verdict

LAYER = {"traffic": {"requests": 800}}

# ------------------------------------------------------------------------------------ intervals


def test_the_interval_covers_the_mean():
    """Of 200 samples of 20 normal values, the 95 % interval misses the mean in few.

    The percentile interval of 20 values covers about 93 %. That fewer than 150 of 200 cover it
    has, at 92 %, a chance below 1e-9 (binomial).
    """
    rng = random.Random(1)
    covered = 0
    for _ in range(200):
        found = bootstrap_mean([rng.gauss(5.0, 1.0) for _ in range(20)])
        assert found.low <= found.mean <= found.high
        covered += found.low <= 5.0 <= found.high

    assert covered >= 150


def test_the_interval_of_little():
    """One value, or equal ones, have no width; none has no mean; the same values the same one."""
    assert bootstrap_mean([3.0]) == bootstrap_mean([3.0, 3.0]) == Interval(3.0, 3.0, 3.0)
    assert bootstrap_mean([1.0, 2.0, 4.0]) == bootstrap_mean([1.0, 2.0, 4.0])
    with pytest.raises(ValueError, match="at least one"):
        bootstrap_mean([])


# ------------------------------------------------------------------------------------- verdicts


def row(policy, p99, errors=(0.0, 0.0, 0.0), **more):
    """Return a row with a p99 and a share of errors a seed."""
    values = {"p99": list(p99), "error_share": list(errors), **more.pop("values", {})}
    intervals = {name: bootstrap_mean(found) for name, found in values.items() if found}
    return Row(policy, values=values, intervals=intervals, **more)


def chapter(*rows, name="steady", **layer):
    """Return a chapter of some rows."""
    return Chapter(load_scenario(name, layer), rows, 1000, 3, 0.5)


def test_the_least_p99_wins():
    """Within 3 %, or within noise seed by seed, is as good; what loses requests is out."""
    found = verdict(
        chapter(
            row("Slow", [0.2, 0.2, 0.2]),
            row("Best", [0.1, 0.1, 0.1]),
            row("Near", [0.102, 0.102, 0.102]),
            row("Noisy", [0.05, 0.2, 0.1]),
            row("Failing", [0.01, 0.01, 0.01], errors=[0.02] * 3),
            row("oracle", [0.08, 0.08, 0.08], kind="oracle"),
            row("Lost", [0.01] * 3, trouble="KeyError: x"),
        )
    )

    assert found.best == "Best"
    assert found.ties == ("Near", "Noisy")
    assert found.sentence == (
        "Use Best (p99 100 ms, 1.25 × the oracle's); Near and Noisy are as good within noise."
    )


def test_pairs_and_not_means_are_compared():
    """A policy behind by 5 % under every seed is behind, however the seeds differ."""
    hard = [0.1, 1.0, 10.0]
    found = verdict(chapter(row("A", hard), row("B", [1.05 * value for value in hard])))

    assert (found.best, found.ties) == ("A", ())


def test_affinity_is_among_policies_that_place_by_key():
    """Where affinity counts, a faster policy without keys does not."""
    kept = {"affinity": [1.0] * 3}
    found = verdict(
        chapter(
            row("Random", [0.1] * 3),
            row("Ring", [0.2] * 3, keyed=True, values=kept),
            name="skewed-keys",
        )
    )

    assert found.sentence == (
        "Of those that place by key, use Ring (p99 200 ms, 100% of requests where their key went "
        "before)."
    )


def test_nobody_may_win():
    """Without a policy that finished there is no winner, and no ratio."""
    empty = chapter(row("Lost", [], trouble="no"))

    assert verdict(empty).best is None
    assert ratio_to_best(empty) == {}
    assert all_round([empty]) == []


def test_all_round_is_the_geometric_mean():
    """Ratios 1 and 4 are typically 2; losing requests counts, by a hundred at most."""
    one = chapter(row("A", [0.1] * 3), row("B", [0.4] * 3))
    two = chapter(row("A", [0.1] * 3), row("B", [0.1] * 3), row("C", [0.2] * 3))
    bad = chapter(row("A", [0.1] * 3), row("B", [0.1] * 3, errors=[0.5] * 3))
    both = {each.policy: each for each in all_round([one, two])}

    assert both["A"].typical == 1.0
    assert both["B"].typical == pytest.approx(2.0)
    assert (both["B"].worst, both["B"].within, both["B"].of) == (pytest.approx(4.0), 1, 2)
    assert "C" not in both
    (_, lossy) = all_round([bad])
    assert both["A"].oracle is None
    assert (lossy.policy, lossy.typical, lossy.worst) == (
        "B",
        pytest.approx(100.0),
        pytest.approx(500.0),
    )


def test_losses_count_without_a_cliff():
    """Beyond a tenth of a percent more than the least, each further tenth counts as much again.

    A policy that fails fast is not better than the best for it.
    """
    rows = [row("Least", [0.2] * 3, errors=[0.001] * 3), row("Near", [0.2] * 3, errors=[0.002] * 3)]
    rows += [
        row("Beyond", [0.2] * 3, errors=[0.0021] * 3),
        row("Twice", [0.3] * 3, errors=[0.003] * 3),
        row("Fast", [0.1] * 3, errors=[0.003] * 3),
    ]
    found = ratio_to_best(chapter(*rows))

    wanted = {"Least": 1.0, "Near": 1.0, "Beyond": 1.1, "Twice": 3.0, "Fast": 2.0}
    assert found == pytest.approx(wanted)


def test_what_to_start_with_is_what_stands_best():
    """The first of the standings is recommended, with its ratios, also to the oracle's."""
    one = chapter(
        row("A", [0.1] * 3), row("B", [0.2] * 3), row("oracle", [0.05] * 3, kind="oracle")
    )
    two = chapter(
        row("A", [0.4] * 3),
        row("B", [0.1] * 3),
        row("oracle", [0.1] * 3, kind="oracle"),
        name="one-slow",
    )
    standings = all_round([one, two])

    assert [each.policy for each in standings] == ["B", "A"]
    assert [each.oracle for each in standings] == pytest.approx([2.0, math.sqrt(8.0)])
    assert recommendation([]) == ""
    assert recommendation(standings) == (
        "Knowing nothing of the traffic, start with B: over these 2 scenarios its p99 is typically "
        "1.41 × that of the best policy there, 2.00 × the oracle's; at worst it is 2.00 × (Steady "
        "traffic), and in 1 it is within 10 % of the best."
    )


# -------------------------------------------------------------------------------------- reports


@pytest.fixture(scope="module")
def book():
    """Return a small real report, with a policy in trouble and a hostile name."""
    policies = ["RoundRobin", "Random", "RingHash", "Maglev", "JumpHash", "Rendezvous", "rr+health"]
    cells = make_cells(policies, ["steady", "fast-failing", "skewed-keys"], [0, 1], [LAYER])
    results = run_cells(cells)
    for cell, result in zip(cells, results, strict=True):
        if cell.policy == "Maglev" and cell.scenario == "steady":
            result.clear()
            result.update(policy="Maglev", scenario="steady", seed=0, trouble="Error: <b>&no</b>")
    return bind(chapters(cells, results), "Facts & <figures>.")


class Page(HTMLParser):
    """Checks that tags match, and collects what could reach out to the network."""

    VOID = ("meta", "link", "rect", "br")

    def __init__(self):
        super().__init__()
        self.open, self.targets, self.ids, self.tags = [], [], set(), []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.targets += [value for name, value in attrs if name in ("href", "src", "srcset")]
        self.ids |= {value for name, value in attrs if name == "id"}
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_no_network(book):
    """Tags match; every link leads into the page; there is no script, import or remote file."""
    text = as_html(book)
    page = Page()
    page.feed(text)

    assert not page.open
    assert "script" not in page.tags
    assert all((t.startswith("#") and t[1:] in page.ids) or t == "data:," for t in page.targets)
    assert not re.search(r"https?://|@import|url\(", text)
    assert "Error: &lt;b&gt;&amp;no&lt;/b&gt;" in text
    assert "Facts &amp; &lt;figures&gt;." in text
    assert text.count("<figure>") == 2 + 3 + 2  # fast-failing has a plot of errors too
    assert "nan" not in text.lower().replace("tenant", "")


def test_every_form_says_the_same(book):
    """HTML, Markdown, JSON and text hold the verdicts, every policy and every scenario."""
    data = json.loads(as_book_json(book))
    texts = [as_html(book), as_markdown(book), as_text(book)]
    for each in data["scenarios"]:
        for text in texts:
            assert each["title"] in text
            assert each["best"] in text
    for text in texts:
        assert data["recommendation"] in html.unescape(re.sub("</?strong>", "", text))
    for text in texts[:2]:
        assert RULE in text
    for each in data["scenarios"]:
        assert {p["policy"] for p in each["policies"]} >= {"RoundRobin", "Random", "RingHash"}
        for policy in each["policies"]:
            for found in policy["measures"].values():
                assert found["low"] <= found["mean"] + 1e-12
                assert found["mean"] <= found["high"] + 1e-12
    assert data["scenarios"][0]["policies"][0]["policy"] == "M/M/k bound"


def test_tables_are_well_formed(book):
    """A Markdown table's rows have as many cells as its head; the best policy comes first."""
    widths = set()
    for line in as_markdown(book).splitlines():
        if line.startswith("|"):
            widths.add(line.replace("\\|", "").count("|"))
        else:
            assert len(widths) <= 1
            widths = set()
    for each, found, ratios in zip(book.chapters, book.verdicts, book.ratios, strict=True):
        rows = [row for row in ordered(each, ratios) if row.kind == "policy"]
        assert rows[0].policy == found.best
        assert all(cell_text(rows[0], column)[0] for column in columns(each))


def test_the_bound_is_below_everybody(book):
    """In steady traffic the bound's mean is least, then the oracle's, up to noise."""
    rows = {row.policy: row.mean("mean") for row in book.chapters[0].rows if not row.trouble}

    assert rows["oracle"] == min(v for name, v in rows.items() if name != "M/M/k bound")


# ---------------------------------------------------------------------------- cells and the store


def test_cells_give_the_same_on_processes(tmp_path):
    """One process, two processes, and results kept from before: the same bytes in one order."""
    cells = make_cells(["RoundRobin", "Random"], ["one-slow"], [0, 1], [LAYER])
    store = Store(tmp_path)
    alone, spread_out = run_cells(cells), run_cells(cells, jobs=2, store=store)
    calls = []
    kept = run_cells(cells, store=store, progress=lambda done, of: calls.append((done, of)))

    assert [*map(result_bytes, alone)] == [*map(result_bytes, spread_out)]
    assert [*map(result_bytes, alone)] == [*map(result_bytes, kept)]
    assert calls == [(len(cells), len(cells))]


def test_half_a_file_is_no_result(tmp_path):
    """A cell whose file is broken, or of another kind, is played again."""
    store, cell = Store(tmp_path), Cell("RoundRobin", "steady", 0, LAYER)
    assert store.get(cell) is None
    store.put(cell, play(cell))
    assert store.get(cell) == play(cell)
    (path,) = tmp_path.iterdir()
    for broken in (path.read_bytes()[:100], b"", b"[]", b"{}"):
        path.write_bytes(broken)
        assert store.get(cell) is None


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    """If writing fails the old file is there, and nothing beside it."""
    path = tmp_path / "x"
    write_whole(path, b"old")

    def broken(handle):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="disk full"):
        write_whole(path, b"new")

    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


class UnpicklableError(Exception):
    """Cannot be made again from its text."""

    def __init__(self, one, two):
        super().__init__(f"{one} {two}")


def double(number):
    """Return twice the number; 13 ends the process, 7 raises, 8 what does not survive a pipe."""
    if number == 13:
        os.kill(os.getpid(), signal.SIGKILL)
    if number == 7:
        raise KeyError(number)
    if number == 8:
        raise UnpicklableError(number, number)
    return 2 * number


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="signals are POSIX")
def test_a_dead_worker_costs_only_its_task():
    """A task that kills its process every time is given up; all others have their result.

    An exception that cannot cross a pipe comes as its text.
    """
    found = dict(spread(double, [*range(5), 13, 7, 8, *range(20, 25)], jobs=2))

    assert isinstance(found[13], WorkerDiedError)
    assert str(TRIES) in str(found[13])
    assert isinstance(found[7], KeyError)
    assert "UnpicklableError: 8 8" in str(found[8])
    assert {n: found[n] for n in found if n not in (7, 8, 13)} == {
        n: 2 * n for n in (*range(5), *range(20, 25))
    }


def test_a_lost_cell_has_a_reason():
    """A cell that cannot be played has its reason; its row shows it."""
    cells = [Cell("RoundRobin", "steady", 0, LAYER), Cell("Nobody", "steady", 0, LAYER)]
    results = run_cells(cells)
    (found,) = chapters(cells, results)

    assert "unknown policy 'Nobody'" in results[1]["trouble"]
    assert [r.policy for r in found.rows if r.trouble] == ["Nobody"]


def test_the_defaults_can_be_played():
    """Every policy that runs unasked gets through a scenario."""
    cells = make_cells(default_policies(), ["one-slow"], [0], [{"traffic": {"requests": 300}}])

    assert [result["trouble"] for result in run_cells(cells)] == [None] * len(cells)


def test_memory_is_flat(monkeypatch):
    """Five times the requests need no more memory, heavy tails or not: nothing is kept of one.

    Queues are part of a run, so they must be short; the batches in hand are held in both.
    """
    monkeypatch.setattr("balancers.simulation.workload.BATCH", 1024)
    peaks = []
    for requests in (1_000, 5_000, 25_000):  # the first fills what is made once
        traffic = {"requests": requests, "load": 0.2, "service": "lognormal:0.05:10"}
        gc.collect()
        tracemalloc.start()
        assert play(Cell("Random", "uneven", 0, {"traffic": traffic}))["trouble"] is None
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    assert peaks[2] - peaks[1] < 5 * 20_000  # five bytes a request more: less than a pointer
