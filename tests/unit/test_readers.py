"""Readers of access logs and JSON Lines: what they accept, and what they survive."""

import gzip
import json
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancers.simulation import BadLines, TraceError, access_log, json_lines
from balancers.simulation.readers import MAX_LINE, first_line, read

TRACES = Path(__file__).resolve().parents[3] / "shared" / "traces"

LINE = (
    b'83.149.9.216 - - [17/May/2015:10:05:03 +0000] "GET /a/b.png?x=1 HTTP/1.1" 200 203023 '
    b'"http://example.org/" "Mozilla/5.0 (X11) \\"quoted\\""\n'
)
AT = datetime(2015, 5, 17, 10, 5, 3, tzinfo=UTC).timestamp()


def records(path, parse):
    """Return what a file holds, and what was bad in it."""
    bad = BadLines()
    return list(read(path, parse, bad)), bad


# --------------------------------------------------------------------------------- access logs


@pytest.mark.parametrize(
    ("line", "client", "path", "size", "later"),
    [
        (LINE, "83.149.9.216", "/a/b.png", 203023, 0),
        (b'h - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.0" 304 -\n', "h", "/", 0, 0),
        (b'::1 - - [17/May/2015:12:05:03 +0200] "GET / HTTP/1.0" 200 7', "::1", "/", 7, 0),
        (b'2001:db8::a - me [17/May/2015:00:35:03 -0930] "HEAD /x" 200 1\r\n',
         "2001:db8::a", "/x", 1, 0),
        (b'h - A User [17/May/2015:10:05:03 +0000] "GET /a b c HTTP/1.1" 404 9 "-" "-"\n',
         "h", "/a", 9, 0),
        (b'h - - [17/May/2015:10:05:04 +0000] "-" 408 -\n', "h", "-", 0, 1),
        (b'h - - [17/May/2015:10:05:03 +0000] "" 400 0 "-" "-"\n', "h", "", 0, 0),
        (b'h - - [17/May/2015:10:05:03 +0000] "GET /"q" HTTP/1.1" 200 5\n', "h", '/"q"', 5, 0),
        (b'h - - [17/MAY/2015:10:05:03 +0000] "\\x16\\x03\\x01" 400 5\n',
         "h", "\\x16\\x03\\x01", 5, 0),
        (b'h [x] - [17/May/2015:10:05:03 +0000] "GET / H" 200 5 12 0.3\n', "h", "/", 5, 0),
        (b'h - - [17/May/2015:10:05:03 +0000] "GET /\xff\xfe H" 200 5\n', "h", b"/\xff\xfe", 5, 0),
        (b'\xed\xa0\x80 - - [17/May/2015:10:05:03 +0000] "GET / H" 200 5\n',
         b"\xed\xa0\x80", "/", 5, 0),
        ('zoë - - [17/May/2015:10:05:03 +0000] "GET /ñ H" 200 5\n'.encode(), "zoë", "/ñ", 5, 0),
    ],
)  # fmt: skip
def test_access_log_lines(line, client, path, size, later):
    """A line gives its UTC time, its size, and the client or the path as key; bytes if no text."""
    by_client, by_path = access_log()(line), access_log("path")(line)

    assert by_client == (AT + later, client, size)
    assert by_path == (AT + later, path, size)
    assert type(by_client.key) is type(client)


@pytest.mark.parametrize(
    "line",
    [
        b"", b"\n", b"\x00" * 50, b"hello world\n", LINE[:60],
        LINE.replace(b"May", b"Mai"), LINE.replace(b"May", b"ayJ"), LINE.replace(b"17/", b"1/Feb/"),
        LINE.replace(b"17/May", b"31/Feb"), LINE.replace(b"2015", b"0000"),
        LINE.replace(b":10:", b":24:"), LINE.replace(b"+0000", b"+9900"),
        LINE.replace(b"203023", b"-5"), LINE.replace(b"203023", b"9" * 400),
        LINE.replace(b" 200 ", b" twohundred "),
    ],
)  # fmt: skip
def test_bad_access_log_lines(line):
    """A line that is not one raises ValueError with a reason, and nothing else."""
    with pytest.raises(ValueError, match=r"Log Format|month|date|zone"):
        access_log()(line)


@given(st.binary(max_size=80), st.integers(0, len(LINE)), st.integers(0, 40))
def test_no_bytes_break_a_parser(noise, at, cut):
    """Whatever the bytes, a parser returns a record or raises ValueError."""
    for line in (noise, LINE[:at] + noise + LINE[at + cut :], b'{"timestamp":' + noise + b"}"):
        for parse in (access_log(), access_log("path"), json_lines("timestamp", "k", "s")):
            try:
                record = parse(line)
            except ValueError:
                continue
            assert abs(record.time) < float("inf")
            assert 0 <= record.size < float("inf")
            assert type(record.key) in (str, bytes, int)


def test_a_key_of_an_access_log_is_client_or_path():
    """Another key is refused by name."""
    with pytest.raises(ValueError, match="'referer'"):
        access_log("referer")


# ---------------------------------------------------------------------------------- JSON Lines


@pytest.mark.parametrize(
    ("row", "fields", "expected"),
    [
        ({"timestamp": 12.5}, (), (12.5, "", 0)),
        ({"t": 1500, "k": "x", "n": 7}, ("t:ms", "k", "n"), (1.5, "x", 7)),
        ({"t": 1500, "k": 3}, ("t:us", "k"), (0.0015, 3, 0)),
        ({"t": 2.5e9}, ("t:ns",), (2.5, "", 0)),
        ({"t": "2.5", "k": None}, ("t", "k"), (2.5, "null", 0)),
        ({"t": "2015-05-17T10:05:03Z"}, ("t",), (AT, "", 0)),
        ({"t": "2015-05-17T12:05:03+02:00"}, ("t",), (AT, "", 0)),
        ({"t": "2015-05-17 10:05:03"}, ("t",), (AT, "", 0)),
        ({"a": {"b.c": 1, "t": 4}, "a.k": "flat"}, ("a.t", "a.k"), (4, "flat", 0)),
        ({"t:x": 1, "k": [0, 1]}, ("t:x", "k"), (1, "[0,1]", 0)),
        ({"t": 1, "k": {"b": True}, "n": None}, ("t", "k", "n"), (1, '{"b":true}', 0)),
        ({"t": 1, "k": "\ud800"}, ("t", "k", "absent"), (1, "\ud800", 0)),
        ({"t": -3, "k": 10**30}, ("t", "k"), (-3, 10**30, 0)),
    ],
)
def test_json_lines(row, fields, expected):
    """Named fields give time in the unit named, key and size; other keys become JSON text."""
    assert json_lines(*fields)(json.dumps(row).encode()) == expected


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="NOT RUN: no tzset here")
def test_a_time_without_zone_is_utc_wherever_it_is_read(monkeypatch):
    """The zone of the machine does not move a trace."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "XYZ-05:30")
        time.tzset()
        try:
            found = json_lines("t")(b'{"t": "2015-05-17T10:05:03"}').time
            logged = access_log()(LINE).time
        finally:
            patch.undo()
            time.tzset()

    assert found == logged == AT


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b'{"t": "\xff"}', "not JSON"),
        (b"[1]", "not a JSON object"),
        (b"7", "not a JSON object"),
        (b"[" * 100_000, "JSON"),
        (b"{}", "no field 't'"),
        (b'{"t": 1}', "no field 'k'"),
        (b'{"t": true, "k": 1}', "is no time"),
        (b'{"t": NaN, "k": 1}', "is no time"),
        (b'{"t": 1e999, "k": 1}', "is no time"),
        (b'{"t": "noon", "k": 1}', "is no time"),
        (b'{"t": [1], "k": 1}', "is no time"),
        (b'{"t": ' + b"9" * 400 + b', "k": 1}', "is no time"),
        (b'{"t": 1, "k": 1, "n": -1}', "is no size"),
        (b'{"t": 1, "k": 1, "n": "big"}', "is no size"),
        (b'{"t": 1, "k": 1, "n": true}', "is no size"),
    ],
)
def test_bad_json_lines(line, reason):
    """A bad line raises ValueError that says what is missing or wrong."""
    with pytest.raises(ValueError, match=reason):
        json_lines("t", "k", "n")(line)


# ----------------------------------------------------------------------------------- the file


def test_bad_lines_are_counted_and_the_first_is_remembered(tmp_path):
    """Bad lines cost only themselves; blank ones are not even bad; numbers count from 1."""
    path = tmp_path / "log"
    path.write_bytes(b"\n  \r\n" + LINE + b"garbage\n\xff\xfe\n" + LINE.rstrip())
    found, bad = records(path, access_log())

    assert [record.key for record in found] == ["83.149.9.216"] * 2
    assert (bad.count, bad.first) == (2, 4)
    assert str(bad) == (
        "2 lines could not be read, the first is line 4: not in Common or Combined Log Format"
    )


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_gzip_is_told_by_its_bytes(tmp_path, packed):
    """The same lines come out of a plain and of a gzip file, several members included."""
    path = tmp_path / "log"
    lines = LINE * 1000
    data = gzip.compress(lines) + gzip.compress(LINE) if packed else lines + LINE
    path.write_bytes(data)
    found, bad = records(path, access_log())

    assert len(found) == 1001
    assert not bad.count
    assert first_line(path) == LINE


def test_a_line_without_end_is_not_held(tmp_path):
    """A line over the limit is one bad line, and the next one is read."""
    path = tmp_path / "log.gz"
    path.write_bytes(gzip.compress(b"x" * (3 * MAX_LINE + 7) + b"\n" + LINE + b"y" * MAX_LINE))
    found, bad = records(path, access_log())

    assert len(found) == 1
    assert (bad.count, bad.first) == (2, 1)
    assert "longer than" in bad.reason


@pytest.mark.parametrize("damage", ["cut", "flipped", "header"])
def test_broken_gzip_is_one_sentence(tmp_path, damage):
    """Gzip data that ends early or lies raises TraceError naming the file."""
    path = tmp_path / "log.gz"
    noise = "".join(f"{i * 7919 % 100003}" for i in range(60_000)).encode()
    data = bytearray(gzip.compress(LINE * 100 + noise))
    if damage == "cut":
        del data[-20_000:]
    elif damage == "flipped":
        data[len(data) // 2] ^= 0xFF
        data[len(data) // 2 + 1] ^= 0xFF
    else:
        del data[5:]
    path.write_bytes(data)

    with pytest.raises(TraceError, match=r"^cannot read .*log\.gz: broken gzip data"):
        records(path, access_log())


def test_unreadable_files_are_one_sentence(tmp_path):
    """A missing file and a directory raise TraceError with the system's reason."""
    for path, reason in ((tmp_path / "no", "No such file"), (tmp_path, "directory")):
        with pytest.raises(TraceError, match=f"(?i)^cannot read .*{reason}"):
            records(path, access_log())
        with pytest.raises(TraceError, match=f"(?i)^cannot read .*{reason}"):
            first_line(path)


@pytest.mark.parametrize("content", [b"", b"\n \n\n"])
def test_an_empty_file_has_no_record(tmp_path, content):
    """Nothing in, nothing out, and nothing bad."""
    path = tmp_path / "log"
    for data in (content, gzip.compress(content)):
        path.write_bytes(data)
        found, bad = records(path, access_log())

        assert (found, bad.count, first_line(path)) == ([], 0, b"")


@pytest.mark.skipif(not TRACES.exists(), reason=f"NOT RUN: the real traces are not at {TRACES}")
def test_real_traces_are_read_whole():
    """The two recorded traces have the counts their README states, and no bad line."""
    found, bad = records(TRACES / "apache_access.log", access_log())
    assert (len(found), len({record.key for record in found}), bad.count) == (10_000, 1_753, 0)

    parse = json_lines("timestamp:ms", "hash_ids", "output_length")
    found, bad = records(TRACES / "mooncake_conversation.jsonl", parse)
    assert (len(found), bad.count) == (12_031, 0)
    assert found[-1].time == pytest.approx(3537, abs=3)
