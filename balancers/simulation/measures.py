"""What is measured of a run, one line a measure.

Tables, CSV, JSON and plots read ``MEASURES``, so a measure added there appears in all of them.
Shares are compared with the weights, which in the simulation are speeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from balancers.simulation.engine import Run

__all__ = ["MEASURES", "Measure", "busiest_to_mean", "share_error"]


@dataclass(frozen=True, slots=True)
class Measure:
    """One number of a run.

    Attributes:
        name: In JSON and CSV.
        title: In tables and plots.
        unit: ``"s"``, ``"share"`` (0..1), ``"ratio"`` or ``"count"``; says how it is shown.
        of: Reads it off a finished run; None where it does not exist, as without any success.
        table: Whether the terminal's table shows it.
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
        abs(server.picks / run.started - weights.get(id_, 0.0) / total)
        for id_, server in run.servers.items()
    )


def busiest_to_mean(run: Run) -> float | None:
    """Return the greatest number of requests per unit of weight, over that of the whole fleet.

    1 is perfect; at 2 the busiest endpoint has twice its part. Drained endpoints are left out.
    """
    weights = {endpoint.id: endpoint.weight for endpoint in run.stage.endpoints}
    total = math.fsum(weights.values())
    if not run.started or not total:
        return None
    busiest = max(
        run.servers[id_].picks / weight for id_, weight in weights.items() if weight > 0.0
    )
    return busiest / (run.started / total)


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
)
