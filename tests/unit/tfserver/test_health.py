"""The health service over a real gRPC server: Check, Watch, and what watchers hear when the server stops."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from modelport_tfserving.server.health import Health

_SERVING, _NOT_SERVING = b"\x08\x01", b"\x08\x02"


@pytest.fixture
def serving() -> Iterator[tuple[Health, Any]]:
    health = Health()
    server = grpc.server(ThreadPoolExecutor(16))
    server.add_generic_rpc_handlers([health.handler()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield health, channel
    health.stop()
    server.stop(0).wait(5)


def test_watchers_hear_that_the_server_stops(serving: tuple[Health, Any]) -> None:
    health, channel = serving
    stream = channel.unary_stream("/grpc.health.v1.Health/Watch")(b"", timeout=20)
    assert next(stream) == _SERVING
    health.stop()
    assert list(stream) == [_NOT_SERVING]
    assert channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=20) == _NOT_SERVING


def test_watchers_cannot_take_every_thread(serving: tuple[Health, Any]) -> None:
    _, channel = serving
    watch = channel.unary_stream("/grpc.health.v1.Health/Watch")
    streams = [watch(b"", timeout=20) for _ in range(8)]
    assert [next(stream) for stream in streams] == [_SERVING] * 8
    with pytest.raises(grpc.RpcError) as caught:
        next(watch(b"", timeout=20))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=20) == _SERVING
    # One that goes makes room for another.
    streams[0].cancel()
    until = time.monotonic() + 20
    while time.monotonic() < until:
        stream = watch(b"", timeout=20)
        try:
            assert next(stream) == _SERVING
            break
        except grpc.RpcError:
            time.sleep(0.05)
    else:
        pytest.fail("a watcher that had gone kept its place")
