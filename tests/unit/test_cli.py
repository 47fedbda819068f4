"""``balancers compare`` from outside: what it prints, where, and its exit status."""

import csv
import gzip
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import balancers
from balancers.__main__ import main
from balancers.policies import registered

SRC = Path(balancers.__file__).resolve().parent.parent
TRACES = Path(__file__).resolve().parents[3] / "shared" / "traces"
LINE = 'h{i} - - [17/May/2015:10:05:{s:02} +0000] "GET /{i} HTTP/1.1" 200 {n} "-" "-"\n'


@pytest.fixture
def log(tmp_path):
    """Write an access log of 500 requests."""
    path = tmp_path / "access.log"
    path.write_text("".join(LINE.format(i=i % 7, s=i // 10 % 60, n=i) for i in range(500)))
    return path


def run(capsys, *args):
    """Run the command in this process; return status, stdout and stderr."""
    try:
        status = main(["compare", *map(str, args)])
    except SystemExit as exit_:
        status = exit_.code
    out, err = capsys.readouterr()
    return status, out, err


def in_process(*args, **options):
    """Run the command in a process of its own."""
    env = {**os.environ, "PYTHONPATH": str(SRC), **options.pop("env", {})}
    return subprocess.run(
        [sys.executable, "-m", "balancers", *map(str, args)],
        capture_output=True, env=env, timeout=60, check=False, **options,
    )  # fmt: skip


# ------------------------------------------------------------------------------------ the work


def test_every_registered_policy_is_in_the_table(capsys, log):
    """Without --policies the table has a line for each registered policy, and stderr is silent."""
    for args in ((log,), ("--requests", 500)):
        status, out, err = run(capsys, *args)
        lines = [line for line in out.splitlines() if line]
        assert (status, err) == (0, "")
        assert {line.split()[0] for line in lines[3:]} == set(registered())
        assert "requests/s" in lines[2]


@pytest.mark.skipif(not TRACES.exists(), reason=f"NOT RUN: the real traces are not at {TRACES}")
@pytest.mark.parametrize(
    "args",
    [
        ["apache_access.log", "--key", "path", "--service", "trace"],
        ["mooncake_conversation.jsonl", "--time-field", "timestamp:ms", "--key-field", "hash_ids",
         "--size-field", "output_length", "--service", "trace:2", "--spread", "3",
         "--workers", "8"],
    ],
)  # fmt: skip
def test_real_traces(capsys, tmp_path, args):
    """The recorded traces give a table, and every request is accounted for."""
    target = tmp_path / "out.json"
    policies = "rr,wrr,Random,RingHash,LeastConnections,PowerOfTwoChoices"
    status, _, err = run(
        capsys, TRACES / args[0], *args[1:], "--policies", policies, "--json", target
    )

    assert (status, err) == (0, "")
    data = json.loads(target.read_text())
    count = data["workload"]["requests"]
    assert count == {"apache": 10_000, "moonca": 12_031}[args[0][:6]]
    ended = [policy for policy in data["policies"] if policy["trouble"] is None]
    assert ended
    for policy in ended:
        assert sum(each["picks"] for each in policy["endpoints"]) + policy["errors"] == count
    assert data["offered_load"] == pytest.approx(0.7, rel=0.001)  # sizes are scaled exactly


def test_files_are_written(capsys, log, tmp_path):
    """--json, --csv and --plot write where told, and the table still goes to stdout."""
    paths = [tmp_path / name for name in ("o.json", "o.csv", "o.SVG")]
    status, out, _ = run(
        capsys, log, "--json", paths[0], "--csv", paths[1], "--plot", paths[2], "--seed", 3
    )

    assert status == 0
    assert "RoundRobin" in out
    data = json.loads(paths[0].read_text())
    assert data["workload"]["source"] == str(log)
    assert data["workload"]["bad_lines"] == 0
    assert data["setting"]["seed"] == 3
    rows = csv.DictReader(paths[1].read_text().splitlines())
    assert [row["policy"] for row in rows] == list(registered())
    assert paths[2].read_text().startswith("<svg")


@pytest.mark.parametrize("option", ["--json", "--csv", "--plot"])
def test_a_dash_is_stdout(log, option):
    """With - the file goes to stdout alone, and the table to stderr."""
    done = in_process("compare", log, option, "-")

    assert done.returncode == 0
    assert b"offered load" in done.stderr
    if option == "--json":
        assert json.loads(done.stdout)["schema"] == 1
    elif option == "--csv":
        assert next(csv.reader(io.StringIO(done.stdout.decode())))[0] == "policy"
    else:
        assert done.stdout.startswith(b"<svg")


@pytest.mark.skipif(sys.platform == "win32", reason="pipes by name are POSIX")
def test_stdin_and_pipes_are_traces(capsys, log):
    """Standard input and a named pipe give the same result as the file, gzip or not."""
    _, expected, _ = run(capsys, log, "--csv", "-")
    packed = gzip.compress(log.read_bytes())
    for name, data in (("-", packed), ("/dev/stdin", log.read_bytes())):
        done = in_process("compare", name, "--csv", "-", input=data)
        assert done.stdout.decode() == expected


def test_same_seed_same_bytes_in_every_process(capsys, log, tmp_path):
    """JSON, CSV and SVG do not depend on the process or its hash seed, but on the seed."""
    for name, trace in (("trace", [log]), ("made", ["--requests", "1000"])):
        written = []
        for seed, hash_seed in (("1", "1"), ("1", None), ("2", None)):
            folder = tmp_path / f"{name}-{len(written)}"
            folder.mkdir()
            paths = [folder / f"o.{form}" for form in ("json", "csv", "svg")]
            args = [*trace, "--seed", seed, "--json", paths[0], "--csv", paths[1]]
            args += ["--plot", paths[2]]
            if hash_seed is None:
                assert run(capsys, *args)[0] == 0
            else:
                env = {"PYTHONHASHSEED": hash_seed}
                assert in_process("compare", *args, env=env).returncode == 0
            written.append([path.read_bytes() for path in paths])

        one, two, other = written
        assert one == two
        assert all(a != b for a, b in zip(two, other, strict=True))


def test_progress_is_shown_on_demand(capsys, log):
    """Off a terminal there is no progress unless asked for; it ends at 100 %."""
    _, _, err = run(capsys, log, "--progress")

    assert err.endswith("100% of 500 requests × " + str(len(registered())) + " policies\n")


def test_bad_lines_are_reported(capsys, log):
    """Bad lines are counted on stderr and in the JSON, and cost nothing else."""
    with log.open("a") as more:
        more.write("garbage\n" * 3)
    status, out, err = run(capsys, log, "--json", "-")

    assert status == 0
    assert "3 lines could not be read, the first is line 501" in err
    assert json.loads(out)["workload"]["bad_lines"] == 3


def test_weights_are_speeds(capsys):
    """An endpoint of twice the weight serves twice as fast, ids may hold colons."""
    _, out, _ = run(
        capsys, "--endpoints", "a:2,[::1]:80:1", "--policies", "rr", "--json", "-",
        "--service", "deterministic:0.1", "--requests", 1000, "--load", 0.01,
    )  # fmt: skip
    fast, slow = json.loads(out)["policies"][0]["endpoints"]

    assert (fast["id"], slow["id"]) == ("a", "[::1]:80")
    assert fast["busy_seconds"] == pytest.approx(500 * 0.05)
    assert slow["busy_seconds"] == pytest.approx(500 * 0.1)


def test_a_policy_in_trouble_is_status_1_if_it_was_named(capsys, tmp_path, monkeypatch):
    """A policy that fails is a line under the table; asked for by name, also the status."""
    (tmp_path / "my_failing_policy.py").write_text(
        "class Fails:\n    def __init__(self, *a, **k):\n        raise ValueError('not today')\n"
    )
    monkeypatch.chdir(tmp_path)
    status, out, _ = run(capsys, "--policies", "rr,my_failing_policy:Fails", "--requests", 10)

    assert status == 1
    assert "Fails did not finish: ValueError: not today" in out
    assert "\nRoundRobin " in out


# -------------------------------------------------------------------------------- what is wrong


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (["{tmp}/none.log"], "cannot read {tmp}/none.log: No such file"),
        (["{tmp}"], "cannot read {tmp}: Is a directory"),
        (["{tmp}/empty"], "no request could be read from {tmp}/empty: it is empty"),
        (["{tmp}/junk"], "could not be read, the first is line 1: not in Common"),
        (["{tmp}/cut.gz"], "cannot read {tmp}/cut.gz: broken gzip data"),
        (["{log}", "--service", "trace", "--size-field", "x", "--format", "jsonl"], "not JSON"),
        (["--policies", "rr,nope"], "unknown policy 'nope'; known: RoundRobin"),
        (["--policies", ""], "no policy named; known:"),
        (["--endpoints", "0"], "must be within 1 … 100,000, not '0'"),
        (["--endpoints", "a,a"], "endpoint id 'a' occurs twice"),
        (["--endpoints", "a:-1"], "weight must be finite and ≥ 0"),
        (["--endpoints", "a:nan"], "weight must be finite"),
        (["--endpoints", "a:x"], "the weight of 'a:x' must be a number, not 'x'"),
        (["--endpoints", ""], "must not be empty"),
        (["--endpoints", "a:0,b:0"], "all endpoint weights are 0"),
        (["--endpoints", "50000", "--workers", "50000"], "endpoints times workers"),
        (["--service", "gauss"], "unknown service law 'gauss'; known: exponential"),
        (["--service", "exponential:x"], "not 'x'"),
        (["--service", "trace"], "needs a trace"),
        (["--load", "0"], "must be > 0"),
        (["--load", "-1"], "must be a number within 0"),
        (["--rate", "nan"], "must be a number within 0"),
        (["--rate", "1", "--load", "1"], "not allowed with"),
        (["--speed", "2"], "--speed is for a trace"),
        (["--spread", "1"], "--spread is for a trace"),
        (["{log}", "--keys", "5"], "--keys is for the built-in workload"),
        (["{log}", "--spread", "1e9"], "at most a day"),
        (["--requests", "0"], "must be within 1"),
        (["--requests", "1.5"], "must be a whole number, not '1.5'"),
        (["--seed", "x"], "must be a whole number"),
        (["--skew", "11"], "Zipf exponent"),
        (["--json", "-", "--csv", "-"], "only one of"),
        (["--json", "{tmp}/no/where.json"], "cannot write {tmp}/no/where.json: no directory"),
        (["--csv", "{tmp}"], "cannot write {tmp}: it is a directory"),
        (["--plot", "x.gif"], "a plot is .svg or .png, not 'x.gif'"),
        (["--nonsense"], "unrecognized arguments: --nonsense"),
    ],
)
def test_bad_input_is_one_sentence_and_status_2(capsys, tmp_path, log, args, reason):
    """Whatever is wrong with the input: status 2, one line on stderr, nothing on stdout."""
    (tmp_path / "empty").write_bytes(b"\n\n")
    (tmp_path / "junk").write_bytes(b"\x00\xff\nx\n")
    (tmp_path / "cut.gz").write_bytes(gzip.compress(os.urandom(10_000))[:5_000])
    fill = {"tmp": str(tmp_path), "log": str(log)}
    status, out, err = run(capsys, *(arg.format(**fill) for arg in args))

    assert (status, out) == (2, "")
    assert reason.format(**fill) in err
    assert err.count("\n") == 1
    assert "Traceback" not in err


def test_png_without_matplotlib_is_one_sentence(capsys, monkeypatch, tmp_path):
    """A PNG needs matplotlib, and the refusal says so before anything runs."""
    monkeypatch.setattr("balancers.simulation.plot.find_spec", lambda name: None)
    status, _, err = run(capsys, "--plot", tmp_path / "x.png")

    assert status == 2
    assert err.count("\n") == 1
    assert "needs matplotlib" in err


def test_a_full_disk_is_one_sentence(capsys, log):
    """A file that cannot be written is said so, without a traceback."""
    if not Path("/dev/full").exists():
        pytest.skip("NOT RUN: there is no /dev/full here")
    status, _, err = run(capsys, log, "--json", "/dev/full")

    assert status == 2
    assert "No space left" in err
    assert "Traceback" not in err


def test_odd_file_names_and_narrow_terminals(tmp_path, log):
    """A name that is no UTF-8 and a terminal that knows only ASCII do not stop the table."""
    odd = os.fsencode(tmp_path) + b"/\xff.log"
    Path(os.fsdecode(odd)).write_bytes(log.read_bytes())
    done = subprocess.run(
        [sys.executable, "-m", "balancers", "compare", odd, "--plot", str(tmp_path / "o.svg")],
        capture_output=True, check=False, timeout=60,
        env={**os.environ, "PYTHONPATH": str(SRC), "PYTHONIOENCODING": "ascii"},
    )  # fmt: skip

    assert done.returncode == 0
    assert b"RoundRobin" in done.stdout


def test_a_reader_that_has_enough_is_no_error():
    """``| head`` ends the command quietly."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as broken:
        done = subprocess.run(
            [sys.executable, "-m", "balancers", "compare", "--requests", "100"],
            stdout=broken, stderr=subprocess.PIPE, check=False, timeout=60,
            env={**os.environ, "PYTHONPATH": str(SRC)},
        )  # fmt: skip

    assert (done.returncode, done.stderr) == (0, b"")


def test_help_and_missing_command(capsys):
    """--help is status 0; without a command, status 2 and one line."""
    for args, status in ((["--help"], 0), (["compare", "--help"], 0), ([], 2), (["dance"], 2)):
        with pytest.raises(SystemExit) as exit_:
            main(args)
        assert exit_.value.code == status
    assert capsys.readouterr().err.count("\n") == 2
