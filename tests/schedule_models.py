"""The scheduling rules in exact fractions, as slow and literal as their sources put them.

With the strategies for weights that the tests of schedules share.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from fractions import Fraction
from math import ceil

from hypothesis import strategies as st

__all__ = [
    "ChairmanModel",
    "LagBook",
    "NginxModel",
    "few",
    "harmonic",
    "margin",
    "named",
    "pour_model",
    "shares",
    "weight_sets",
]


def named(weights):
    """Name weights by their places."""
    return {f"e{place}": weight for place, weight in enumerate(weights)}


wild = st.one_of(
    st.floats(min_value=1e-6, max_value=1e6),
    st.floats(min_value=-6, max_value=6).map(lambda exponent: 10.0**exponent),
    st.integers(1, 100).map(float),
    st.sampled_from([1.0, 1e-6, 1e6, 0.1, 0.2, 0.3, 1 / 3]),
)
"""Positive weights up to twelve orders of magnitude apart."""

few = st.lists(wild, min_size=1, max_size=9).map(named)
heavy_and_light = st.builds(
    lambda heavy, light, n: named([heavy] + [light] * n),
    wild,
    wild,
    st.integers(1, 40),
)
weight_sets = st.one_of(few, heavy_and_light)


def harmonic(n: int) -> Fraction:
    """Return 1 + 1/2 + ... + 1/n."""
    return sum((Fraction(1, k) for k in range(1, n + 1)), Fraction(0))


def margin(n: int) -> Fraction:
    """Return D for n ids of positive weight; for n = 1 the value by which one id is always due."""
    return Fraction(1, max(2, 2 * n - 2))


def shares(weights: Mapping[str, float]) -> dict[str, Fraction]:
    """Return each positive id's exact share."""
    exact = {id_: Fraction(weight) for id_, weight in weights.items() if weight > 0}
    total = sum(exact.values())
    return {id_: weight / total for id_, weight in exact.items()}


def pour_model(levels: dict[str, Fraction], amount: Fraction) -> dict[str, Fraction]:
    """Spread ``amount`` by water-filling, trying every number of raised (or lowered) ids."""
    if not levels or amount == 0:
        return dict(levels)
    sign = 1 if amount > 0 else -1
    order = sorted(levels, key=lambda id_: sign * levels[id_])
    for k in range(1, len(order) + 1):
        level = (sum(levels[id_] for id_ in order[:k]) + amount) / k
        if k == len(order) or sign * level <= sign * levels[order[k]]:
            return levels | dict.fromkeys(order[:k], level)
    raise AssertionError("unreachable")


class LagBook:
    """Lag of each of fixed members: what their weights entitled them to, less what they got."""

    def __init__(self, ids: Collection[str]) -> None:
        self.lags = dict.fromkeys(ids, Fraction(0))

    def count(self, weights: Mapping[str, float], picked: str) -> None:
        """Record one pick under ``weights``."""
        for id_, share in shares(weights).items():
            self.lags[id_] += share
        self.lags[picked] -= 1


class ChairmanModel:
    """Tijdeman's rule with phases, exclusions and changes; O(n) fractions a pick."""

    def __init__(self, weights: Mapping[str, float], phase: int = 0) -> None:
        self.weights = dict(weights)
        self.share = shares(weights)
        self.lags = dict.fromkeys(self.share, Fraction(0))
        if not self.share:
            return
        d = margin(len(self.share))
        done = {}
        for id_, share in self.share.items():
            jobs = 0
            estimate = max(0, int(phase * share) - 3)
            for j in range(estimate, estimate + 8):
                if 1 <= j < phase * share + d:
                    jobs = j
            done[id_] = jobs
        released = [id_ for id_ in done if done[id_] + 1 <= phase * self.share[id_] - d + 1]
        released.sort(key=lambda id_: (done[id_] + 1 - d) / self.share[id_])
        for id_ in released[: phase - sum(done.values())]:
            done[id_] += 1
        assert sum(done.values()) == phase
        self.lags = {id_: phase * share - done[id_] for id_, share in self.share.items()}

    def choose(self, exclude: Collection[str] = ()) -> str | None:
        """Return whom the rule picks next, if anybody is left."""
        d = margin(len(self.share))
        rest = [id_ for id_ in self.share if id_ not in exclude]
        overdue = [id_ for id_ in rest if self.lags[id_] > 1 - d]
        if overdue:
            return max(overdue, key=self.lags.__getitem__)  # the first of the largest
        due = {id_: (1 - d - self.lags[id_]) / self.share[id_] for id_ in rest}
        released = [id_ for id_ in rest if self.lags[id_] + self.share[id_] >= d]
        if released:
            return min(released, key=due.__getitem__)
        release = {id_: ceil((d - self.lags[id_]) / self.share[id_]) for id_ in rest}
        return min(rest, key=lambda id_: (release[id_], due[id_]), default=None)

    def charge(self, picked: str) -> None:
        """Count one pick for ``picked``."""
        for id_, share in self.share.items():
            self.lags[id_] += share
        self.lags[picked] -= 1

    def update(self, weights: Mapping[str, float]) -> None:
        """Change members and weights, carrying lags."""
        share = shares(weights)
        freed = sum((lag for id_, lag in self.lags.items() if id_ not in share), Fraction(0))
        kept = {id_: self.lags[id_] for id_ in share if id_ in self.lags}
        carried = pour_model(kept, freed)
        self.weights = dict(weights)
        self.share = share
        self.lags = {id_: carried.get(id_, Fraction(0)) for id_ in share}


class NginxModel:
    """The loop of ngx_http_upstream_get_peer, over peers that never fail."""

    def __init__(self, weights: Mapping[str, int]) -> None:
        self.peers = [[id_, weight, 0] for id_, weight in weights.items()]

    def next(self) -> str:
        """Return the peer picked."""
        total = 0
        best = None
        for peer in self.peers:
            peer[2] += peer[1]
            total += peer[1]
            if best is None or peer[2] > best[2]:
                best = peer
        best[2] -= total
        return best[0]
