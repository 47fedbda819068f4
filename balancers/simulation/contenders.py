"""Which policies run: the registered ones, or a list such as ``rr,P2C(choices=3),my.module:Mine``.

A contender is a name and a way to build a balancer on a stage. An ordinary policy looks at the
stage's endpoints, clock and rng alone; an oracle may look at the servers too.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from balancers import Balancer
from balancers.health import HealthRegistry
from balancers.policies import policy_named, registered
from balancers.simulation.engine import Build, Stage

__all__ = [
    "HEALTH",
    "Contender",
    "Named",
    "contender",
    "parse_contenders",
    "parse_policies",
    "split_entries",
]

HEALTH = "+health"

Named: TypeAlias = tuple[str, Callable[..., Balancer], Callable[..., Balancer]]
"""A policy somebody named: its name with options, the policy, and how to make it so."""


@dataclass(frozen=True, slots=True)
class Contender:
    """Something that can be run.

    Attributes:
        name: Column in the table, and part of the seed of the run's rng.
        build: Makes the balancer, once for each client.
        keyed: Whether it is handed the keys.
        key_kind: What kind of keys it takes, see ``keys.adapter``.
        oracle: Whether it knows what no client can; it is then one for all clients.
    """

    name: str
    build: Build
    keyed: bool = True
    key_kind: str = "any"
    oracle: bool = False


def contender(
    policy: Callable[..., Balancer],
    name: str = "",
    *,
    keyed: bool | None = None,
    health: bool = False,
    **options: Any,
) -> Contender:
    """Return the contender that builds ``policy`` with the stage's clock and rng.

    Args:
        policy: A policy class, or anything called like one.
        name: Its name in the results; the class name if empty.
        keyed: Whether it is handed the keys; what its attribute ``keyed`` says if None.
        health: Whether each client has a ``HealthRegistry`` of its own, with its defaults.
        options: The policy's own options.
    """

    def build(stage: Stage) -> Balancer:
        more: dict[str, Any] = {"health": HealthRegistry(clock=stage.clock)} if health else {}
        return policy(stage.endpoints, clock=stage.clock, rng=stage.rng, **more, **options)

    return Contender(
        name or getattr(policy, "__name__", type(policy).__name__),
        build,
        _keyed(policy) if keyed is None else keyed,
        _kind(policy),
    )


def parse_contenders(text: str | None = None) -> list[Contender]:
    """Return the contenders a list names, or every registered policy if there is no list.

    Args:
        text: Entries separated by commas, each a class name or alias of a registered policy or
            ``module:Class``, with options in brackets if wanted: ``P2C(choices=3)``. Options are
            literals. A module is looked for in the working directory too. ``+health`` after an
            entry gives each client a health registry with its defaults.

    Raises:
        ValueError: If an entry cannot be understood or found, or occurs twice.
    """
    if text is None:
        return [contender(policy) for policy in registered().values()]
    found = []
    for entry in split_entries(text):
        plain = entry.removesuffix(HEALTH)
        (name, policy, make), healthy = _parse(plain), plain != entry
        made = contender(make, name + HEALTH * healthy, health=healthy)
        found.append(replace(made, keyed=_keyed(policy), key_kind=_kind(policy)))
    _check_names([each.name for each in found])
    return found


def parse_policies(text: str) -> list[Named]:
    """Return (name with options, policy, the policy with its options filled in) of each entry.

    Args:
        text: As for ``parse_contenders``.

    Raises:
        ValueError: If an entry cannot be understood or found, or occurs twice.
    """
    found = [_parse(entry) for entry in split_entries(text)]
    _check_names([name for name, _, _ in found])
    return found


def _check_names(names: list[str]) -> None:
    if not names:
        raise ValueError(f"no policy named; known: {', '.join(_known())}")
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"the policy {name} is named twice")


def _keyed(policy: Callable[..., Balancer]) -> bool:
    return bool(getattr(policy, "keyed", True))


def _kind(policy: Callable[..., Balancer]) -> str:
    return str(getattr(policy, "key_kind", "any"))


def _known() -> Iterator[str]:
    """Yield the registered names, each with its aliases."""
    for name, policy in registered().items():
        aliases = ", ".join(policy.aliases)
        yield f"{name} ({aliases})" if aliases else name


def split_entries(text: str) -> list[str]:
    """Return the parts between the commas that stand outside brackets and quotes."""
    parts, depth, quote, start = [], 0, "", 0
    for at, char in enumerate(text):
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        elif char in "([{":
            depth += 1
        elif char in ")]}":
            depth -= 1
        elif char == "," and depth == 0:
            parts.append(text[start:at])
            start = at + 1
    parts.append(text[start:])
    return [part.strip() for part in parts if part.strip()]


_ENTRY = re.compile(r"(?:(?P<module>[\w.]+):)?(?P<name>[\w.-]+)\s*(?P<options>\(.*\))?", re.DOTALL)


def _parse(entry: str) -> Named:
    match = _ENTRY.fullmatch(entry)
    if match is None:
        raise ValueError(f"cannot understand the policy {entry!r}; known: {', '.join(_known())}")
    options = _options(match["options"] or "()", entry)
    shown = ", ".join(f"{name}={value!r}" for name, value in options.items())
    policy: Callable[..., Balancer]
    if match["module"]:
        policy = _load(match["module"], match["name"])
    else:
        try:
            policy = policy_named(match["name"])
        except LookupError:
            raise ValueError(
                f"unknown policy {match['name']!r}; known: {', '.join(_known())}"
            ) from None
    name = getattr(policy, "__name__", match["name"])
    return f"{name}({shown})" if shown else name, policy, partial(policy, **options)


def _options(text: str, entry: str) -> dict[str, Any]:
    call: ast.expr | None = None
    with contextlib.suppress(SyntaxError, ValueError, RecursionError, MemoryError):
        call = ast.parse(f"_{text}", mode="eval").body
    if isinstance(call, ast.Call) and not call.args and all(each.arg for each in call.keywords):
        with contextlib.suppress(ValueError, TypeError, RecursionError, MemoryError):
            return {str(each.arg): ast.literal_eval(each.value) for each in call.keywords}
    raise ValueError(
        f"the options of a policy are literals by name, as in P2C(choices=3), not {entry!r}"
    )


def _load(module: str, name: str) -> Callable[..., Balancer]:
    here = str(Path.cwd())
    sys.path.insert(0, here)  # a console script does not look here by itself
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except Exception as error:  # somebody else's module may raise anything
        raise ValueError(
            f"cannot load the policy {module}:{name}: {type(error).__name__}: {error}"
        ) from error
    finally:
        sys.path.remove(here)
    if not callable(found):
        raise ValueError(f"{module}:{name} is not a policy class: {found!r}")  # noqa: TRY004
    return found  # type: ignore[no-any-return]
