"""What a probe asks an endpoint: a TCP connection, an HTTP response, gRPC health, your own.

A check is used by both runners of ``probe``: ``run`` blocks, ``run_async`` does not.
"""

from __future__ import annotations

import re
import ssl
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from balancers.adapters.probe_http import Response, ResponseReader, request_bytes
from balancers.adapters.probe_io import (
    Answer,
    Connect,
    Conversation,
    Receive,
    Send,
    talk,
    talk_async,
)

__all__ = ["Address", "Check", "HttpCheck", "TcpCheck", "split_address"]

Address = Callable[[str], tuple[str, int]]
"""From an endpoint's id to where it is probed."""


def split_address(id: str) -> tuple[str, int]:  # noqa: A002 - the field's standard name
    """Return host and port of an id like ``10.0.0.1:80``, ``[::1]:80`` or ``http://host:80``.

    Raises:
        ValueError: If there is no port, or none from 1 to 65535.
    """
    text = id.partition("://")[2] or id
    host, colon, port = text.partition("/")[0].rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (colon and host and port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"{id!r} names no host:port; give address= to say where it is probed")
    return host, int(port)


class Check(Protocol):
    """One kind of probe."""

    def run(self, id: str, timeout: float) -> Answer:  # noqa: A002
        """Probe an endpoint within the timeout; an ``Exception`` is a failure."""
        ...

    async def run_async(self, id: str) -> Answer:  # noqa: A002
        """Probe an endpoint until cancelled; an ``Exception`` is a failure."""
        ...


class _Spoken(ABC):
    """A check that is a conversation."""

    def __init__(self, *, port: int | None, address: Address) -> None:
        if port is not None and (isinstance(port, bool) or not isinstance(port, int)):
            raise TypeError(f"port is an int or None, not {port!r}")
        if port is not None and not 0 < port < 65536:
            raise ValueError(f"port must be within 1..65535, not {port}")
        if not callable(address):
            raise TypeError(f"address turns an id into host and port; {address!r} is not callable")
        self._port = port
        self._address = address

    @abstractmethod
    def converse(self, host: str, port: int) -> Conversation:
        """Return a new conversation with an address."""

    def run(self, id: str, timeout: float) -> Answer:  # noqa: A002
        """Probe over a blocking socket."""
        return talk(self.converse(*self._where(id)), timeout)

    async def run_async(self, id: str) -> Answer:  # noqa: A002
        """Probe over asyncio."""
        return await talk_async(self.converse(*self._where(id)))

    def _where(self, name: str) -> tuple[str, int]:
        host, port = self._address(name)
        return host, port if self._port is None else self._port


class TcpCheck(_Spoken):
    """Passes if a connection can be opened.

    It says that something listens, not that it works; prefer ``HttpCheck`` where there is
    anything to ask.

    Args:
        port: Port to probe instead of the endpoint's own.
        address: Where an id is; by default the id is read as ``host:port``.
    """

    def __init__(self, *, port: int | None = None, address: Address = split_address) -> None:
        super().__init__(port=port, address=address)

    def converse(self, host: str, port: int) -> Conversation:
        """Connect, and no more."""
        yield Connect(host, port)
        return Answer(ok=True)


class HttpCheck(_Spoken):
    """Passes if a request is answered as expected. Redirects are not followed.

    Args:
        path: Path and query of the request.
        method: Its method.
        headers: Its headers; ``Host`` is the address unless given here.
        status: Codes that pass, as numbers or pairs (first, last); by default 200 to 399.
        body: What the body must contain (text, bytes) or where a pattern must be found; looked
            for in the first 64 KiB. None: the body is not read.
        expect: Headers the response must have, name to value, None for any value.
        degraded_header: A response header that says the endpoint would rather not be used.
        tls: True for HTTPS with the default context, or a context of your own.
        server_name: Name the certificate must be for; by default the host.
        port: Port to probe instead of the endpoint's own.
        address: Where an id is; by default the id is read as ``host:port``.

    Raises:
        TypeError: For an argument of the wrong type.
        ValueError: For a status code, header, path or method that HTTP does not know, a port
            out of range, or no status that passes.
    """

    def __init__(
        self,
        path: str = "/",
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        status: Iterable[int | tuple[int, int]] = ((200, 399),),
        body: str | bytes | re.Pattern[bytes] | None = None,
        expect: Mapping[str, str | None] | None = None,
        degraded_header: str | None = None,
        tls: bool | ssl.SSLContext = False,
        server_name: str | None = None,
        port: int | None = None,
        address: Address = split_address,
    ) -> None:
        super().__init__(port=port, address=address)
        self._headers = dict(headers or {})
        for part in (method, path, *self._headers, *self._headers.values()):
            if not isinstance(part, str):
                raise TypeError(f"method, path and headers are text, not {part!r}")
            if not part.isprintable() or not part.isascii():
                raise ValueError(f"not allowed in an HTTP request: {part!r}")
        if not path.startswith("/") or " " in path or " " in method or not method:
            raise ValueError(f"no HTTP request line: {method!r} {path!r}")
        self._path = path
        self._method = method.upper()
        self._status = [(one, one) if isinstance(one, int) else one for one in status]
        if not self._status:
            raise ValueError("status names no code that passes")
        for low, high in self._status:
            if not 100 <= low <= high <= 599:
                raise ValueError(f"status codes lie within 100..599, not {low!r}..{high!r}")
        sought = body.pattern if isinstance(body, re.Pattern) else body
        if not isinstance(sought, bytes | None) and sought is not body:
            raise TypeError(f"a body is searched as bytes, which {body!r} cannot be")
        if not isinstance(sought, str | bytes | None):
            raise TypeError(f"body is text, bytes or a pattern of bytes, not {body!r}")
        self._body: bytes | re.Pattern[bytes] | None = (
            body.encode() if isinstance(body, str) else body
        )
        self._expect = {name.lower(): value for name, value in (expect or {}).items()}
        self._degraded = None if degraded_header is None else degraded_header.lower()
        if not isinstance(tls, bool | ssl.SSLContext):
            raise TypeError(f"tls is a bool or an SSLContext, not {tls!r}")
        self._tls = ssl.create_default_context() if tls is True else (tls or None)
        self._server_name = server_name

    def converse(self, host: str, port: int) -> Conversation:
        """Send the request, read the response as far as needed, judge it."""
        yield Connect(host, port, self._tls, self._server_name)
        shown = f"[{host}]" if ":" in host else host
        yield Send(request_bytes(self._method, self._path, f"{shown}:{port}", self._headers))
        reader = ResponseReader(head_only=self._body is None or self._method == "HEAD")
        while not reader.feed((yield Receive())):
            pass
        assert reader.response is not None
        return self._judge(reader.response)

    def _judge(self, response: Response) -> Answer:
        if not any(low <= response.status <= high for low, high in self._status):
            return Answer(ok=False, detail=f"status {response.status}")
        for name, value in self._expect.items():
            found = response.headers.get(name)
            if found is None or (value is not None and found != value):
                return Answer(ok=False, detail=f"header {name}: {found!r}")
        if isinstance(self._body, bytes):
            if self._body not in response.body:
                return Answer(ok=False, detail="the body lacks what it should contain")
        elif self._body is not None and self._body.search(response.body) is None:
            return Answer(ok=False, detail="the body lacks what it should match")
        degraded = self._degraded is not None and self._degraded in response.headers
        return Answer(ok=True, degraded=degraded)
