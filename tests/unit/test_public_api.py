"""What ``from balancers import …`` promises: the names, complete and in order."""

import importlib
import inspect
import pkgutil
from types import ModuleType

import pytest

import balancers
from balancers.policies import registered

CONTRACT = {
    "Endpoint", "Key", "Balancer", "Pick", "Outcome", "Delta", "Snapshot", "Observer", "Reason",
    "HealthRegistry", "HealthPolicy", "HealthState", "HealthEvent", "Admin", "Explanation",
    "BalancerError", "NoEndpointError", "NoEligibleEndpointError", "InvalidEndpointError",
    "RoundRobin", "WeightedRoundRobin", "Random", "LeastConnections", "PowerOfTwoChoices",
    "LeastResponseTime", "PeakEwma", "Adaptive", "RingHash", "Maglev", "Rendezvous", "JumpHash",
    "IPHash", "PrefixAffinity", "Priority", "ZoneAware", "Regions", "Subset", "Sticky", "Limit",
}  # fmt: skip
"""Every name the library will ever promise at its root; a new one is added here on purpose."""

STANDING = {
    "Adaptive", "Admin", "Balancer", "BalancerError", "Delta", "Endpoint", "Explanation",
    "HealthState", "IPHash", "InvalidEndpointError", "JumpHash", "Key", "LeastConnections",
    "LeastResponseTime", "Limit", "Maglev", "NoEligibleEndpointError", "NoEndpointError",
    "Observer", "Outcome", "PeakEwma", "Pick", "PowerOfTwoChoices", "Priority", "Random",
    "Reason", "Regions", "Rendezvous", "RingHash", "RoundRobin", "Snapshot", "Sticky",
    "Subset", "WeightedRoundRobin", "ZoneAware",
}  # fmt: skip
"""Names once published, never to be lost again."""

ROOMS = [
    f"balancers{room}"
    for room in ("", ".compose", ".core", ".health", ".policies", ".structures", ".testing")
]

CALLS = {
    "pick": "(self, key: 'Key | None' = None, *, exclude: 'Collection[str]' = (), "
    "cost: 'float' = 1.0) -> 'Pick'",
    "update": "(self, endpoints: 'Iterable[EndpointLike]') -> 'Delta'",
    "snapshot": "(self) -> 'Snapshot'",
    "explain": "(self, key: 'Key | None' = None, *, exclude: 'Collection[str]' = ()) "
    "-> 'Explanation'",
    "changed": "(self, callback: 'Callable[[], object]') -> 'Unsubscribe'",
    "close": "(self) -> 'None'",
}
"""Signatures of the contract, parameter by parameter."""


def rank(name: str) -> tuple[int, str]:
    """Order constants first, then classes, then functions, as ruff sorts ``__all__``."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2), name


@pytest.mark.parametrize("room", ROOMS)
def test_all_is_sorted_and_complete(room: str):
    """``__all__`` lists, sorted and once each, exactly the public names of the package."""
    module = importlib.import_module(room)
    found = {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }

    assert list(module.__all__) == sorted(found, key=rank)


def test_names_are_those_of_the_contract():
    """The root exports nothing the contract does not name, and loses no published name."""
    exported = set(balancers.__all__)

    assert exported <= CONTRACT
    assert exported >= STANDING


def test_every_registered_policy_is_exported():
    """What the command line offers, ``from balancers import`` offers too."""
    assert set(registered()) <= set(balancers.__all__)


@pytest.mark.parametrize("name", [n for n in balancers.__all__ if n != "Key"])
def test_every_public_object_is_documented(name: str):
    """Each public class has a docstring, and so has each public method it defines."""
    found = getattr(balancers, name)
    undocumented = [
        member
        for member, value in vars(found).items()
        if not member.startswith("_") and inspect.isfunction(value) and not inspect.getdoc(value)
    ]

    assert inspect.getdoc(found)
    assert not undocumented


@pytest.mark.parametrize("policy", registered().values(), ids=registered())
@pytest.mark.parametrize("call", CALLS)
def test_policies_have_the_contract_s_signatures(policy: type, call: str):
    """Parameter names, kinds and defaults are the contract's; a key type may be wider."""

    def shape(signature: inspect.Signature) -> list[tuple[str, object, object]]:
        return [(p.name, p.kind, p.default) for p in signature.parameters.values()]

    expected = inspect.signature(getattr(balancers.Balancer, call))
    actual = inspect.signature(getattr(policy, call))

    assert str(expected) == CALLS[call]
    assert shape(actual) == shape(expected)


@pytest.mark.parametrize("policy", registered().values(), ids=registered())
def test_options_of_policies_are_keyword_only(policy: type):
    """A policy takes the endpoints, and everything else by keyword."""
    first, *rest = inspect.signature(policy).parameters.values()

    assert first.name == "endpoints"
    assert all(p.kind in (p.KEYWORD_ONLY, p.VAR_KEYWORD) for p in rest)


@pytest.mark.parametrize("policy", registered().values(), ids=registered())
def test_policies_are_balancers(policy: type):
    """Every registered policy is a ``Balancer`` by structure."""
    assert isinstance(policy(["a"]), balancers.Balancer)


def test_every_module_can_be_imported():
    """Each module of the library imports alone and has a docstring."""
    for found in pkgutil.walk_packages(balancers.__path__, "balancers."):
        if found.name.startswith("balancers.adapters.") or found.name.endswith("__main__"):
            continue
        module = importlib.import_module(found.name)
        assert module.__doc__, found.name
