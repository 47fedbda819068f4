"""The options of ``balancers compare``, and how their text becomes values."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

from balancers import BalancerError, Endpoint
from balancers.simulation.service import LAWS, ServiceLaw, parse_law

__all__ = [
    "DEFAULT_KEYS",
    "DEFAULT_LOAD",
    "DEFAULT_REQUESTS",
    "DEFAULT_SKEW",
    "add_arguments",
    "endpoint_list",
]

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
        default="10",
        metavar="N|LIST",
        help="how many, or ids with weights: a,b:2,c:0.5. The weight is the speed and follows "
        "the last colon, so write host:80:1 for an id with a colon (default: 10)",
    )
    group.add_argument(
        "--workers", type=_count(100_000), default=1, help="requests an endpoint serves at a time"
    )
    group.add_argument(
        "--service",
        type=_law,
        default="exponential",
        metavar="LAW[:MEAN[:SHAPE]]",
        help=f"service times: {', '.join(LAWS)}; mean in seconds (default: exponential:0.01)",
    )
    group.add_argument("--seed", type=_whole, default=0, help="same seed, same result")

    group = parser.add_argument_group("how much traffic")
    pace = group.add_mutually_exclusive_group()
    pace.add_argument(
        "--load",
        type=_positive,
        metavar="SHARE",
        help=f"offered load: work over capacity (default: {DEFAULT_LOAD})",
    )
    pace.add_argument("--rate", type=_positive, help="mean requests per second instead")
    pace.add_argument(
        "--speed", type=_positive, help="instead, replay the trace that many times as fast"
    )
    group.add_argument(
        "--requests",
        type=_count(10**12),
        metavar="N",
        help=f"how many (default: {DEFAULT_REQUESTS:,}, or the whole trace)",
    )
    group.add_argument(
        "--keys",
        type=_count(1_000_000),
        metavar="N",
        help=f"how many different keys the built-in workload has (default: {DEFAULT_KEYS:,})",
    )
    group.add_argument(
        "--skew",
        type=_number,
        help=f"Zipf exponent of its keys, 0 is uniform (default: {DEFAULT_SKEW})",
    )

    group = parser.add_argument_group("how the trace is read")
    group.add_argument(
        "--format", choices=("auto", "clf", "jsonl"), default="auto", help="default: auto"
    )
    group.add_argument(
        "--key", choices=("client", "path"), default="client", help="key of an access log"
    )
    group.add_argument(
        "--time-field",
        default="timestamp",
        metavar="NAME[:UNIT]",
        help="time in JSON Lines; unit s, ms, us or ns (default: timestamp, seconds or ISO 8601)",
    )
    group.add_argument("--key-field", metavar="NAME", help="key in JSON Lines")
    group.add_argument("--size-field", metavar="NAME", help="size in JSON Lines")
    group.add_argument(
        "--spread",
        type=_spread,
        metavar="SECONDS",
        help="resolution of the times, over which requests are spread (default: 1 for access "
        "logs, 0 for JSON Lines)",
    )
    group.add_argument("--keep-gaps", action="store_true", help="do not cut long silences")

    group = parser.add_argument_group("what comes out (a table always does; PATH - is stdout)")
    group.add_argument("--json", metavar="PATH", help="everything, as JSON")
    group.add_argument("--csv", metavar="PATH", help="one row a policy")
    group.add_argument("--plot", metavar="PATH", help="a picture: .svg, or .png with matplotlib")
    group.add_argument(
        "--progress", action="store_true", help="show progress even where stderr is no terminal"
    )


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 <= value <= 1e12:
        raise argparse.ArgumentTypeError(f"must be a number within 0 … 1e12, not {text!r}")
    return value


def _positive(text: str) -> float:
    value = _number(text)
    if not value:
        raise argparse.ArgumentTypeError(f"must be > 0, not {text!r}")
    return value


def _spread(text: str) -> float:
    value = _number(text)
    if value > 86_400.0:
        raise argparse.ArgumentTypeError(f"must be at most a day (86400), not {text!r}")
    return value


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a whole number, not {text!r}") from None


def _count(most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        value = _whole(text)
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
        return [Endpoint(f"e{i}") for i in range(_count(MAX_ENDPOINTS)(text))]
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
