"""Forks in the middle of things: the child finds a balancer it can use."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")


def run(code: str) -> str:
    """Run a program of its own, so that its threads and forks stay out of this process."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_forks_during_updates():
    """A child forked while another thread is inside ``update`` can pick, update and look."""
    told = run(
        """
        import os, signal, sys, threading, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        from balancers import RoundRobin
        sys.setswitchinterval(1e-6)
        balancer = RoundRobin(["a", "b"])
        stop = threading.Event()
        def churn():
            i = 0
            while not stop.is_set():
                i += 1
                balancer.update([f"e{(i + j) % 97}" for j in range(40)])
        thread = threading.Thread(target=churn)
        thread.start()
        failed = 0
        for _ in range(60):
            child = os.fork()
            if child == 0:
                signal.alarm(20)
                try:
                    seen = [view.endpoint.id for view in balancer.snapshot().endpoints]
                    assert seen == [endpoint.id for endpoint in balancer.endpoints]
                    with balancer.pick():
                        pass
                    balancer.update(["x", *seen[:3]])
                    balancer.snapshot()
                    with balancer.pick():
                        pass
                    os._exit(0)
                except BaseException as error:
                    print(repr(error), flush=True)
                    os._exit(1)
            failed += os.waitpid(child, 0)[1] != 0
        stop.set()
        thread.join()
        print("failed", failed)
        """
    )
    assert told == "failed 0\n"


def test_phases_differ_between_workers():
    """Workers forked from one parent start apart, and again if they fork; a phase given stays.

    False alarm: eight workers over 500 endpoints all agree with a chance of 500⁻⁷, about 1e-19.
    """
    told = run(
        """
        import os
        from balancers import RoundRobin
        names = [f"e{i}" for i in range(500)]
        drawn, fixed = RoundRobin(names), RoundRobin(names, phase=7)
        for _ in range(8):
            if os.fork() == 0:
                print(drawn.pick().endpoint.id, fixed.pick().endpoint.id, flush=True)
                os._exit(0)
            os.wait()
        """
    )
    lines = [line.split() for line in told.splitlines()]
    assert len(lines) == 8
    assert len({drawn for drawn, _ in lines}) > 1
    assert {fixed for _, fixed in lines} == {"e7"}


def test_one_that_fails_does_not_stop_the_others():
    """A policy whose redraw raises in the child is logged; every other balancer is renewed."""
    told = run(
        """
        import os
        from balancers import RoundRobin
        class Broken(RoundRobin):
            def _renew(self):
                raise ZeroDivisionError
        names = [f"e{i}" for i in range(500)]
        every = [Broken(names) if i % 2 else RoundRobin(names) for i in range(10)]
        for balancer in every:
            balancer._control.acquire()
        before = [balancer._view.state for balancer in every]
        child = os.fork()
        if child == 0:
            kept = [b._view.state is state for b, state in zip(every, before)]
            assert kept == [False, True] * 5
            for balancer in every:
                assert not balancer._control.locked()
                balancer.update(["a"])
                balancer.pick().done()
            print("fine", flush=True)
            os._exit(0)
        os.waitpid(child, 0)
        """
    )
    assert told == "fine\n"
