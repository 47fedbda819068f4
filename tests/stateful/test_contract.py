"""Every registered policy, held to the whole public contract."""

from __future__ import annotations

import pytest
from models import Held, held

from balancers.testing import CHECKS


@pytest.mark.parametrize("name", CHECKS)
@pytest.mark.parametrize("policy", held(), ids=lambda policy: policy.name)
def test_contract(policy: Held, name: str) -> None:
    """The policy keeps the promise that the check is named after."""
    CHECKS[name](policy.factory, **policy.traits)
