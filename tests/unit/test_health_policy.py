"""``HealthPolicy``: every threshold is checked, and named when it is wrong."""

import inspect
import math
from dataclasses import FrozenInstanceError, fields

import pytest

from balancers.health import HealthPolicy
from balancers.health.policy import _FLAGS, _OPTIONAL, _RULES, _WORDS

NAMES = [f.name for f in fields(HealthPolicy)]


def test_defaults_are_documented_and_legal() -> None:
    """Every field has its paragraph in the docstring; the contract's defaults hold."""
    policy = HealthPolicy()

    assert HealthPolicy.__doc__ is not None
    doc = inspect.cleandoc(HealthPolicy.__doc__)  # Python 3.13 has dedented it already
    assert [name for name in NAMES if f"\n    {name}: " not in doc] == []
    assert policy.consecutive_failures == 5
    assert policy.sequential
    assert (policy.sequential_floor, policy.sequential_factor) == (0.01, 2.0)
    assert policy.sequential_alpha == 1e-6
    assert policy.probe_interval == 5.0
    assert not policy.compares
    assert policy.failure_ratio is None


def test_frozen_and_comparable() -> None:
    """A policy cannot be changed, only copied with changes; equal by value."""
    policy = HealthPolicy()
    with pytest.raises(FrozenInstanceError):
        policy.rise = 3  # type: ignore[misc]

    assert policy.but(rise=3) == HealthPolicy(rise=3) != policy
    assert hash(policy) == hash(HealthPolicy())
    with pytest.raises(TypeError):
        HealthPolicy(5.0)  # type: ignore[misc]


@pytest.mark.parametrize("name", _RULES)
@pytest.mark.parametrize("value", [True, "1", (), -1, math.nan])
def test_numbers_are_checked(name: str, value: object) -> None:
    """Booleans and text are no numbers; nothing is negative or NaN; the field is named."""
    error = ValueError if value == -1 or value is math.nan else TypeError
    whole = "Whole" in type(_RULES[name]).__name__
    if value is math.nan and whole:
        error = TypeError
    with pytest.raises(error, match=name):
        HealthPolicy(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", sorted(set(_RULES) - _OPTIONAL))
def test_none_is_for_options_that_can_be_off(name: str) -> None:
    """None is refused where there is nothing to switch off."""
    with pytest.raises(TypeError, match=name):
        HealthPolicy(**{name: None})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", sorted(_OPTIONAL))
def test_none_switches_off(name: str) -> None:
    """None is accepted where there is."""
    assert getattr(HealthPolicy(**{name: None}), name) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("name", _FLAGS)
def test_flags_are_booleans(name: str) -> None:
    """0 and 1 are not False and True."""
    with pytest.raises(TypeError, match=name):
        HealthPolicy(**{name: 1})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", _WORDS)
def test_words_are_listed(name: str) -> None:
    """An unknown word is answered by the known ones."""
    with pytest.raises(ValueError, match=f"{name} must be one of .*, not 'other'"):
        HealthPolicy(**{name: "other"})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=name):
        HealthPolicy(**{name: []})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options",
    [
        {"probe_fast_interval": 6.0},
        {"probe_timeout": 5.1},
        {"ejection_time": 301.0},
        {"sequential_floor": 0.5},
        {"probation_picks": 2, "probation_successes": 3},
        {"max_ejected": 1.01},
        {"min_eligible": 0},
        {"latency_hosts": 1},
        {"latency_factor": 1.0},
        {"slow_start_minimum": 0.0},
        {"sequential_factor": 0.9},
        {"sequential_alpha": 1.0},
        {"probe_interval": math.inf},
        {"rise": 0},
        {"ejection_jitter": 1.0},
    ],
)
def test_ranges_and_contradictions(options: dict) -> None:
    """Values out of range, and pairs that contradict each other, are named."""
    with pytest.raises(ValueError, match=next(iter(options))):
        HealthPolicy(**options)


def test_presets_take_changes() -> None:
    """``envoy``, ``grpc`` and ``nginx`` are those systems' defaults, and may be changed."""
    envoy = HealthPolicy.envoy()

    assert (envoy.success_rate_stdev, envoy.max_ejected, envoy.ejection_time) == (1.9, 0.1, 30.0)
    assert envoy.compares
    assert HealthPolicy.grpc().consecutive_failures is None
    assert HealthPolicy.grpc().outlier_rules == "grpc"
    assert HealthPolicy.nginx(max_fails=3, fail_timeout=5.0).ejection_time == 5.0
    assert HealthPolicy.envoy(max_ejected=0.5).max_ejected == 0.5
    with pytest.raises(ValueError, match="rise"):
        HealthPolicy.grpc(rise=0)
