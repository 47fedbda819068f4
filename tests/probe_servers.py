"""Real servers on loopback for the probers' tests."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

__all__ = ["CERTIFICATE", "HttpServer", "free_port", "trusting"]

CERTIFICATE = Path(__file__).parent / "adapters" / "certificate" / "localhost.pem"
"""Key and self-signed certificate of ``localhost`` and 127.0.0.1, for these tests alone."""


def trusting() -> ssl.SSLContext:
    """A context that trusts the certificate of the tests."""
    return ssl.create_default_context(cafile=str(CERTIFICATE))


def free_port() -> int:
    """A port nobody listened on a moment ago."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


class HttpServer:
    """An HTTP server that can be told what to answer, killed, and started again on its port.

    Attributes:
        status: Its answer's status code.
        body: Its answer's body.
        headers: Its answer's headers.
        chunked: Whether the body goes out in chunks.
        hold: While clear, requests wait.
        hits: Requests answered.
        most: Most requests under way at a time.
    """

    def __init__(self, *, tls: bool = False) -> None:
        self.status = 200
        self.body = b"fine"
        self.headers: dict[str, str] = {}
        self.chunked = False
        self.hold = threading.Event()
        self.hold.set()
        self.hits = 0
        self.most = 0
        self._now = 0
        self._lock = threading.Lock()
        self._tls = tls
        self.port = 0
        self.start()

    @property
    def id(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                with outer._lock:
                    outer._now += 1
                    outer.most = max(outer.most, outer._now)
                try:
                    outer.hold.wait(10.0)
                    self.send_response(outer.status)
                    for name, value in outer.headers.items():
                        self.send_header(name, value)
                    if outer.chunked:
                        self.send_header("Transfer-Encoding", "chunked")
                        self.end_headers()
                        for start in range(0, len(outer.body), 3):
                            part = outer.body[start : start + 3]
                            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
                        self.wfile.write(b"0\r\n\r\n")
                    else:
                        self.send_header("Content-Length", str(len(outer.body)))
                        self.end_headers()
                        self.wfile.write(outer.body)
                    outer.hits += 1
                except OSError:
                    pass  # the probe gave up
                finally:
                    with outer._lock:
                        outer._now -= 1

            do_HEAD = do_GET  # noqa: N815 - the standard library's name

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, request: object, client_address: object) -> None:
                pass  # a TLS handshake that was refused, on purpose

        self._server = Server(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_address[1]
        if self._tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(CERTIFICATE)
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.01,), daemon=True
        )
        self._thread.start()

    def kill(self) -> None:
        """Stop listening; connections are refused from now on."""
        self.hold.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @classmethod
    @contextmanager
    def running(cls, *, tls: bool = False) -> Iterator[HttpServer]:
        server = cls(tls=tls)
        try:
            yield server
        finally:
            server.kill()
