"""What a line of a trace says: Common and Combined Log Format, and JSON Lines.

Each function here returns a parser for ``readers.read``: bytes of one line in, ``Record`` out,
ValueError with the reason for a line that says nothing usable.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
from datetime import UTC, datetime, timedelta, timezone

from balancers import Key
from balancers.simulation.keys import Prompt
from balancers.simulation.readers import Parse, Record

__all__ = ["access_log", "json_lines", "llm_lines", "looks_like_llm"]

_UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}

# host ident user [time] "request" status bytes …; the user may hold blanks, the request quotes.
_CLF = re.compile(
    rb"(\S+) \S+ .*?\[(\d\d/[A-Za-z]{3}/\d{4}):([01]\d|2[0-3]):([0-5]\d):([0-6]\d) ([+-]\d{4})\] "
    rb'"(.*?)" (?:\d{3}|-) (\d{1,18}|-)(?=\s|$)'
)
_MONTHS = b"JanFebMarAprMayJunJulAugSepOctNovDec"


def access_log(key: str = "client") -> Parse:
    """Return a parser of Common and Combined Log Format.

    The size is the response size; the time has whole seconds.

    Args:
        key: ``"client"`` for the client address, ``"path"`` for the path without its query.

    Raises:
        ValueError: For another ``key``.
    """
    if key not in ("client", "path"):
        raise ValueError(f"the key of an access log is 'client' or 'path', not {key!r}")
    by_path = key == "path"
    days: dict[tuple[bytes, bytes], float] = {}  # (date, zone) → epoch of its midnight

    def parse(line: bytes) -> Record:
        match = _CLF.match(line)
        if match is None:
            raise ValueError("not in Common or Combined Log Format")
        client, date, hour, minute, second, zone, request, size = match.groups()
        midnight = days.get((date, zone))
        if midnight is None:
            if len(days) > 1000:
                days.clear()
            midnight = days[date, zone] = _midnight(date, zone)
        time = midnight + int(hour) * 3600 + int(minute) * 60 + int(second)
        if by_path:
            words = request.split(b" ")
            chosen = (words[1] if len(words) > 1 else request).partition(b"?")[0]
        else:
            chosen = client
        return Record(time, _text(chosen), 0.0 if size == b"-" else float(size))

    return parse


def _midnight(date: bytes, zone: bytes) -> float:
    day, month, year = date.split(b"/")
    number, rest = divmod(_MONTHS.find(month.title()), 3)
    if rest:  # not found is −1, whose rest is 2
        raise ValueError(f"unknown month {month.decode('ascii')!r}")
    minutes = int(zone[1:3]) * 60 + int(zone[3:5])
    if minutes >= 24 * 60:
        raise ValueError(f"unknown time zone {zone.decode('ascii')!r}")
    offset = timezone(timedelta(minutes=-minutes if zone[:1] == b"-" else minutes))
    try:
        return datetime(int(year), number + 1, int(day), tzinfo=offset).timestamp()
    except (ValueError, OverflowError):
        raise ValueError(f"no such date: {date.decode('ascii')}") from None


def _text(raw: bytes) -> Key:
    """Return text where the bytes are UTF-8, else the bytes: both are keys."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def json_lines(
    time_field: str = "timestamp", key_field: str | None = None, size_field: str | None = None
) -> Parse:
    """Return a parser of one JSON object a line.

    Args:
        time_field: Name of the time, with an optional unit (``"t:ms"``; ``s``, ``ms``, ``us``,
            ``ns``; default ``s``). A number counts from any epoch; text is ISO 8601, UTC where
            it names no zone.
        key_field: Name of the key; text and integers are taken as they are, anything else as
            its compact JSON text. None: every line has the key "".
        size_field: Name of the size, a number ≥ 0; absent or null is 0.

    A name is looked up as it stands, and then, if it has dots, as a path (``"request.ip"``).
    """
    name, colon, unit = time_field.rpartition(":")
    if not colon or unit not in _UNITS:
        name, unit = time_field, "s"
    factor = _UNITS[unit]

    def parse(line: bytes) -> Record:
        try:
            row = json.loads(line)
        except RecursionError:
            raise ValueError("JSON nested too deep") from None
        except ValueError:  # not JSON, or not UTF-8
            raise ValueError("not JSON") from None
        if not isinstance(row, dict):
            raise ValueError("not a JSON object")  # noqa: TRY004 - a bad line, not a bad call
        time = _seconds(_field(row, name), factor, name)
        key = "" if key_field is None else _key(_field(row, key_field), key_field)
        size = 0.0 if size_field is None else _size(_field(row, size_field), size_field)
        return Record(time, key, size)

    return parse


LLM_FIELDS = ("hash_ids", "input_length", "output_length")


def looks_like_llm(line: bytes) -> bool:
    """Return whether a line of JSON Lines is a prompt as ``llm_lines`` reads it."""
    with contextlib.suppress(ValueError, RecursionError):
        row = json.loads(line)
        return isinstance(row, dict) and all(name in row for name in LLM_FIELDS)
    return False


def llm_lines(time_field: str = "timestamp:ms") -> Parse:
    """Return a parser of prompts, one JSON object a line, as Mooncake's traces write them.

    ``hash_ids`` are the ids of the prompt's blocks, ``input_length`` and ``output_length`` are
    tokens. The key is a ``Prompt``, the size the length of the answer.

    Args:
        time_field: Name of the time, with a unit as in ``json_lines``.
    """
    base = json_lines(time_field, None, "output_length")

    def parse(line: bytes) -> Record:
        time, _, output = base(line)
        row = json.loads(line)
        blocks, tokens = row.get("hash_ids"), row.get("input_length")
        if not isinstance(blocks, list) or not all(type(block) is int for block in blocks):
            raise ValueError("field 'hash_ids' is no list of integers")
        if type(tokens) is not int or tokens < 1:
            raise ValueError(f"field 'input_length' is no count ≥ 1: {str(tokens)[:40]!r}")
        return Record(time, Prompt(tuple(blocks), tokens, int(output)), output)

    return parse


_MISSING = object()


def _field(row: dict[str, object], name: str) -> object:
    if name in row:
        return row[name]
    found: object = row
    for part in name.split("."):
        if not isinstance(found, dict) or part not in found:
            return _MISSING
        found = found[part]
    return found


def _seconds(value: object, factor: float, name: str) -> float:
    if value is _MISSING:
        raise ValueError(f"no field {name!r}")
    time = math.nan
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            time = float(value) * factor
        if math.isnan(time):
            with contextlib.suppress(ValueError, OverflowError):
                moment = datetime.fromisoformat(value)
                # Without a zone it is UTC: the reader's own zone would make runs differ.
                time = moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
    elif isinstance(value, int | float) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):
            time = float(value) * factor
    if not math.isfinite(time):
        raise ValueError(f"field {name!r} is no time: {str(value)[:40]!r}")
    return time


def _key(value: object, name: str) -> Key:
    if value is _MISSING:
        raise ValueError(f"no field {name!r}")
    if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    return json.dumps(value, separators=(",", ":"))


def _size(value: object, name: str) -> float:
    if value is _MISSING or value is None:
        return 0.0
    size = -1.0
    if isinstance(value, int | float) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):
            size = float(value)
    if not 0.0 <= size < math.inf:
        raise ValueError(f"field {name!r} is no size ≥ 0: {str(value)[:40]!r}")
    return size
