"""Conservation at full size: what the contract check does small, done large."""

from __future__ import annotations

import os

import pytest
from models import Held, held

from balancers import RoundRobin
from balancers.testing import check_thread_conservation

FULL = {"threads": 8, "cycles": 200_000, "updates": 1_000}
LARGE = {"threads": 8, "cycles": 200_000 if os.environ.get("BALANCERS_FULL") else 2_000}


def test_full_size():
    """8 threads × 200,000 cycles during 1,000 updates, switching every 10 µs: nothing is lost."""
    check_thread_conservation(RoundRobin, **FULL)


@pytest.mark.parametrize("policy", held(), ids=lambda policy: policy.name)
def test_every_policy(policy: Held):
    """The same for every policy, at full size where ``BALANCERS_FULL`` is set."""
    updates = 1_000 if os.environ.get("BALANCERS_FULL") else 60
    check_thread_conservation(policy.factory, **{**policy.traits, **LARGE, "updates": updates})
