"""``balancers sweep``: the same bytes wherever, however often stopped; and on Dask."""

import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

import balancers
from balancers.__main__ import main

SRC = Path(balancers.__file__).resolve().parent.parent
WHAT = ["--policies", "rr,RingHash", "--scenario", "steady", "--scenario", "one-slow",
        "--seeds", "2", "--requests", "4000"]  # fmt: skip
WRITTEN = ("results.jsonl", "report.json", "report.md", "report.html")
CELLS = 3 * 2 * 2  # two policies and the oracle


def results(folder):
    """Return the bytes of everything a finished sweep wrote."""
    return [(folder / name).read_bytes() for name in WRITTEN]


def sweep(*args):
    """Run the command in this process."""
    return main(["sweep", *map(str, args)])


def started(*args):
    """Start the command in a process of its own, the leader of its group."""
    return subprocess.Popen(
        [sys.executable, "-m", "balancers", "sweep", *map(str, args)],
        env={**os.environ, "PYTHONPATH": str(SRC)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """What one process makes of the sweep."""
    folder = tmp_path_factory.mktemp("alone")
    assert sweep(folder, *WHAT, "--jobs", "1") == 0
    return results(folder)


def test_processes_write_the_same_bytes(expected, tmp_path, capsys):
    """Two processes write what one writes, and count what they did."""
    assert sweep(tmp_path / "new", *WHAT, "--jobs", "2", "--progress") == 0
    out, err = capsys.readouterr()

    assert results(tmp_path / "new") == expected
    assert f"{CELLS} of {CELLS} cells are in" in out
    assert err.endswith(f"{CELLS} of {CELLS} cells\n")
    assert len(list((tmp_path / "new" / "cells").iterdir())) == CELLS


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="signals are POSIX")
def test_a_killed_sweep_goes_on(expected, tmp_path):
    """After kill −9 of all its processes the finished cells are kept, the result is the same."""
    cells = tmp_path / "cells"
    process = started(tmp_path, *WHAT, "--jobs", "2")
    while not (cells.is_dir() and len(list(cells.glob("[!.]*"))) >= 2):
        assert process.poll() is None, "the sweep ended before it could be killed"
        select_nothing()
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    kept = {path: path.stat().st_mtime_ns for path in cells.glob("[!.]*")}

    assert 2 <= len(kept) < CELLS
    assert not (tmp_path / "results.jsonl").exists()
    assert sweep(tmp_path, *WHAT, "--jobs", "2") == 0
    assert results(tmp_path) == expected
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def select_nothing():
    """Let another process run for a moment: there is no event to wait for across a kill."""
    time.sleep(0.002)


def test_sizes_are_played(tmp_path, capsys):
    """Each size is a chapter of its own."""
    assert sweep(tmp_path, "--policies", "rr", "--scenario", "steady", "--seeds", "1",
                 "--requests", "500", "--sizes", "5,50", "--jobs", "1") == 0  # fmt: skip
    text = (tmp_path / "results.jsonl").read_text()

    assert text.count("\n") == 4
    assert ('"size": 5,' in text, '"size": 50,' in text) == (True, True)


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (["--policies", "nobody"], "unknown policy 'nobody'"),
        (["--scenario", "rain"], "unknown scenario 'rain'"),
        (["--trace", "/no/such/file"], "cannot read /no/such/file"),
        (["--sizes", "5,x"], "must be a whole number"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path, capsys, args, reason):
    """What cannot be used gives status 2 and one sentence, before anything is played."""
    try:
        status = sweep(tmp_path, *args)
    except SystemExit as exit_:
        status = exit_.code
    err = capsys.readouterr().err

    assert status == 2
    assert reason in err
    assert err.count("\n") == 1


def test_no_dask_is_one_sentence(tmp_path, capsys, monkeypatch):
    """Without the package, or a scheduler, the command says so."""
    monkeypatch.setitem(sys.modules, "distributed", None)

    assert sweep(tmp_path, *WHAT, "--dask", "tcp://127.0.0.1:1") == 2
    assert "--dask needs dask" in capsys.readouterr().err


# ---------------------------------------------------------------------------------------- Dask

needs_dask = pytest.mark.skipif(
    find_spec("distributed") is None, reason="NOT RUN: dask is not installed (extra 'dask')"
)
BOOT = """
import sys, warnings
warnings.simplefilter("ignore")
sys.argv[0] = "dask"
from {module} import main
main()
"""


def dask(module, *args):
    """Start a part of a Dask cluster in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", BOOT.format(module=module), *args],
        env={
            **os.environ,
            "PYTHONPATH": str(SRC),
            "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "5",
            "DASK_DISTRIBUTED__ADMIN__TICK__LIMIT": "60s",
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


@pytest.fixture
def cluster(tmp_path):
    """Start a scheduler and two workers; yield the address and the workers' processes."""
    file = tmp_path / "scheduler.json"
    where = ["--scheduler-file", str(file)]
    quiet = ["--no-dashboard", "--host", "127.0.0.1"]
    processes = [
        dask("distributed.cli.dask_scheduler", *where, *quiet, "--port", "0"),
        *(
            dask("distributed.cli.dask_worker", *where, *quiet, "--nthreads", "1", "--no-nanny",
                 "--local-directory", str(tmp_path / f"worker{i}"))
            for i in range(2)
        ),
    ]  # fmt: skip
    try:
        import distributed

        while not file.exists():
            assert processes[0].poll() is None
            select_nothing()
        with distributed.Client(scheduler_file=str(file), timeout="30s") as client:
            client.wait_for_workers(2, timeout="60s")
            address = client.scheduler.address
        yield address, processes[1:]
    finally:
        for process in processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@needs_dask
@pytest.mark.filterwarnings("ignore")
def test_dask_writes_the_same_bytes_and_survives_a_dead_worker(expected, cluster, tmp_path):
    """Two workers, one killed in the middle: the sweep ends, its files are those of one process."""
    address, workers = cluster
    folder = tmp_path / "out"
    process = started(folder, *WHAT, "--dask", address)
    cells = folder / "cells"
    while not (cells.is_dir() and len(list(cells.glob("[!.]*"))) >= 2):
        assert process.poll() is None, "the sweep ended before a worker could be killed"
        select_nothing()
    os.killpg(workers[0].pid, signal.SIGKILL)
    left = CELLS - len(list(cells.glob("[!.]*")))

    assert process.wait(120) == 0
    assert left > 0
    assert results(folder) == expected
