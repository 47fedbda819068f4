"""``GrpcCheck`` against a real gRPC server that speaks the health protocol by hand."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from probe_servers import free_port

grpc = pytest.importorskip("grpc", reason="grpcio is not installed: the extra grpc")

from balancers.adapters.probe import Answer  # noqa: E402 - after the skip
from balancers.adapters.probe_grpc import GrpcCheck, _answer, _request  # noqa: E402

STATUSES = {b"": 1, b"\x0a\x04shop": 1, b"\x0a\x04cart": 2, b"\x0a\x04lost": 3}


@pytest.fixture(scope="module")
def target() -> Iterator[str]:
    """Address of a server whose service "shop" serves and "cart" does not."""

    def check(request: bytes, context: object) -> bytes:
        return b"\x08" + bytes([STATUSES[request]])

    server = grpc.server(ThreadPoolExecutor(4))
    handler = grpc.unary_unary_rpc_method_handler(check)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


def blocking(check: GrpcCheck, name: str) -> Answer:
    """Ask on this thread."""
    return check.run(name, 5.0)


def async_(check: GrpcCheck, name: str) -> Answer:
    """Ask on an event loop."""

    async def ask() -> Answer:
        async with asyncio.timeout(5.0):
            return await check.run_async(name)

    return asyncio.run(ask())


both = pytest.mark.parametrize("ask", [blocking, async_])


@both
def test_serving_or_not(ask: Callable[[GrpcCheck, str], Answer], target: str) -> None:
    """SERVING passes; every other status fails and is named."""
    assert ask(GrpcCheck(), target) == Answer(ok=True)
    assert ask(GrpcCheck("shop"), target).ok
    assert ask(GrpcCheck("cart"), target) == Answer(ok=False, detail="the service says NOT_SERVING")
    assert not ask(GrpcCheck("lost"), target).ok
    host, _, port = target.rpartition(":")
    assert ask(GrpcCheck(port=int(port)), f"{host}:1").ok


@both
def test_nobody_there(ask: Callable[[GrpcCheck, str], Answer]) -> None:
    """A refused connection is a failure that says so, and no exception in the log."""
    answer = ask(GrpcCheck(), f"127.0.0.1:{free_port()}")

    assert not answer.ok
    assert "UNAVAILABLE" in answer.detail


def test_bytes_on_the_wire() -> None:
    """Golden: protobuf of the two messages, unknown fields passed over."""
    assert _request("") == b""
    assert _request("shop") == b"\x0a\x04shop"
    assert _request("x" * 200)[:3] == b"\x0a\xc8\x01"
    assert _answer(b"\x08\x01").ok
    assert _answer(b"\x12\x03abc\x08\x01").ok
    assert _answer(b"") == Answer(ok=False, detail="the service says UNKNOWN")
    assert _answer(b"\x08\x07").detail == "the service says 7"
    with pytest.raises(ValueError, match="HealthCheckResponse"):
        _answer(b"\x08\x80")
