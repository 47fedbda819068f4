"""Probes as conversations: written once, held over blocking sockets or asyncio.

A conversation is a generator. It yields what it wants done (``Connect``, ``Send``,
``Receive``), is sent the bytes received, and returns its ``Answer``. It knows neither sockets
nor threads nor an event loop; ``talk`` and ``talk_async`` do, and keep the time.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["Answer", "Connect", "Conversation", "Receive", "Send", "talk", "talk_async"]

CHUNK = 65536


@dataclass(frozen=True, slots=True)
class Answer:
    """How a probe ended.

    Attributes:
        ok: Whether it passed.
        degraded: Whether the endpoint, though well, would rather not be used.
        detail: Why not, in a phrase, for logs.
    """

    ok: bool
    degraded: bool = False
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Connect:
    """Open a connection; ``tls`` None is plain TCP."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    server_name: str | None = None


@dataclass(frozen=True, slots=True)
class Send:
    """Send all of it."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Receive:
    """Wait for some bytes; none means that the other side has closed."""


Conversation: TypeAlias = Generator[Connect | Send | Receive, bytes, Answer]


def talk(conversation: Conversation, timeout: float) -> Answer:
    """Hold the conversation over a blocking socket.

    Args:
        conversation: What to say.
        timeout: Seconds for all of it.

    Raises:
        OSError: If the network or TLS fails; ``TimeoutError`` is one.
    """
    deadline = time.monotonic() + timeout
    line: socket.socket | None = None
    reply = b""
    try:
        while True:
            try:
                step = conversation.send(reply) if line is not None else next(conversation)
            except StopIteration as end:
                answer: Answer = end.value
                return answer
            reply = b""
            left = deadline - time.monotonic()
            if left <= 0.0:
                raise TimeoutError("timed out")
            if isinstance(step, Connect):
                line = socket.create_connection((step.host, step.port), left)
                if step.tls is not None:
                    line.settimeout(max(1e-3, deadline - time.monotonic()))
                    name = step.server_name or step.host
                    line = step.tls.wrap_socket(line, server_hostname=name)
                continue
            assert line is not None, "a conversation begins with Connect"
            line.settimeout(left)
            if isinstance(step, Send):
                line.sendall(step.data)
            else:
                reply = line.recv(CHUNK)
    finally:
        conversation.close()
        if line is not None:
            line.close()


async def talk_async(conversation: Conversation) -> Answer:
    """Hold the conversation over asyncio streams, until it ends or is cancelled.

    Raises:
        OSError: If the network or TLS fails.
    """
    writer: asyncio.StreamWriter | None = None
    reader: asyncio.StreamReader | None = None
    reply = b""
    try:
        while True:
            try:
                step = conversation.send(reply) if writer is not None else next(conversation)
            except StopIteration as end:
                answer: Answer = end.value
                return answer
            reply = b""
            if isinstance(step, Connect):
                name = (step.server_name or step.host) if step.tls is not None else None
                reader, writer = await asyncio.open_connection(
                    step.host, step.port, ssl=step.tls, server_hostname=name
                )
                continue
            assert writer is not None, "a conversation begins with Connect"
            assert reader is not None
            if isinstance(step, Send):
                writer.write(step.data)
                await writer.drain()
            else:
                reply = await reader.read(CHUNK)
    finally:
        conversation.close()
        if writer is not None:
            # Not closed in good order: a probe owes the other side no farewell, and waiting
            # for one could outlast the timeout.
            writer.transport.abort()
