"""As much HTTP/1.1 as a probe needs: one request out, one response in, nothing kept open."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Response", "ResponseReader", "request_bytes"]

LIMIT = 1 << 16
"""Bytes of head and of body beyond which a response is not read on."""


def request_bytes(method: str, path: str, host: str, headers: dict[str, str]) -> bytes:
    """Return a request; ``headers`` may replace any header written here."""
    lines = {
        "Host": host,
        "User-Agent": "balancers-probe",
        "Accept": "*/*",
        "Connection": "close",
    }
    given = {name.lower() for name in headers}
    lines = {name: value for name, value in lines.items() if name.lower() not in given} | headers
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1")


@dataclass(slots=True)
class Response:
    """A response; header names in lower case, repeated headers joined by commas."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


class ResponseReader:
    """Takes bytes as they come and says when there are enough of them.

    Attributes:
        response: The response, once its head is complete; the body as far as it is here.
    """

    def __init__(self, *, head_only: bool = False) -> None:
        self.response: Response | None = None
        self._head_only = head_only
        self._buffer = b""

    def feed(self, data: bytes) -> bool:
        """Take some bytes, none at the end of the stream; return True when nothing is missing.

        Raises:
            ValueError: If this is no HTTP response, ends too early or is too large.
        """
        ended = not data
        self._buffer += data
        while self.response is None:
            head, found, rest = self._buffer.partition(b"\r\n\r\n")
            if not found:
                if len(self._buffer) > LIMIT:
                    raise ValueError("the head of the response is too large")
                if ended:
                    raise ValueError("the connection was closed before a response")
                return False
            response = _parse_head(head)
            self._buffer = rest
            if response.status >= 200:  # 100 Continue, 103 Early Hints: another head follows
                self.response = response
        return self._body(ended)

    def _body(self, ended: bool) -> bool:
        response = self.response
        assert response is not None
        if self._head_only or response.status in (204, 304):
            return True
        buffer = self._buffer
        if "chunked" in response.headers.get("transfer-encoding", "").lower():
            done, response.body = _unchunk(buffer)
            if ended and not done:
                raise ValueError("the connection was closed within the response")
        elif "content-length" in response.headers:
            length = _length(response.headers["content-length"])
            response.body = buffer[:length]
            done = len(buffer) >= length
            if ended and not done:
                raise ValueError("the connection was closed within the response")
        else:
            done, response.body = ended, buffer
        return done or len(buffer) > LIMIT  # what a probe looks for stands at the beginning


def _parse_head(head: bytes) -> Response:
    first, *lines = head.decode("latin-1").split("\r\n")
    version, _, rest = first.partition(" ")
    status = rest[:3]
    if not version.startswith("HTTP/1.") or not (status.isascii() and status.isdigit()):
        raise ValueError(f"no HTTP response: {first[:40]!r}")
    response = Response(int(status))
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise ValueError(f"no HTTP header: {line[:40]!r}")
        name, value = name.strip().lower(), value.strip()
        before = response.headers.get(name)
        response.headers[name] = value if before is None else f"{before}, {value}"
    return response


def _length(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"no Content-Length: {text[:40]!r}")
    return int(text)


def _unchunk(buffer: bytes) -> tuple[bool, bytes]:
    """Return whether the last chunk is here, and the body up to where it is complete."""
    body = b""
    while True:
        line, found, rest = buffer.partition(b"\r\n")
        if not found:
            return False, body
        try:
            size = int(line.split(b";")[0], 16)
        except ValueError:
            raise ValueError(f"no chunk size: {line[:40]!r}") from None
        if size == 0:
            return True, body
        if len(rest) < size + 2:
            return False, body + rest[:size]
        body += rest[:size]
        buffer = rest[size + 2 :]
