"""The page of health states is the table the code runs on."""

import sys
from collections.abc import Iterator
from types import ModuleType

import pytest
from source_tree import ROOT

from balancers.health import HealthState
from balancers.health.transitions import GUARDS, rows


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The script that writes the page."""
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import health_states

    yield health_states
    sys.modules.pop("health_states", None)


def test_every_row_is_listed(page: ModuleType) -> None:
    """The list has one line a row of the table, each naming its target, in order."""
    lines = page.listing().splitlines()[2:]

    assert len(lines) == len(list(rows()))
    for line, (_, _, row) in zip(lines, rows(), strict=True):
        assert line.endswith(f"`{row.target.name}` |")
        assert row.guard is None or f"| {row.guard} |" in line
    assert all(f"{name}\n: {meaning}" in page.guards() for name, meaning in GUARDS.items())


def test_every_state_is_drawn_and_reached(page: ModuleType) -> None:
    """The drawing has a box for each state, and ways to and from each, newcomers aside."""
    drawing = page.drawing()
    ways = list(page._ways())

    for state in HealthState:
        assert f">{state.name}</text>" in drawing
        assert any(source is state for source, _, _ in ways)
        assert state is HealthState.UNKNOWN or any(target is state for _, target, _ in ways)
    table = {(state, row.target) for state, _, row in rows()}
    assert {(source, target) for source, target, _ in ways} <= table
    assert f"`{HealthState.GRACE.name}` | no |" in page.states()
