"""``Solo``: the base of composites with one balancer below them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

from balancers.compose.composite import Branch, Composite, Group
from balancers.compose.spread import Spread
from balancers.core.ledger import Cell
from balancers.core.view import View
from balancers.endpoint import Endpoint

__all__ = ["EVERYBODY", "ONLY", "Solo"]

ONLY = "only"
"""The name of the one group."""

EVERYBODY = Spread({ONLY: 1.0}, [ONLY])


class Solo(Composite):
    """A balancer over one other, which has all its endpoints."""

    def _groups(self, view: View, cells: Mapping[str, Cell]) -> Mapping[Hashable, Group]:
        return {ONLY: Group(view.roster)}

    def _plan(self, view: View, branches: Mapping[Hashable, Branch]) -> Spread:
        return EVERYBODY

    def _group_of(self, plan: object, endpoint: Endpoint) -> Hashable:
        return ONLY

    def _label(self, name: Hashable = None) -> str:
        return type(self).__name__

    def _details(self) -> Mapping[str, float]:
        return {}
