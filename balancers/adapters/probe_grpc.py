"""The gRPC health protocol, version 1. Needs grpcio: ``pip install balancers[grpc]``."""

from __future__ import annotations

from typing import Any

try:
    import grpc
    import grpc.aio
except ImportError as _error:  # pragma: no cover - depends on the installation
    raise ImportError("GrpcCheck needs grpcio: pip install 'balancers[grpc]'") from _error

from balancers.adapters.probe_checks import Address, split_address
from balancers.adapters.probe_io import Answer

__all__ = ["GrpcCheck"]

METHOD = "/grpc.health.v1.Health/Check"
STATUS = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}


class GrpcCheck:
    """Passes if the health service answers SERVING.

    Each probe opens a channel of its own: a kept one would wait out gRPC's connection backoff,
    up to two minutes, before it saw that the server is back.

    Args:
        service: Service to ask about; "" is the server as a whole.
        credentials: A ``grpc.ChannelCredentials`` for TLS; None is plain text.
        options: Further channel options.
        port: Port to probe instead of the endpoint's own.
        address: Where an id is; by default the id is read as ``host:port``.
    """

    def __init__(
        self,
        service: str = "",
        *,
        credentials: Any = None,
        options: tuple[tuple[str, Any], ...] = (),
        port: int | None = None,
        address: Address = split_address,
    ) -> None:
        self._request = _request(service)
        self._credentials = credentials
        # Channels to one address share connections, and their backoff, unless told not to.
        self._options = (("grpc.use_local_subchannel_pool", 1), *options)
        self._port = port
        self._address = address

    def run(self, id: str, timeout: float) -> Answer:  # noqa: A002
        """Probe on the calling thread."""
        target = self._target(id)
        if self._credentials is None:
            channel = grpc.insecure_channel(target, self._options)
        else:
            channel = grpc.secure_channel(target, self._credentials, self._options)
        with channel:
            try:
                return _answer(channel.unary_unary(METHOD)(self._request, timeout=timeout))
            except grpc.RpcError as error:
                return _refused(error)

    async def run_async(self, id: str) -> Answer:  # noqa: A002
        """Probe on the running event loop."""
        target = self._target(id)
        if self._credentials is None:
            channel = grpc.aio.insecure_channel(target, self._options)
        else:
            channel = grpc.aio.secure_channel(target, self._credentials, self._options)
        async with channel:
            try:
                return _answer(await channel.unary_unary(METHOD)(self._request))
            except grpc.RpcError as error:
                return _refused(error)

    def _target(self, name: str) -> str:
        host, port = self._address(name)
        shown = f"[{host}]" if ":" in host else host
        return f"{shown}:{port if self._port is None else self._port}"


def _request(service: str) -> bytes:
    """Return a HealthCheckRequest: field 1, the service's name."""
    name = service.encode()
    return b"\x0a" + _varint(len(name)) + name if name else b""


def _refused(error: Any) -> Answer:
    """Say what a call came to that brought no answer: nobody there is news, not a defect."""
    return Answer(ok=False, detail=f"the call ended with {error.code().name}: {error.details()}")


def _answer(response: bytes) -> Answer:
    """Judge a HealthCheckResponse: field 1, a status."""
    status = 0
    at = 0
    while at < len(response):
        tag, at = _read_varint(response, at)
        value, at = _read_varint(response, at)
        if tag & 7 == 2:  # a field of bytes, of a version to come
            at += value
        elif tag == 8:
            status = value
    name = STATUS.get(status, str(status))
    return Answer(ok=status == 1, detail="" if status == 1 else f"the service says {name}")


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data):
            raise ValueError("no HealthCheckResponse")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
