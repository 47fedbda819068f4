"""Scenarios as data, what they put on stage, and the cells that play them."""

import json
import re
from collections import Counter

import pytest

from balancers import Endpoint, RoundRobin
from balancers.simulation import Batch, Run, contender, fifo, parse_contenders
from balancers.simulation.cells import LEVELS, Cell, play, result_bytes
from balancers.simulation.keys import Prompt
from balancers.simulation.oracles import MmkBound, erlang_c, oracle
from balancers.simulation.prompts import PromptWorkload
from balancers.simulation.scenario import known_scenarios, load_scenario
from balancers.simulation.service import parse_law
from balancers.simulation.staging import TraceSpec, cast
from balancers.simulation.timeline import Slice, Slicing
from balancers.simulation.traffic import Crowd, Surging
from balancers.simulation.watching import KeyWatch, recovery
from balancers.simulation.workload import SyntheticWorkload

WANTED = {
    "steady", "heterogeneous-2x", "heterogeneous-10x", "one-slow", "intermittently-slow",
    "fast-failing", "hanging", "deploy-roll", "scale-out", "flash-crowd", "skewed-keys",
    "skewed-clients", "region-loss", "stale-1", "stale-10", "stale-100", "long-streams",
    "prefix-cache", "shared-bulletins",
}  # fmt: skip
SHORT = {"traffic": {"requests": 1500}}


def run_of(scenario, policy="RoundRobin", seed=0, **layer):
    """Play a short cell."""
    return play(Cell(policy, scenario, seed, {**SHORT, **layer}))


# ----------------------------------------------------------------------------------------- data


def test_the_scenarios_are_there():
    """Every scenario of the suite comes along, has a title and asks a question."""
    assert set(known_scenarios()) >= WANTED
    for name in known_scenarios(parts=True):
        scenario = load_scenario(name)
        assert scenario.title
        assert scenario.question.endswith(("?", "."))


@pytest.mark.parametrize("name", known_scenarios())
def test_every_scenario_plays(name):
    """A policy gets through every scenario, and every request is accounted for."""
    found = run_of(name)

    assert found["trouble"] is None
    assert found["requests"] == 1500
    assert len(found["quantiles"]) == len(LEVELS)
    assert found["quantiles"] == sorted(found["quantiles"])
    assert found["quantiles"][LEVELS.index(0.99)] == pytest.approx(found["measures"]["p99"], 1e-3)
    assert json.loads(result_bytes(found)) == found


def test_a_cell_is_a_function_of_its_name():
    """The same cell gives the same bytes, another seed others; the policy moves no arrival."""
    one, two = (result_bytes(run_of("one-slow+skewed-keys")) for _ in range(2))

    assert one == two
    assert result_bytes(run_of("one-slow+skewed-keys", seed=1)) != one
    assert Cell("a", "b", 1).id == Cell("a", "b", 1).id != Cell("a", "b", 2).id


def test_scenarios_compose():
    """The second is laid over the first table by table; its events come on top."""
    both = load_scenario("fast-failing+skewed-keys+one-slow", {"traffic": {"clients": 7}})

    assert [event.kind for event in both.events] == ["fail", "slow"]
    assert (both.goal, both.traffic.keys, both.traffic.clients) == ("affinity", 2000, 7)
    assert both.title.startswith("One server fails fast; ")
    assert load_scenario("steady+steady").fleet == load_scenario("steady").fleet


def test_a_file_is_a_scenario(tmp_path):
    """A TOML file plays like one that comes along."""
    path = tmp_path / "mine.toml"
    path.write_text('title = "Mine"\n[fleet]\ngroups = [{ count = 3 }]\n')

    assert load_scenario(str(path)).fleet.groups[0].count == 3
    assert run_of(str(path))["size"] == 3


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("title = 1", "str is wanted"),
        ("x = 1", "unknown name 'x'"),
        ('title = "a"\n[fleet]\nsped = 1', "unknown name 'sped'"),
        ('title = "a"\n[fleet]\nworkers = 0', "workers must be ≥ 1"),
        ('title = "a"\n[fleet]\nworkers = true', "int is wanted"),
        ('title = "a"\n[fleet]\ngroups = 3', "a list is wanted"),
        ('title = "a"\n[fleet]\ngroups = [{ speed = 1.0 }]', "count"),
        ('title = "a"\n[fleet]\nnoise = { factor = 2.0 }', "noise has"),
        ('title = "a"\n[fleet]\nbulletin = -1.0', "bulletin"),
        ('title = "a"\n[traffic]\nload = 0.0', "load"),
        ('title = "a"\n[traffic]\nsurges = [{ begin = 0.5, end = 0.4, factor = 2.0 }]', "surge"),
        ('title = "a"\n[[events]]\nkind = "rain"\nbegin = 0.1', "an event is one of"),
        ('title = "a"\n[[events]]\nkind = "slow"\nbegin = 1.1', "within 0..1"),
        ('title = "a"\n[[events]]\nkind = "fail"\nbegin = 0.1\nregion = "z"', "no region 'z'"),
        ('title = "a"\ngoal = "fun"', "goal is one of"),
        ("title", "cannot read the scenario"),
    ],
)
def test_bad_scenarios_are_refused(tmp_path, text, reason):
    """What is unknown, of the wrong kind or out of range raises and says where."""
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=re.escape(reason)):
        load_scenario(str(path))


def test_unknown_scenarios_are_refused():
    """The message lists the known ones."""
    with pytest.raises(ValueError, match=r"unknown scenario 'rain'; known: steady"):
        load_scenario("rain")


# -------------------------------------------------------------------------------------- staging


def test_a_fleet_grows_in_proportion():
    """A size keeps the groups' parts and the struck ones' part; policies are told nothing."""
    stage = cast(load_scenario("heterogeneous-10x", {"fleet": {"size": 10}}), 0)

    assert Counter(stage.speeds.values()) == {1.0: 8, 0.1: 2}
    assert {endpoint.weight for endpoint in stage.endpoints} == {1.0}
    assert run_of("one-slow", fleet={"size": 100})["measures"]["wasted"] == pytest.approx(
        run_of("one-slow")["measures"]["wasted"], rel=0.15
    )


def test_members_are_told():
    """Named members have their weights as speeds, and policies know them."""
    layer = {"fleet": {"members": [["a", 3.0], ["b", 1.0]]}}
    found = run_of("steady", "WeightedRoundRobin", **layer)

    assert found["measures"]["share_error"] < 0.001
    assert found["size"] == 2


def test_a_deploy_touches_everybody_once():
    """Each server leaves and comes back; meanwhile nobody sends there."""
    scenario = load_scenario("deploy-roll", {"traffic": {"requests": 4000}})
    stage = cast(scenario, 0)
    found = play(Cell("RingHash", "deploy-roll", 0, {"traffic": {"requests": 4000}}))

    assert found["measures"]["error_share"] == 0.0
    assert 0.0 < found["measures"]["moved"] < 0.12  # about one in twenty
    assert 0.9 < found["measures"]["affinity"] < 1.0
    assert len(stage.endpoints) == 20


def test_joiners_get_their_part():
    """After five of 25 have joined, round robin sends them a fifth of what is left."""
    found = run_of("scale-out", traffic={"requests": 5000})

    assert found["measures"]["moved"] is None  # it places nothing by key
    assert found["measures"]["busiest_to_mean"] == pytest.approx(0.4 + 0.6 * 20 / 25, abs=0.01)


def test_joiners_are_cold():
    """A joiner that is slow at first makes some wait who would not."""
    warm, cold = (
        run_of("scale-out", traffic={"requests": 4000}, fleet={"warm_up": warm_up})
        for warm_up in ({"factor": 1.0, "seconds": 1.0}, {"factor": 50.0, "seconds": 3.0})
    )

    assert cold["measures"]["p99"] > 3.0 * warm["measures"]["p99"]


def test_clients_share_nothing():
    """Each client's round robin counts its own requests: together they are less even than one."""
    one, many = (
        play(Cell("RoundRobin", "steady", 0, {"traffic": {"requests": 3000, "clients": c}}))
        for c in (1, 50)
    )

    assert one["measures"]["share_error"] < 0.001 < many["measures"]["share_error"]


def test_a_region_is_lost_for_its_time():
    """Round robin loses a third of the requests of the middle third, and none before or after."""
    found = run_of("region-loss", traffic={"requests": 9000})
    errors = found["timeline"]["errors"]

    assert found["measures"]["error_share"] == pytest.approx(0.34 / 3, abs=0.01)
    assert max(errors[:16] + errors[34:]) == 0.0
    assert min(errors[17:33]) > 0.3


@pytest.mark.parametrize("policy", ["RoundRobin+health", "oracle"])
def test_who_knows_of_a_failure_avoids_it(policy):
    """Health learns within some requests; the oracle knows at once."""
    found = run_of("fast-failing", policy, traffic={"requests": 8000})

    assert found["measures"]["error_share"] <= (0.0 if policy == "oracle" else 0.003)


def test_trouble_is_kept_with_its_cell():
    """A policy that cannot take the fleet has its reason in the result."""
    found = play(
        Cell("JumpHash", "steady", 0, {**SHORT, "fleet": {"members": [["a", 1.0], ["b", 2.0]]}})
    )

    assert "weight" in found["trouble"]


def test_a_trace_brings_its_arrivals(tmp_path):
    """With a trace the keys and their number are the trace's; the load is the scenario's."""
    path = tmp_path / "log.jsonl"
    rows = [{"timestamp": i * 0.01 * (1 + i % 3), "user": f"u{i % 5}"} for i in range(300)]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    spec = TraceSpec(str(path), "jsonl", key_field="user")
    found = play(Cell("RingHash", "skewed-keys", 0, {}, spec))

    assert found["requests"] == 300
    assert found["measures"]["affinity"] == 1.0
    stage = cast(load_scenario("skewed-keys"), 0, spec)
    assert stage.workload.rate == pytest.approx(0.5 * 80 / 0.05)


# ----------------------------------------------------------------------------------- workloads


def synthetic(count=20_000, rate=100.0):
    """Return a small built-in workload."""
    return SyntheticWorkload(rate, parse_law("exponential:0.01"), count=count)


def test_a_crowd_sends_what_was_sent_before():
    """Clients change nothing of a workload but who sends; by Zipf's law if they are skewed."""
    batches = list(Crowd(synthetic(), 4, 1.0, 5).batches())
    plain = list(synthetic().batches())
    counts = Counter(client for batch in batches for client in batch.clients)

    assert [b.times for b in batches] == [b.times for b in plain]
    assert [b.demands for b in batches] == [b.demands for b in plain]
    # 12/25 of 20,000 go to the first: 6.11 binomial deviations are 432.
    assert abs(counts[0] - 9600) < 432
    assert sorted(counts, key=counts.get, reverse=True) == [0, 1, 2, 3]


def test_a_surge_is_denser_by_its_factor():
    """Between its ends there are ``factor`` times the arrivals a second, elsewhere as before.

    Poisson counts of 5,000 and 10,000 deviate by 6.11 roots: false alarms ≤ 1e-9 each.
    """
    surging = Surging(synthetic(), [(50.0, 100.0, 2.0)])
    times = [time for batch in surging.batches() for time in batch.times]

    assert len(times) == 20_000
    assert times == sorted(times)
    for begin, end, wanted in ((0, 50, 5000), (50, 100, 10_000), (100, 150, 5000)):
        assert abs(sum(begin <= time < end for time in times) - wanted) < 6.11 * wanted**0.5
    assert surging.rate == pytest.approx(20_000 / 150.0)


def test_conversations_go_on():
    """Prompts come in order of time; a block is shared by prompts that begin alike, only."""
    prompts, last = [], 0.0
    for batch in PromptWorkload(2.0, 3000, seed=1).batches():
        for time, prompt in zip(batch.times, batch.keys, strict=True):
            assert time >= last
            last = time
            prompts.append(prompt)
            assert len(prompt.blocks) == -(-prompt.tokens // 512)
    before = {}
    for prompt in prompts:
        for i, block in enumerate(prompt.blocks):
            assert before.setdefault(block, prompt.blocks[:i]) == prompt.blocks[:i]
    shared = sum(len(p.blocks) for p in prompts) / len(before)
    assert shared > 2.0
    assert isinstance(prompts[0], Prompt)


def test_recorded_durations_are_the_work():
    """The law ``recorded`` follows the sizes, rescaled to its mean."""
    law = parse_law("recorded:0.2")

    assert law.needs_sizes
    assert law.draw(None, [0.5, 2.0, 0.0]) == [0.1, 0.4, 1e-9]


# ------------------------------------------------------------------------------- what is watched


def test_slices_add_up():
    """A sliced run holds the same latencies as an unsliced one, each in the slice it arrived in."""
    times = [0.1 * i for i in range(1000)]
    batch = Batch(times, [None] * 1000, [0.25] * 1000)
    plain, sliced = (
        Run(contender(RoundRobin, phase=0).build, (Endpoint("a"), Endpoint("b")), fifo(),
            slicing=slicing)
        for slicing in (None, Slicing(7.0, 10))
    )  # fmt: skip
    for run in (plain, sliced):
        run.feed(batch)
        run._check()
        run.finish()
        run._check()

    assert sliced.histogram.steps() == plain.histogram.steps()
    assert [part.arrived for part in sliced.slices[:2]] == [70, 70]
    assert sum(part.arrived for part in sliced.slices) == 1000


def test_recovery_counts_from_the_trouble_to_the_last_bad_slice():
    """Ten calm slices, bad ones, calm again: so many widths; without the calm, no answer.

    A slice is bad by its errors or by its latencies, be it one request in twenty.
    """
    for lost, slow, wanted in ((12, 10, 6.0), (10, 13, 8.0), (19, 10, 20.0)):
        slices = []
        for i in range(20):
            part = Slice(arrived=100, lost=5 if i == lost else 0)
            part.latencies.add_all([0.1] * 95 + [0.2 if i == slow else 0.1] * 5)
            slices.append(part)
        assert recovery(slices, 2.0, 20.0) == pytest.approx(wanted)
        assert recovery(slices, 2.0, 2.0) is None
    assert recovery(slices[:10] * 2, 2.0, 20.0) == 0.0


def test_affinity_is_how_often_a_key_stays():
    """Three of four returns go where the key went before."""
    watch = KeyWatch()
    watch(["a", "b", "a", "a"], ["x", "y", "x", "x"])
    watch(["b", "a", "c"], ["y", "z", "x"])

    assert (watch.asked, watch.kept, watch.affinity) == (5 - 1, 3, 0.75)
    assert KeyWatch().affinity is None


# -------------------------------------------------------------------------------------- oracles


def test_the_oracle_takes_the_shortest_delay():
    """Of three speeds it fills the fastest first, in the order of (requests + 1) ÷ speed."""
    who = oracle()
    endpoints = tuple(Endpoint(name, weight=w) for name, w in (("a", 4.0), ("b", 2.0), ("c", 1.0)))
    run = Run(who.build, endpoints, fifo(), key_kind=who.key_kind)
    run.feed(Batch([0.0] * 7, [None] * 7, [100.0] * 7))

    # Delays a: 1/4 … 4/4, b: 1/2, 2/2, c: 1/1; so with seven inside each has its share.
    assert run.total("picks") == {"a": 4.0, "b": 2.0, "c": 1.0}
    run.finish()
    run._check()


def test_the_oracle_survives_changes_of_members():
    """Who leaves and comes back starts with nothing, and late ends touch nobody."""
    who = oracle()
    run = Run(who.build, (Endpoint("a"), Endpoint("b")), fifo())
    run.feed(Batch([0.0] * 10, [None] * 10, [1.0] * 10))
    run.update([Endpoint("b")])
    run.update([Endpoint("a"), Endpoint("b")])
    leases = [run.balancer.pick() for _ in range(5)]

    assert {lease.endpoint.id for lease in leases} == {"a"}
    run.finish()
    assert all(lease.done() for lease in leases)
    assert not leases[0].done()
    assert run.balancer._counts == {"a": [0], "b": [0]}


def test_the_bound_is_that_of_theory():
    """M/M/1 is exponential with rate μ − λ; for k = 2 Erlang's C is 2ρ²/(1 + ρ)."""
    one = MmkBound(1, 0.5, 0.01)

    assert one.mean == pytest.approx(0.02)
    assert one.quantile(0.99) == pytest.approx(0.02 * 4.605170186)
    assert erlang_c(2, 1.2) == pytest.approx(2 * 0.36 / 1.6)
    assert MmkBound(2, 0.6, 0.01).mean == pytest.approx(0.01 / (1 - 0.36))
    many = MmkBound(80, 0.8, 0.01)
    total = sum(many.quantile((i + 0.5) / 20_000) for i in range(20_000)) / 20_000
    assert total == pytest.approx(many.mean, rel=1e-3)


def test_health_can_be_named():
    """``+health`` gives a policy a registry; the name says so, and twice is twice."""
    plain, healthy = parse_contenders("RoundRobin(phase=0)+health,rr")[::-1]

    assert (plain.name, healthy.name) == ("RoundRobin", "RoundRobin(phase=0)+health")
    with pytest.raises(ValueError, match="named twice"):
        parse_contenders("rr+health,RoundRobin+health")
