"""Metadata subsets: each request names what its endpoint must be, and gets one that is.

Guarantees:
    Selectors, sets of metadata keys, are declared up front. Each has a subset for every
    combination of values its keys take among the endpoints. A request's criteria choose the
    subset of exactly their keys and values. Without such a subset the selector's own fallback
    counts, or else the balancer's: nobody, any endpoint, the default subset, or the subset of
    fewer keys. A subset whose endpoints may not be picked is no reason to fall back.

Use when:
    Some requests need some endpoints: a version, a stage, a tenant, a feature.

Avoid when:
    Subsets overlap and the inner policy is ``LeastResponseTime``: its order takes note of the
    load that came through other subsets only when it next looks at the endpoint.

Cost:
    ``match`` and a look-up a pick, beside the inner policy; O(selectors · n) an update or a
    health change.

Source:
    Envoy, "load balancer subsets".
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Unpack

from balancers.compose.composite import Branch, Composite, Group, PolicyFactory, State
from balancers.compose.spread import Spread
from balancers.core.lease import Pick
from balancers.core.ledger import Cell
from balancers.core.membership import Options
from balancers.core.view import View
from balancers.endpoint import Endpoint, EndpointLike
from balancers.errors import InvalidEndpointError
from balancers.hashing import Key
from balancers.protocol import Candidate, Reason

__all__ = ["MetadataSubset", "Selector"]

Fallback = Literal["none", "any", "default", "keys"]
Criteria = frozenset[tuple[str, Any]]

_ANY: Criteria = frozenset()
_NOBODY = Spread({}, ())


@dataclass(frozen=True)
class Selector:
    """A set of metadata keys that requests may ask for together.

    Args:
        keys: Names of metadata.
        fallback: What to do if no endpoint has the values asked for; None: as the balancer says.
        fallback_keys: For ``"keys"``: ask again for these alone, fewer of the same keys.

    Raises:
        TypeError: If a key is no text.
        ValueError: For keys or a fallback out of range.
    """

    keys: Iterable[str]
    fallback: Fallback | None = None
    fallback_keys: Iterable[str] = ()

    def __post_init__(self) -> None:
        for name in ("keys", "fallback_keys"):
            given = getattr(self, name)
            if isinstance(given, str):
                raise TypeError(f"{name} is a collection of texts, not the text {given!r}")
            found = frozenset(given)
            if not all(isinstance(key, str) for key in found):
                raise TypeError(f"{name} are texts, not {given!r}")
            object.__setattr__(self, name, found)
        if not self.keys:
            raise ValueError("a selector needs at least one key")
        if self.fallback not in (None, "none", "any", "default", "keys"):
            raise ValueError(f"no such fallback: {self.fallback!r}")
        fewer = set(self.fallback_keys) < set(self.keys)
        if (self.fallback == "keys") != bool(self.fallback_keys) or not fewer:
            raise ValueError('fallback "keys" goes with fallback_keys, some of the keys')


@dataclass(frozen=True, slots=True)
class _Plan:
    """A spread for each subset, and some subset of each endpoint that is in one."""

    spreads: Mapping[Hashable, Spread]
    homes: Mapping[str, Hashable]


class MetadataSubset(Composite):
    """Balancers over subsets of the endpoints, chosen by metadata.

    Args:
        endpoints: The membership; what counts is ``Endpoint.metadata``.
        policy: Makes the balancer of a subset.
        selectors: ``Selector`` objects, or collections of metadata keys.
        match: From the key of a pick to the metadata its endpoint must have, or None for no
            wish. Must not block, nor call back.
        fallback: ``"none"``, ``"any"`` or ``"default"``.
        default: For ``"default"``: the metadata of the default subset.
        options: What every balancer takes; see ``Policy``.

    Raises:
        TypeError: For an argument of the wrong type.
        ValueError: For an option out of range, or a default that nothing falls back to.
    """

    salt = 0x6D65_7461
    _locates = True

    def __init__(
        self,
        endpoints: Iterable[EndpointLike],
        *,
        policy: PolicyFactory,
        selectors: Iterable[Selector | Iterable[str]],
        match: Callable[[Any], Mapping[str, Any] | None],
        fallback: Literal["none", "any", "default"] = "none",
        default: Mapping[str, Any] | None = None,
        **options: Unpack[Options],
    ) -> None:
        if not callable(match):
            raise TypeError(f"match is callable, not {match!r}")
        if fallback not in ("none", "any", "default"):
            raise ValueError(f'fallback is "none", "any" or "default", not {fallback!r}')
        made = [s if isinstance(s, Selector) else Selector(s) for s in selectors]
        self._selectors = {frozenset(selector.keys): selector for selector in made}
        if len(self._selectors) < len(made):
            raise ValueError("two selectors have the same keys")
        self._match = match
        self._fallback: Fallback = fallback
        used = {fallback, *(selector.fallback for selector in made)}
        if (default is not None) != ("default" in used):
            raise ValueError('default= goes with a fallback "default"')
        self._default = None if default is None else _criteria(default)
        self._wide = "any" in used
        super().__init__(endpoints, policy=policy, **options)

    def _groups(self, view: View, cells: Mapping[str, Cell]) -> Mapping[Hashable, Group]:
        found: dict[Criteria, list[Endpoint]] = {}
        for endpoint in view.roster:
            has = {key: _frozen(value) for key, value in endpoint.metadata.items()}
            wanted = [_part(has, keys) for keys in self._selectors if keys <= has.keys()]
            if self._default is not None and self._default <= has.items():
                wanted.append(self._default)
            for criteria in dict.fromkeys(wanted):
                found.setdefault(criteria, []).append(endpoint)
        if self._wide:
            found[_ANY] = list(view.roster)
        return {criteria: Group(tuple(found[criteria])) for criteria in sorted(found, key=_text)}

    def _plan(self, view: View, branches: Mapping[Hashable, Branch]) -> _Plan:
        # An endpoint may be in several subsets: any one knows its latency and its score.
        homes = {e.id: name for name, branch in branches.items() for e in branch.view.roster}
        return _Plan({name: Spread({name: 1.0}, (name,)) for name in branches}, homes)

    def _group_of(self, plan: _Plan, endpoint: Endpoint) -> Hashable:
        return plan.homes.get(endpoint.id)

    def _spread(self, plan: _Plan, key: Key | None) -> Spread:
        wish = None if key is None else self._match(key)
        criteria = _criteria(wish) if wish else None
        return self._resolve(plan, criteria)

    def _resolve(self, plan: _Plan, criteria: Criteria | None) -> Spread:
        selector = None
        if criteria is not None:
            selector = self._selectors.get(frozenset(key for key, _ in criteria))
            if selector is not None and criteria in plan.spreads:
                return plan.spreads[criteria]
        how = (selector.fallback if selector is not None else None) or self._fallback
        if how == "keys" and selector is not None and criteria is not None:
            fewer = frozenset(selector.fallback_keys)
            return self._resolve(plan, frozenset(pair for pair in criteria if pair[0] in fewer))
        if how == "any":
            return plan.spreads.get(_ANY, _NOBODY)
        if how == "default":
            return plan.spreads.get(self._default, _NOBODY)
        return _NOBODY

    def _lease_on(
        self,
        view: View,
        cell: Cell,
        key: Key | None,
        cost: float,
        reason: Reason,
        now: float | None,
    ) -> Pick | None:
        state: State = view.state
        for criteria in self._spread(state.plan, key).names:
            branch = state.branches[criteria]
            if any(member.id == cell.endpoint.id for member in branch.view.roster):
                return branch.child._lease_on(branch.view, cell, key, cost, reason, now)
        return None

    def _candidates(
        self, view: View, exclude: Collection[str], chosen: Cell | None
    ) -> list[Candidate]:
        state: State = view.state
        found: dict[str, Candidate] = {}
        for branch in state.branches.values():
            mine = chosen is not None and chosen in branch.view.members
            for said in branch.child._candidates(branch.view, exclude, chosen):
                if mine or said.endpoint.id not in found:
                    found[said.endpoint.id] = said
        return [
            found.get(endpoint.id) or Candidate(endpoint, False, self._left_out(view, endpoint))
            for endpoint in view.roster
        ]

    def _label(self, name: Hashable = None) -> str:
        label = type(self).__name__
        if not isinstance(name, frozenset):
            return label
        return f"{label}[{_text(name)}]"

    def _details(self) -> Mapping[str, float]:
        return {"subsets": float(len(self._branches))}


def _text(criteria: Criteria) -> str:
    return ", ".join(sorted(f"{key}={value}" for key, value in criteria)) or "any"


def _part(metadata: Mapping[str, Any], keys: Iterable[str]) -> Criteria:
    try:
        return frozenset((key, metadata[key]) for key in keys)
    except TypeError as error:
        raise InvalidEndpointError(f"metadata that selects must be hashable: {error}") from None


def _criteria(wish: Mapping[str, Any]) -> Criteria:
    if not isinstance(wish, Mapping):
        raise TypeError(f"criteria are a mapping of metadata, not {wish!r}")
    return frozenset((key, _frozen(value)) for key, value in wish.items())


def _frozen(value: Any) -> Any:
    """Return a value that compares and hashes as the one given, lists and mappings included."""
    if isinstance(value, Mapping):
        return frozenset((key, _frozen(inner)) for key, inner in value.items())
    if isinstance(value, list | tuple):
        return tuple(map(_frozen, value))
    if isinstance(value, set | frozenset):
        return frozenset(map(_frozen, value))
    return value
