"""Start a real proxy on loopback and ask it where keys go."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

__all__ = ["asked", "free_ports", "running"]

DEADLINE = 200
"""Attempts of 50 ms each for the proxy to listen."""


def free_ports(count: int) -> list[int]:
    """Return ports of loopback that nobody listened on a moment ago."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in sockets]
    for listener in sockets:
        listener.close()
    return ports


@contextmanager
def running(
    binary: str, arguments: Sequence[str], ports: Sequence[int], log: Path
) -> Iterator[None]:
    """Run a proxy in the foreground until the block ends; wait until it listens on all ports.

    Skips the test, naming the binary, where it is not installed.
    """
    path = shutil.which(binary, path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/sbin")
    if path is None:
        pytest.skip(f"{binary} is not installed: its placement is not checked against the real one")
    with log.open("wb") as output:
        process = subprocess.Popen([path, *arguments], stdout=output, stderr=output)
    try:
        for port in ports:
            _await_port(process, port, log)
        yield
    finally:
        process.terminate()
        process.wait(timeout=10)


def _await_port(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    for _ in range(DEADLINE):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            try:
                process.wait(timeout=0.05)
            except subprocess.TimeoutExpired:
                continue
            break
        else:
            return
    pytest.fail(f"the proxy does not listen on {port}:\n{log.read_text()}")


def asked(port: int, keys: Sequence[bytes], header: str) -> list[str]:
    """Send one request per key, the key in ``X-Key``, and return the named header of each answer.

    Requests are pipelined on one connection, a hundred at a time.
    """
    answers: list[str] = []
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        stream = connection.makefile("rb")
        for start in range(0, len(keys), 100):
            part = keys[start : start + 100]
            connection.sendall(
                b"".join(b"GET / HTTP/1.1\r\nHost: x\r\nX-Key: %s\r\n\r\n" % key for key in part)
            )
            for _ in part:
                status, headers = _answer(stream)
                assert status == 204, (status, headers)
                answers.append(headers[header.lower()])
    return answers


def _answer(stream: socket.SocketIO) -> tuple[int, Mapping[str, str]]:
    status = int(stream.readline().split()[1])
    headers = {}
    while line := stream.readline().strip():
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.lower()] = value.strip()
    return status, headers
