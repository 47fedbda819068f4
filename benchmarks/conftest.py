"""Names a person can read in the benchmark table, and in its JSON."""

from __future__ import annotations

from typing import Any

import pytest


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Write classes by their name and counts with their parameter: ``RoundRobin-n=1000``."""
    if isinstance(val, type):
        return val.__name__
    if isinstance(val, int) and not isinstance(val, bool):
        return f"{argname}={val}"
    return None


@pytest.hookimpl(hookwrapper=True)
def pytest_benchmark_generate_json(
    config: pytest.Config, benchmarks: list[Any], **_: object
) -> Any:
    """Write parameters that are classes by their name: JSON has no classes."""
    for bench in benchmarks:
        if bench.params:
            bench.params = {
                name: value.__name__ if isinstance(value, type) else value
                for name, value in bench.params.items()
            }
    yield
