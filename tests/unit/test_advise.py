"""``balancers advise``, and ``compare`` with scenarios, from outside."""

import contextlib
import io
import json
import random
from pathlib import Path

import pytest

from balancers import Endpoint
from balancers.__main__ import main
from balancers.policies import registered
from balancers.simulation.advise import candidates, matching, paste
from balancers.simulation.scenario import known_scenarios, load_scenario

TRACES = Path(__file__).resolve().parents[3] / "shared" / "traces"
QUICK = ["--requests", "400", "--seeds", "1", "--jobs", "1"]
SLOW = ("Maglev", "Rendezvous", "LeastResponseTime", "WeightedRoundRobin")  # to simulate; left out


@pytest.fixture
def few(monkeypatch):
    """Leave out candidates that take long; all of them exist, says a test of its own."""

    def some(**facts):
        return [name for name in candidates(**facts) if not name.startswith(SLOW)]

    monkeypatch.setattr("balancers.simulation.advise.candidates", some)
    return some


@pytest.fixture
def log(tmp_path):
    """Write a trace of 700 requests with users and durations."""
    rng = random.Random(1)
    path = tmp_path / "requests.jsonl"
    rows = [
        {"timestamp": 0.01 * i, "user": f"u{rng.randrange(50)}", "took": rng.expovariate(20.0)}
        for i in range(700)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def run(capsys, *args):
    """Run a command in this process; return status, stdout and stderr."""
    try:
        status = main([*map(str, args)])
    except SystemExit as exit_:
        status = exit_.code
    out, err = capsys.readouterr()
    return status, out, err


def pasted(out):
    """Run the Python that was printed, which picks once; return the balancer."""
    code = out.partition("\nfrom balancers")
    text = (code[1] + code[2]).partition("\n\nOver ")[0]
    space = {}
    with contextlib.redirect_stdout(io.StringIO()) as said:
        exec(text, space)
    assert said.getvalue() == f"send to {space['pick'].endpoint.id}\n"
    return space["balancer"]


# --------------------------------------------------------------------------------------- advise


@pytest.mark.parametrize("sticky", [False, True])
def test_the_advice_can_be_pasted(capsys, few, log, sticky):
    """What is printed runs, makes the policy that is named, and its evidence is a table."""
    args = ["advise", log, *QUICK, "--endpoints", "a:2,b,c", "--key-field", "user",
            "--size-field", "took"] + ["--sticky"] * sticky  # fmt: skip
    status, out, err = run(capsys, *args)

    assert (status, err) == (0, "")
    name = out.splitlines()[0].removeprefix("Use ").removesuffix(".")
    balancer = pasted(out)
    assert type(balancer).__name__ == name.partition("(")[0].removesuffix("+health")
    assert [(e.id, e.weight) for e in balancer.endpoints] == [("a", 2.0), ("b", 1.0), ("c", 1.0)]
    assert balancer.pick("key").endpoint.id in "abc"
    for scenario in matching(sticky=sticky, prompts=False):
        assert load_scenario(scenario).title in out
    if sticky:
        assert type(balancer).keyed


def test_the_evidence_is_written(capsys, few, log, tmp_path, monkeypatch):
    """JSON holds every scenario and candidate; with - it is all of stdout."""
    two = matching(sticky=False, prompts=False)[:2]
    monkeypatch.setattr("balancers.simulation.advise.matching", lambda **facts: two)
    path = tmp_path / "evidence.json"
    status, _, _ = run(capsys, "advise", log, *QUICK, "--json", path)
    data = json.loads(path.read_text())

    assert status == 0
    assert [each["scenario"] for each in data["scenarios"]] == two
    named = {policy["policy"] for policy in data["scenarios"][0]["policies"]}
    assert named == {*few(sticky=False, prompts=False), "oracle"}
    status, out, err = run(capsys, "advise", log, *QUICK, "--json", "-")
    assert json.loads(out) == data
    assert err.startswith("Use ")


def test_candidates_are_policies_that_exist():
    """Whatever comes into question is registered; sticky traffic gets policies by key alone."""
    for sticky in (False, True):
        for prompts in (False, True):
            names = candidates(sticky=sticky, prompts=prompts)
            assert len(names) == len(set(names)) > 2
            for name in names:
                policy = registered()[name.partition("(")[0].removesuffix("+health")]
                assert policy.keyed or not sticky
    assert set(matching(sticky=True, prompts=False)) <= set(known_scenarios())


def test_options_and_weights_are_pasted():
    """Options, weights, quotes and health come out as Python."""
    text = paste("RingHash(load_factor=1.25, vnodes=40)+health", [Endpoint('a"b', weight=2.5)])
    space = {}
    exec(text, space)

    assert space["balancer"].endpoints == (Endpoint('a"b', weight=2.5),)
    assert "    load_factor=1.25,\n    vnodes=40,\n    health=HealthRegistry()," in text
    assert "Endpoint" not in paste("Random", [Endpoint("x")])


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (["/no/such/file"], "cannot read /no/such/file"),
        (["LOG", "--endpoints", "a:0"], "all endpoint weights are 0"),
        (["LOG", "--concurrency", "0"], "must be within 1"),
        (["LOG", "--size-field", "nothing"], "none"),
    ],
)
def test_bad_input_is_one_sentence(capsys, log, args, reason):
    """Status 2 and one sentence."""
    args = [log if arg == "LOG" else arg for arg in args]
    status, out, err = run(capsys, "advise", *args)

    assert (status, out) == (2, "")
    assert reason in err
    assert err.count("\n") == 1


@pytest.mark.skipif(not TRACES.exists(), reason=f"NOT RUN: the real traces are not at {TRACES}")
@pytest.mark.parametrize("name", ["mooncake_conversation.jsonl", "apache_access.log"])
def test_real_traces_get_advice(capsys, few, name):
    """A language model's trace is judged by its first token, an access log by its latency."""
    status, out, err = run(capsys, "advise", TRACES / name, *QUICK, "--endpoints", "4")

    assert (status, err) == (0, "")
    assert ("first token" in out) == name.startswith("mooncake")
    assert len(pasted(out).endpoints) == 4


@pytest.mark.skipif(not TRACES.exists(), reason=f"NOT RUN: the real traces are not at {TRACES}")
def test_prompts_are_compared_on_hits_and_first_tokens(capsys, tmp_path):
    """On the Mooncake trace placing by prefix hits the cache more often than placing blindly."""
    path = tmp_path / "out.json"
    policies = "RoundRobin,RingHash,RingHash(load_factor=1.25)"
    status, out, _ = run(
        capsys, "compare", TRACES / "mooncake_conversation.jsonl", "--scenario", "prefix-cache",
        "--policies", policies, "--requests", "3000", "--seeds", "1", "--jobs", "1",
        "--json", path,
    )  # fmt: skip
    (scenario,) = json.loads(path.read_text())["scenarios"]
    found = {each["policy"]: each["measures"] for each in scenario["policies"]}

    assert status == 0
    assert "cache hits" in out
    assert found["RingHash"]["hit_rate"]["mean"] > 1.5 * found["RoundRobin"]["hit_rate"]["mean"]
    assert all(each["first_p99"]["mean"] > 0.0 for each in found.values())


# ---------------------------------------------------------------------------- compare --scenario


def test_scenarios_on_the_command_line(capsys, tmp_path):
    """Several scenarios, laid over each other or not: a table and a verdict each, three files."""
    paths = {form: tmp_path / f"o.{form}" for form in ("html", "markdown", "json")}
    status, out, err = run(
        capsys, "compare", "--scenario", "one-slow+skewed-keys", "--scenario", "steady",
        "--policies", "rr,RingHash,hrw+health", "--clients", "3", *QUICK,
        *(f"--{form}={path}" for form, path in paths.items()),
    )  # fmt: skip
    data = json.loads(paths["json"].read_text())

    assert (status, err) == (0, "")
    for each in data["scenarios"]:
        assert each["title"] in out
        assert each["verdict"] in out
        assert each["requests"] == 400
    names = {policy["policy"] for policy in data["scenarios"][0]["policies"]}
    assert names == {"RoundRobin", "RingHash", "Rendezvous+health", "oracle"}
    assert paths["html"].read_text().startswith("<!doctype html>")
    assert paths["markdown"].read_text().startswith("# ")


def test_clients_in_a_plain_run(capsys):
    """``--clients`` works without a scenario: independent copies are less even together."""
    shares = []
    for clients in (1, 40):
        _, out, _ = run(capsys, "compare", "--requests", 3000, "--policies", "rr", "--clients",
                        clients, "--json", "-")  # fmt: skip
        shares.append(json.loads(out)["policies"][0]["share_error"])

    assert shares[0] < 0.001 < shares[1]


def test_a_policy_of_a_module_plays_scenarios(capsys, tmp_path, monkeypatch):
    """A policy of the user's own takes part by its import path."""
    (tmp_path / "my_policy.py").write_text(
        "from balancers import RoundRobin\nclass Mine(RoundRobin):\n    pass\n"
    )
    monkeypatch.chdir(tmp_path)
    status, out, _ = run(
        capsys, "compare", "--scenario", "steady", "--policies", "my_policy:Mine", *QUICK
    )

    assert status == 0
    assert "Use Mine" in out


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (["--scenario", "rain"], "unknown scenario 'rain'"),
        (["--scenario", "steady", "--csv", "x"], "--csv is for a plain run"),
        (["--scenario", "steady", "--html", "/no/such/x"], "no directory"),
        (["--scenario", "steady", "--html", "-", "--json", "-"], "only one of"),
        (["--html", "x"], "--html is for scenarios"),
        (["--seeds", "2"], "--seeds is for scenarios"),
        (["--clients", "0"], "must be within 1"),
    ],
)
def test_options_that_do_not_go_together(capsys, args, reason):
    """Status 2 and one sentence."""
    status, out, err = run(capsys, "compare", *args)

    assert (status, out) == (2, "")
    assert reason in err
    assert err.count("\n") == 1
