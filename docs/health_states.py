"""The transition table of the health registry as a page: a drawing and a list of its rows."""

from __future__ import annotations

import math
from collections.abc import Iterator

from balancers.health.states import HealthState
from balancers.health.transitions import GUARDS, TABLE, Trigger, rows

__all__ = ["drawing", "guards", "listing", "states"]

PLACES = {
    HealthState.UNKNOWN: (90, 60),
    HealthState.HEALTHY: (360, 60),
    HealthState.DEGRADED: (630, 60),
    HealthState.RAMPING: (360, 200),
    HealthState.GRACE: (90, 240),
    HealthState.PROBATION: (630, 240),
    HealthState.UNHEALTHY: (200, 380),
    HealthState.EJECTED: (520, 380),
}
"""Centre of each state in the drawing."""

KINDS = {
    "probes": ("#2f6fb0", (Trigger.PASSED, Trigger.FAILED, Trigger.UP, Trigger.DOWN)),
    "traffic": (
        "#c8553d",
        (Trigger.SUCCEEDED, Trigger.TRIPPED, Trigger.PROVEN, Trigger.RELAPSED),
    ),
    "time": ("#3f8f4f", (Trigger.SERVED, Trigger.SETTLED, Trigger.RAMPED)),
    "caps": ("#8a8a8a", (Trigger.SPARED,)),
}
"""What may move an endpoint: colour and triggers."""

ELIGIBLE = {
    HealthState.UNKNOWN,
    HealthState.HEALTHY,
    HealthState.DEGRADED,
    HealthState.RAMPING,
    HealthState.PROBATION,
}
HALF_WIDTH, HALF_HEIGHT = 56, 18


def states() -> str:
    """Return a table of the states: the words of their docstrings."""
    lines = ["| state | picked? | where it comes from |", "|---|---|---|"]
    for state in PLACES:
        sources = sorted({f"`{s.name}`" for s, _, row in rows() if row.target is state})
        picked = "yes" if state in ELIGIBLE else "no"
        if state is HealthState.PROBATION:
            picked = "a few times"
        lines.append(f"| `{state.name}` | {picked} | {', '.join(sources) or 'every newcomer'} |")
    return "\n".join(lines)


def listing() -> str:
    """Return every row of the table, in the order in which they are tried."""
    lines = ["| in | when | if | to |", "|---|---|---|---|"]
    for state, triggers in TABLE.items():
        for trigger, ways in triggers.items():
            for number, row in enumerate(ways):
                when = f"`{trigger.name}`: {trigger.value}" if number == 0 else "″"
                source = f"`{state.name}`" if number == 0 else ""
                guard = row.guard or ("else" if number else "always")
                lines.append(f"| {source} | {when} | {guard} | `{row.target.name}` |")
    return "\n".join(lines)


def guards() -> str:
    """Return what each guard means."""
    return "\n".join(f"{name}\n: {meaning}\n" for name, meaning in GUARDS.items())


def drawing() -> str:
    """Return the states and the ways between them as SVG, in a raw block for MyST."""
    label = 'role="img" aria-label="States of an endpoint"'
    style = 'style="max-width:100%;font:13px sans-serif"'
    parts = [f'<svg viewBox="0 0 720 450" {label} {style}>', "<defs>"]
    for kind, (colour, _) in KINDS.items():
        parts.append(
            f'<marker id="to-{kind}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7"'
            f' markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z" fill="{colour}"/></marker>'
        )
    parts.append("</defs>")
    for number, (source, target, kind) in enumerate(_ways()):
        colour = KINDS[kind][0]
        parts.append(
            f'<path d="{_curve(source, target, number)}" fill="none" stroke="{colour}"'
            f' stroke-width="1.4" marker-end="url(#to-{kind})"/>'
        )
    for state, (x, y) in PLACES.items():
        fill = "#e7f3e8" if state in ELIGIBLE else "#f6e3de"
        parts.append(
            f'<rect x="{x - HALF_WIDTH}" y="{y - HALF_HEIGHT}" width="{2 * HALF_WIDTH}"'
            f' height="{2 * HALF_HEIGHT}" rx="9" fill="{fill}" stroke="#555"/>'
            f'<text x="{x}" y="{y + 4}" text-anchor="middle" fill="#222">{state.name}</text>'
        )
    for number, (kind, (colour, _)) in enumerate(KINDS.items()):
        x = 220 + 80 * number
        parts.append(
            f'<path d="M{x} 436h20" stroke="{colour}" stroke-width="2"/>'
            f'<text x="{x + 25}" y="440" fill="{colour}">{kind}</text>'
        )
    parts.append("</svg>")
    return "```{raw} html\n" + "\n".join(parts) + "\n```"


def _ways() -> Iterator[tuple[HealthState, HealthState, str]]:
    """Yield each way between two states once for each kind of cause.

    Left out are those that differ from an earlier row of the same trigger only by skipping the
    ramp or by ending in DEGRADED.
    """
    kind_of = {trigger: kind for kind, (_, triggers) in KINDS.items() for trigger in triggers}
    seen = {}
    for state, triggers in TABLE.items():
        for trigger, ways in triggers.items():
            served = False
            for row in ways:
                back = row.target in (HealthState.RAMPING, HealthState.HEALTHY)
                if row.target is not state and not (served or row.guard == "degraded"):
                    seen[state, row.target, kind_of[trigger]] = None
                served = served or (back and state is not HealthState.UNKNOWN)
            if trigger is Trigger.PASSED and state is HealthState.HEALTHY:
                seen[state, HealthState.DEGRADED, kind_of[trigger]] = None
    yield from seen


def _curve(source: HealthState, target: HealthState, number: int) -> str:
    """A curve from border to border that bends to its right, the more the later it comes."""
    (x1, y1), (x2, y2) = PLACES[source], PLACES[target]
    length = math.hypot(x2 - x1, y2 - y1)
    bend = 18 + 9 * (number % 3)
    cx = (x1 + x2) / 2 - (y2 - y1) / length * bend
    cy = (y1 + y2) / 2 + (x2 - x1) / length * bend
    start, end = _border(x1, y1, cx, cy), _border(x2, y2, cx, cy)
    return f"M{start[0]:.0f} {start[1]:.0f}Q{cx:.0f} {cy:.0f} {end[0]:.0f} {end[1]:.0f}"


def _border(x: float, y: float, towards_x: float, towards_y: float) -> tuple[float, float]:
    """Where the line from the middle of a box leaves it."""
    dx, dy = towards_x - x, towards_y - y
    scale = min(HALF_WIDTH / abs(dx) if dx else math.inf, HALF_HEIGHT / abs(dy) if dy else math.inf)
    return x + dx * scale, y + dy * scale
