"""What is measured of a run, one line a measure.

Tables, CSV, JSON and plots read ``MEASURES``, so a measure added there appears in all of them.
Shares are compared with the weights, which in the simulation are speeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from balancers.simulation.engine import Run

__all__ = ["MEASURES", "Measure", "busiest_to_mean", "hit_rate", "jain", "share_error", "wasted"]


@dataclass(frozen=True, slots=True)
class Measure:
    """One number of a run.

    Attributes:
        name: In JSON and CSV.
        title: In tables and plots.
        unit: ``"s"``, ``"share"`` (0..1), ``"ratio"`` or ``"count"``; says how it is shown.
        of: Reads it off a finished run; None where it does not exist, as without any success.
        table: Whether the terminal's table shows it, if any policy has it.
    """

    name: str
    title: str
    unit: str
    of: Callable[[Run], float | None]
    table: bool = True


def share_error(run: Run) -> float | None:
    """Return the share of requests that would have to move for shares to equal weights, 0..1.

    Half the sum of |share − weight share|: the total variation distance.
    """
    weights = {endpoint.id: endpoint.weight for endpoint in run.stage.endpoints}
    total = math.fsum(weights.values())
    if not run.started or not total:
        return None
    return 0.5 * math.fsum(
        abs(picks / run.started - weights.get(id_, 0.0) / total)
        for id_, picks in run.total("picks").items()
    )


def _by_weight(run: Run) -> list[float]:
    """Return the requests per unit of weight of each endpoint that was there from the start."""
    picks = run.total("picks")
    return [picks[each.id] / each.weight for each in run.stage.endpoints if each.weight > 0.0]


def busiest_to_mean(run: Run) -> float | None:
    """Return the greatest number of requests per unit of weight, over that of the whole fleet.

    1 is perfect; at 2 the busiest endpoint has twice its part. Drained endpoints are left out.
    """
    total = math.fsum(endpoint.weight for endpoint in run.stage.endpoints)
    if not run.started or not total:
        return None
    return max(_by_weight(run)) / (run.started / total)


def jain(run: Run) -> float | None:
    """Return Jain's index of requests per unit of weight: 1 is even, 1/n is all on one of n.

    Source: Jain, Chiu, Hawe, DEC-TR-301, 1984.
    """
    parts = _by_weight(run)
    squares = math.fsum(part * part for part in parts)
    return math.fsum(parts) ** 2 / (len(parts) * squares) if squares else None


def wasted(run: Run) -> float | None:
    """Return the share of requests sent to an endpoint while it was at fault."""
    if not run.started or not any(hasattr(server, "wasted") for server in run.servers.values()):
        return None
    return math.fsum(run.total("wasted").values()) / run.started


def hit_rate(run: Run) -> float | None:
    """Return the share of prompt blocks that were in the cache of the engine they went to."""
    asked = math.fsum(run.total("asked").values())
    return math.fsum(run.total("hit").values()) / asked if asked else None


def _quantile(q: float) -> Callable[[Run], float | None]:
    return lambda run: run.histogram.quantile(q)


MEASURES: tuple[Measure, ...] = (
    Measure("share_error", "share error", "share", share_error),
    Measure("busiest_to_mean", "busiest/mean", "ratio", busiest_to_mean),
    Measure("mean", "mean", "s", lambda run: run.histogram.mean, table=False),
    Measure("p50", "p50", "s", _quantile(0.5)),
    Measure("p99", "p99", "s", _quantile(0.99)),
    Measure("p999", "p99.9", "s", _quantile(0.999)),
    Measure("errors", "errors", "count", lambda run: float(run.refused + run.failed)),
    Measure("jain", "Jain index", "ratio", jain, table=False),
    Measure("wasted", "wasted picks", "share", wasted),
    Measure("hit_rate", "cache hits", "share", hit_rate),
    Measure("first_p50", "first byte p50", "s", lambda run: run.first.quantile(0.5)),
    Measure("first_p99", "first byte p99", "s", lambda run: run.first.quantile(0.99)),
)
