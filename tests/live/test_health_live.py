"""Fifty real servers killed and restarted at random for a minute: ``nox -s live``.

Left out of the usual run: set ``BALANCERS_LIVE`` to the seconds it may take.
"""

import os
import threading
import time
from typing import Any

import pytest
from live_fleet import PATIENCE, QUICK, loop, open_files, threads, turmoil

SECONDS = float(os.environ.get("BALANCERS_LIVE", "0"))
SERVERS = 50

pytestmark = pytest.mark.skipif(SECONDS == 0.0, reason="nox -s live")


@pytest.mark.parametrize("prober", [threads, loop])
def test_a_minute_of_turmoil(prober: Any) -> None:
    """Dead servers get no pick once found, all return after their grace, nothing leaks."""
    files, before = open_files(), threading.active_count()
    # A timeout no healthy server misses, however busy the machine; ejections that outlast the
    # time probes take to agree with them.
    policy = QUICK.but(
        probe_timeout=2.0,
        probe_interval=2.0,
        probe_unhealthy_interval=0.5,
        minimum_healthy_time=1.0,
        slow_start=1.0,
        ejection_time=8.0,
        ejection_time_max=8.0,
        max_ejected=0.9,
    )
    end = time.monotonic() + SECONDS
    live = turmoil(
        prober,
        size=SERVERS,
        policy=policy,
        goes_on=lambda live: time.monotonic() < end,
        clients=2,
    )
    print(f"\n{live.kills} kills, found by {dict(live.found)}; {live.requests} requests")
    patience = time.monotonic() + PATIENCE
    while threading.active_count() > before and time.monotonic() < patience:
        time.sleep(0.01)  # servers' threads that answer their last request

    assert live.kills >= SECONDS / 10
    assert live.to_dead == 0
    assert live.early == []
    assert len(live.last) == SERVERS
    assert set(live.last.values()) == {3}
    assert threading.active_count() == before
    assert open_files() <= files + 2
