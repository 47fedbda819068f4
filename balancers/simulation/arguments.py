"""The options of ``balancers compare``, and how their text becomes values."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

from balancers import BalancerError, Endpoint
from balancers.simulation.service import LAWS, ServiceLaw, parse_law

__all__ = [
    "DEFAULT_ENDPOINTS",
    "DEFAULT_KEYS",
    "DEFAULT_LAW",
    "DEFAULT_LOAD",
    "DEFAULT_REQUESTS",
    "DEFAULT_SKEW",
    "add_arguments",
    "add_trace_arguments",
    "count_up_to",
    "endpoint_list",
    "positive",
    "whole",
]

DEFAULT_ENDPOINTS = 10
DEFAULT_LAW = "exponential"
DEFAULT_LOAD = 0.7
DEFAULT_REQUESTS = 100_000
DEFAULT_KEYS = 10_000
DEFAULT_SKEW = 0.8
MAX_ENDPOINTS = 100_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``compare`` takes."""
    parser.add_argument("trace", nargs="?", metavar="TRACE", help="the trace (see above)")

    group = parser.add_argument_group("what runs")
    group.add_argument(
        "--policies",
        metavar="LIST",
        help="names or aliases separated by commas, options in brackets, module:Class for your "
        "own (default: every registered policy)",
    )
    group.add_argument(
        "--endpoints",
        type=endpoint_list,
        metavar="N|LIST",
        help="how many, or ids with weights: a,b:2,c:0.5. The weight is the speed and follows "
        "the last colon, so write host:80:1 for an id with a colon "
        f"(default: {DEFAULT_ENDPOINTS}, or the scenario's)",
    )
    group.add_argument(
        "--workers",
        type=count_up_to(100_000),
        help="requests an endpoint serves at a time (default: 1, or the scenario's)",
    )
    group.add_argument(
        "--clients",
        type=count_up_to(10_000),
        metavar="N",
        help="independent copies of each policy, each of which sees the requests of one client "
        "alone (default: 1, or the scenario's)",
    )
    group.add_argument(
        "--service",
        type=_law,
        metavar="LAW[:MEAN[:SHAPE]]",
        help=f"service times: {', '.join(LAWS)}; mean in seconds "
        "(default: exponential:0.01, or the scenario's)",
    )
    group.add_argument("--seed", type=whole, default=0, help="same seed, same result")

    group = parser.add_argument_group("how much traffic")
    pace = group.add_mutually_exclusive_group()
    pace.add_argument(
        "--load",
        type=positive,
        metavar="SHARE",
        help=f"offered load: work over capacity (default: {DEFAULT_LOAD})",
    )
    pace.add_argument("--rate", type=positive, help="mean requests per second instead")
    pace.add_argument(
        "--speed", type=positive, help="instead, replay the trace that many times as fast"
    )
    group.add_argument(
        "--requests",
        type=count_up_to(10**12),
        metavar="N",
        help=f"how many (default: {DEFAULT_REQUESTS:,}, or the whole trace)",
    )
    group.add_argument(
        "--keys",
        type=count_up_to(1_000_000),
        metavar="N",
        help=f"how many different keys the built-in workload has (default: {DEFAULT_KEYS:,})",
    )
    group.add_argument(
        "--skew",
        type=_number,
        help=f"Zipf exponent of its keys, 0 is uniform (default: {DEFAULT_SKEW})",
    )

    group.add_argument("--keep-gaps", action="store_true", help="do not cut long silences")
    add_trace_arguments(parser)

    group = parser.add_argument_group("scenarios, instead of one plain run")
    group.add_argument(
        "--scenario",
        action="append",
        metavar="NAME[+NAME]",
        help="play this story: a name, all, or a .toml file; several are laid over each other by "
        "+, and the option can be repeated (see the names above)",
    )
    group.add_argument(
        "--seeds",
        type=count_up_to(1000),
        metavar="N",
        help="runs of each, seed by seed (default: 3)",
    )
    group.add_argument(
        "--jobs", type=count_up_to(1000), metavar="N", help="processes (default: one a processor)"
    )

    group = parser.add_argument_group("what comes out (a table always does; PATH - is stdout)")
    group.add_argument("--json", metavar="PATH", help="everything, as JSON")
    group.add_argument("--csv", metavar="PATH", help="one row a policy")
    group.add_argument("--plot", metavar="PATH", help="a picture: .svg, or .png with matplotlib")
    group.add_argument("--html", metavar="PATH", help="of scenarios: the report as one page")
    group.add_argument("--markdown", metavar="PATH", help="of scenarios: the report as Markdown")
    group.add_argument(
        "--progress", action="store_true", help="show progress even where stderr is no terminal"
    )


def add_trace_arguments(parser: argparse.ArgumentParser) -> None:
    """Add how a trace is read."""
    group = parser.add_argument_group("how the trace is read")
    group.add_argument(
        "--format", choices=("auto", "clf", "jsonl", "llm"), default="auto", help="default: auto"
    )
    group.add_argument(
        "--key", choices=("client", "path"), default="client", help="key of an access log"
    )
    group.add_argument(
        "--time-field",
        metavar="NAME[:UNIT]",
        help="time in JSON Lines; unit s, ms, us or ns (default: timestamp, seconds or ISO 8601; "
        "milliseconds in LLM traces)",
    )
    group.add_argument("--key-field", metavar="NAME", help="key in JSON Lines")
    group.add_argument("--size-field", metavar="NAME", help="size in JSON Lines")
    group.add_argument(
        "--spread",
        type=_spread,
        metavar="SECONDS",
        help="resolution of the times, over which requests are spread (default: 1 for access "
        "logs, 3 for LLM traces, 0 for JSON Lines)",
    )


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 <= value <= 1e12:
        raise argparse.ArgumentTypeError(f"must be a number within 0 … 1e12, not {text!r}")
    return value


def positive(text: str) -> float:
    """Return a number > 0; an argparse type."""
    value = _number(text)
    if not value:
        raise argparse.ArgumentTypeError(f"must be > 0, not {text!r}")
    return value


def _spread(text: str) -> float:
    value = _number(text)
    if value > 86_400.0:
        raise argparse.ArgumentTypeError(f"must be at most a day (86400), not {text!r}")
    return value


def whole(text: str) -> int:
    """Return a whole number; an argparse type."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a whole number, not {text!r}") from None


def count_up_to(most: int) -> Callable[[str], int]:
    """Return an argparse type: a whole number within 1 … most."""

    def parse(text: str) -> int:
        value = whole(text)
        if not 1 <= value <= most:
            raise argparse.ArgumentTypeError(f"must be within 1 … {most:,}, not {text!r}")
        return value

    return parse


def _law(text: str) -> ServiceLaw:
    try:
        return parse_law(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def endpoint_list(text: str) -> list[Endpoint]:
    """Return the endpoints of ``N`` (named e0, e1, …) or ``ID[:WEIGHT],…``; an argparse type.

    Raises:
        argparse.ArgumentTypeError: For a bad number or id, or an id that occurs twice.
    """
    if text.isdecimal():
        return [Endpoint(f"e{i}") for i in range(count_up_to(MAX_ENDPOINTS)(text))]
    found: dict[str, Endpoint] = {}
    for part in text.split(","):
        name, colon, number = part.strip().rpartition(":")
        if not colon:
            name, number = number, "1"
        try:
            endpoint = Endpoint(name, weight=float(number))
        except BalancerError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        except ValueError:
            raise argparse.ArgumentTypeError(
                f"the weight of {part!r} must be a number, not {number!r}"
            ) from None
        if endpoint.id in found:
            raise argparse.ArgumentTypeError(f"endpoint id {endpoint.id!r} occurs twice")
        found[endpoint.id] = endpoint
    return list(found.values())
