"""The checks of ``balancers.adapters.probe``, both ways, against real servers on loopback."""

import asyncio
import io
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from http.client import HTTPResponse

import pytest
from hypothesis import given
from hypothesis import strategies as st
from probe_servers import HttpServer, free_port, trusting

from balancers.adapters.probe import Answer, Check, HttpCheck, TcpCheck, split_address
from balancers.adapters.probe_http import ResponseReader, request_bytes

TIMEOUT = 5.0
Ask = Callable[[Check, str], Answer]


def blocking(check: Check, name: str, timeout: float = TIMEOUT) -> Answer:
    """Ask over a blocking socket."""
    return check.run(name, timeout)


def async_(check: Check, name: str, timeout: float = TIMEOUT) -> Answer:
    """Ask over asyncio."""

    async def ask() -> Answer:
        async with asyncio.timeout(timeout):
            return await check.run_async(name)

    return asyncio.run(ask())


both = pytest.mark.parametrize("ask", [blocking, async_])


@pytest.fixture
def server() -> Iterator[HttpServer]:
    """An HTTP server that answers 200."""
    with HttpServer.running() as found:
        yield found


@both
def test_tcp(ask: Ask, server: HttpServer) -> None:
    """A port that listens passes, one that does not is refused."""
    assert ask(TcpCheck(), server.id) == Answer(ok=True)
    with pytest.raises(OSError, match=r"."):
        ask(TcpCheck(), f"127.0.0.1:{free_port()}")
    assert ask(TcpCheck(port=server.port), "127.0.0.1:1").ok
    assert ask(TcpCheck(address=lambda name: ("127.0.0.1", server.port)), "e1").ok


@both
def test_http_status(ask: Ask, server: HttpServer) -> None:
    """200 to 399 pass by default; ranges and single codes may be named."""
    cases = (
        (200, True, False),
        (302, True, False),
        (404, False, False),
        (418, False, True),
        (503, False, True),
        (599, False, True),
    )
    for status, usual, named in cases:
        server.status = status

        assert ask(HttpCheck("/healthz"), server.id).ok is usual
        assert ask(HttpCheck(status=[418, (500, 599)]), server.id).ok is named
    assert ask(HttpCheck(), server.id).detail == "status 599"


@both
@pytest.mark.parametrize("chunked", [False, True])
def test_http_body(ask: Ask, server: HttpServer, chunked: bool) -> None:
    """The body is searched for text, bytes or a pattern, in chunks or not."""
    server.body, server.chunked = b"all systems go", chunked
    for body, ok in (("systems", True), (b"go", True), (re.compile(rb"s\w+s go$"), True),
                     ("stop", False), (re.compile(rb"^go"), False), (None, True)):  # fmt: skip
        assert ask(HttpCheck(body=body), server.id).ok is ok


@both
def test_http_headers_and_degraded(ask: Ask, server: HttpServer) -> None:
    """Headers may be required, by name or by value; one may say degraded."""
    server.headers = {"X-Role": "primary"}
    for expect, ok in (({"x-role": None}, True), ({"X-ROLE": "primary"}, True),
                       ({"x-role": "replica"}, False), ({"x-other": None}, False)):  # fmt: skip
        assert ask(HttpCheck(expect=expect), server.id).ok is ok
    check = HttpCheck(degraded_header="X-Degraded")
    assert ask(check, server.id) == Answer(ok=True)
    server.headers = {"x-degraded": "1"}
    assert ask(check, server.id) == Answer(ok=True, degraded=True)


@both
def test_http_head(ask: Ask, server: HttpServer) -> None:
    """A HEAD request does not wait for the body its Content-Length announces."""
    assert ask(HttpCheck(method="head"), server.id).ok


@both
def test_tls(ask: Ask) -> None:
    """HTTPS passes with a certificate that is trusted and names the host, and not otherwise."""
    with HttpServer.running(tls=True) as server:
        context = trusting()

        assert ask(HttpCheck(tls=context), server.id).ok
        assert ask(HttpCheck(tls=context, server_name="localhost"), server.id).ok
        with pytest.raises(ssl.SSLCertVerificationError):
            ask(HttpCheck(tls=context, server_name="elsewhere"), server.id)
        with pytest.raises(ssl.SSLCertVerificationError):
            ask(HttpCheck(tls=True), server.id)
        with pytest.raises((OSError, ValueError)):
            ask(HttpCheck(), server.id)  # plain HTTP to a TLS port


@both
def test_server_that_does_not_answer(ask: Callable[..., Answer], server: HttpServer) -> None:
    """A check ends at its timeout."""
    server.hold.clear()
    with pytest.raises(TimeoutError):
        ask(HttpCheck(), server.id, 0.1)


@both
@pytest.mark.parametrize(
    "reply", [b"", b"HTTP/1.1 200 OK\r\nContent-Le", b"SSH-2.0-OpenSSH\r\n\r\n", b"\r\n\r\n",
              b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort"]
)  # fmt: skip
def test_server_that_talks_nonsense(ask: Ask, reply: bytes) -> None:
    """What is no whole HTTP response is a failure that says what is wrong."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            line, _ = listener.accept()
            with line:
                line.recv(65536)
                line.sendall(reply)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(ValueError, match=r"closed|no HTTP|Content-Length"):
            ask(HttpCheck(body="x"), f"127.0.0.1:{listener.getsockname()[1]}")
        thread.join()


# -- the parser ----------------------------------------------------------------------------

bodies = st.binary(max_size=60)
fields = st.lists(
    st.tuples(st.sampled_from(["X-A", "x-b", "ETag"]), st.sampled_from(["1", "two", ""])),
    max_size=3,
)


def response_of(status: int, headers: list[tuple[str, str]], body: bytes, framing: str) -> bytes:
    """Write a response in one of three framings."""
    extra = {"length": f"Content-Length: {len(body)}\r\n", "close": ""}
    head = f"HTTP/1.1 {status} Sure\r\n" + "".join(f"{n}: {v}\r\n" for n, v in headers)
    if framing == "chunked":
        parts = [body[i : i + 7] for i in range(0, len(body), 7)]
        chunks = b"".join(b"%X;x=y\r\n%s\r\n" % (len(p), p) for p in parts)
        return f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + chunks + b"0\r\n\r\n"
    return f"{head}{extra[framing]}\r\n".encode() + body


class _Line(io.BytesIO):
    def makefile(self, *args: object) -> io.BytesIO:
        return self


@given(
    st.integers(200, 599),
    fields,
    bodies,
    st.sampled_from(("length", "chunked", "close")),
    st.lists(st.integers(1, 40)),
    st.booleans(),
)
def test_any_split_is_read_as_the_standard_library_reads_it(
    status: int, headers: list, body: bytes, framing: str, cuts: list[int], early: bool
) -> None:
    """However the bytes arrive, status, headers and body are those ``http.client`` finds."""
    data = response_of(status, headers, body, framing)
    if early:
        data = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + data
    reader = ResponseReader()
    rest, done = data, False
    for cut in cuts:
        if rest and not done:
            done = reader.feed(rest[:cut])
            rest = rest[cut:]
    if rest and not done:
        done = reader.feed(rest)
    done = done or reader.feed(b"")
    if early:  # the standard library passes over 100 alone
        data = data.split(b"\r\n\r\n", 1)[1]
    oracle = HTTPResponse(_Line(data))  # type: ignore[arg-type]
    oracle.begin()
    # It reads a chunked body of a 304, which cannot have one (RFC 9110, 6.4.1).
    expected = b"" if status in (204, 304) else oracle.read()

    assert done
    assert reader.response is not None
    assert reader.response.status == oracle.status
    assert reader.response.body == expected
    assert {n: v for n, v in reader.response.headers.items() if n.startswith("x-")} == {
        n.lower(): ", ".join(oracle.headers.get_all(n))  # type: ignore[arg-type]
        for n in oracle.headers
        if n.lower().startswith("x-")
    }


def test_reader_does_not_read_for_ever() -> None:
    """An endless head is refused; of an endless body the beginning is enough."""
    with pytest.raises(ValueError, match="too large"):
        ResponseReader().feed(b"x" * 70_000)
    reader = ResponseReader()

    assert not reader.feed(b"HTTP/1.1 200 OK\r\n\r\n")
    assert reader.feed(b"x" * 70_000)


def test_request() -> None:
    """Golden: the bytes that are sent; a header given replaces ours, whatever its case."""
    assert request_bytes("GET", "/a?b", "h:1", {"host": "example.org", "X": "y"}) == (
        b"GET /a?b HTTP/1.1\r\nUser-Agent: balancers-probe\r\nAccept: */*\r\n"
        b"Connection: close\r\nhost: example.org\r\nX: y\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("10.0.0.1:80", ("10.0.0.1", 80)),
        ("[::1]:8080", ("::1", 8080)),
        ("http://web.internal:81/x", ("web.internal", 81)),
    ],
)
def test_split_address(name: str, place: tuple[str, int]) -> None:
    """Host and port of an id."""
    assert split_address(name) == place


@pytest.mark.parametrize("name", ["web", "web:", ":80", "web:0", "web:65536", "web:http", ""])
def test_ids_without_an_address(name: str) -> None:
    """An id that names no port needs ``address=``, and is told so."""
    with pytest.raises(ValueError, match="address="):
        split_address(name)


@pytest.mark.parametrize(
    "options",
    [
        {"path": "healthz"},
        {"path": "/a b"},
        {"path": "/\r\nX: y"},
        {"headers": {"X": "a\r\nb: c"}},
        {"headers": {"X": "ä"}},
        {"status": [99]},
        {"status": [(400, 300)]},
        {"method": ""},
        {"method": "GET /"},
    ],
)
def test_bad_http_options(options: dict) -> None:
    """What HTTP does not know is refused before it is sent, injected lines above all."""
    with pytest.raises(ValueError, match=r"HTTP|status"):
        HttpCheck(**options)


@pytest.mark.parametrize(
    "options",
    [
        {"path": 5},
        {"headers": {"X": 5}},
        {"status": []},
        {"body": 5},
        {"body": re.compile("text")},
        {"tls": "yes"},
        {"port": 0},
        {"port": 70_000},
        {"port": True},
        {"port": "80"},
        {"address": 5},
    ],
)
def test_options_of_the_wrong_kind(options: dict) -> None:
    """What would fail every probe is refused at once, rather than taken for a sick endpoint."""
    with pytest.raises((TypeError, ValueError)):
        HttpCheck(**options)
    if not options.keys() - {"port", "address"}:
        with pytest.raises((TypeError, ValueError)):
            TcpCheck(**options)
