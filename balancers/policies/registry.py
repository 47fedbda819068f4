"""Policies by name, for whoever lists or chooses them: the command line, the suites."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeVar

from balancers.core.policy import Policy

__all__ = ["policy_named", "register", "registered"]

_Class = TypeVar("_Class", bound=type[Policy])

_policies: dict[str, type[Policy]] = {}
_names: dict[str, type[Policy]] = {}


def register(policy: _Class) -> _Class:
    """Make a policy known by its class name and its aliases; usable as a decorator.

    Raises:
        ValueError: If a name belongs to another class.
    """
    names = [policy.__name__, *policy.aliases]
    for name in names:
        if _names.get(name.lower(), policy) is not policy:
            raise ValueError(f"the name {name!r} belongs to {_names[name.lower()].__name__}")
    _policies[policy.__name__] = policy
    _names.update((name.lower(), policy) for name in names)
    return policy


def registered() -> Mapping[str, type[Policy]]:
    """Return the known policies by class name, in the order they were registered."""
    return MappingProxyType(_policies)


def policy_named(name: str) -> type[Policy]:
    """Return the policy of that class name or alias, case ignored.

    Raises:
        LookupError: If there is none; the message lists those there are.
    """
    try:
        return _names[name.lower()]
    except KeyError:
        raise LookupError(f"unknown policy {name!r}; known: {', '.join(_policies)}") from None
