"""Every registered policy, held to the whole public contract."""

from __future__ import annotations

import pytest
from models import KNOWN, Held, held

from balancers.testing import CHECKS, forks


@pytest.mark.parametrize("name", CHECKS)
@pytest.mark.parametrize("policy", held(), ids=lambda policy: policy.name)
def test_contract(policy: Held, name: str, request: pytest.FixtureRequest, monkeypatch):
    """The policy keeps the promise that the check is named after."""
    reason = KNOWN.get((policy.name, name))
    if reason is not None:
        monkeypatch.setattr(forks, "PATIENCE", 2)
        request.applymarker(pytest.mark.xfail(reason=reason, strict=True))
    CHECKS[name](policy.factory, **policy.traits)
