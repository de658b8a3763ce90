"""gRPC: calls over one kept channel. Messages are bytes here, so no generated code and no protobuf is needed."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from modelport.client.exchange import Call, Lost, Reply
from modelport.client.http_transport import CONNECT_S
from modelport.client.settings import Address, Settings
from modelport.errors import MissingTool, SpecError

# What gRPC's own transport says when no server has spoken; a server's UNAVAILABLE has other words.
REFUSED = (
    "failed to connect",
    "connection refused",
    "dns resolution",
    "name resolution",
    "connections to all backends",
)
CLOSED = (
    "socket closed",
    "connection reset",
    "broken pipe",
    "goaway",
    "stream removed",
    "recvmsg",
    "end of tcp",
    "rst_stream",
)


class GrpcTransport:
    """Sends calls over a `grpc.Channel`; may be used by many threads at once."""

    def __init__(self, address: Address, settings: Settings) -> None:
        grpc = require_grpc()
        credentials, options = _credentials(grpc, address, settings), _options(address)
        if credentials is None:
            self._channel = grpc.insecure_channel(address.authority, options=options)
        else:
            self._channel = grpc.secure_channel(address.authority, credentials, options=options)
        self._metadata = tuple(settings.sent_headers.items())
        self._methods: dict[str, Any] = {}
        self._lock = threading.Lock()

    def send(self, call: Call, timeout_s: float) -> Reply | Lost:
        """Send one call and have the answer; never raises for what a server or a network does."""
        grpc = require_grpc()
        with self._lock:
            method = self._methods.get(call.target) or self._channel.unary_unary(call.target)
            self._methods[call.target] = method
        try:
            body = method(call.body, timeout=timeout_s, metadata=self._metadata + tuple(call.headers.items()))
        except grpc.RpcError as error:
            return read_error(error, timeout_s)
        return Reply(status="OK", body=body)

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()


class AsyncGrpcTransport:
    """The same over a `grpc.aio.Channel`, which belongs to the event loop of the first call."""

    def __init__(self, address: Address, settings: Settings) -> None:
        grpc = require_grpc()
        self._address = address
        self._credentials = _credentials(grpc, address, settings)
        self._metadata = tuple(settings.sent_headers.items())
        self._channel: Any = None

    def _open(self) -> Any:
        import grpc.aio

        options = _options(self._address)
        if self._credentials is None:
            return grpc.aio.insecure_channel(self._address.authority, options=options)
        return grpc.aio.secure_channel(self._address.authority, self._credentials, options=options)

    async def send(self, call: Call, timeout_s: float) -> Reply | Lost:
        """As `GrpcTransport.send`."""
        grpc = require_grpc()
        if self._channel is None:
            self._channel = self._open()
        method = self._channel.unary_unary(call.target)
        metadata = self._metadata + tuple(call.headers.items())
        try:
            body = await method(call.body, timeout=timeout_s, metadata=metadata)
        except grpc.RpcError as error:
            return read_error(error, timeout_s)
        return Reply(status="OK", body=body)

    async def close(self) -> None:
        """Close the channel."""
        if self._channel is not None:
            await self._channel.close()


def require_grpc() -> Any:
    """Give the module `grpc`.

    Raises:
        MissingTool: It is not installed.
    """
    try:
        import grpc
    except ImportError as error:
        raise MissingTool("gRPC needs grpcio, which is not installed; run: pip install 'modelport[grpc]'") from error
    return grpc


def read_error(error: Any, timeout_s: float) -> Reply | Lost:
    """Tell a server's answer from a network that failed."""
    code, detail = error.code().name, error.details() or ""
    words = detail.lower()
    if code == "UNAVAILABLE" and any(sign in words for sign in REFUSED):
        return Lost(why="refused", detail=detail)
    if code in {"UNAVAILABLE", "INTERNAL", "UNKNOWN"} and any(sign in words for sign in CLOSED):
        return Lost(why="closed", detail=detail)
    if code == "DEADLINE_EXCEEDED" and words == "deadline exceeded":
        return Lost(why="late", detail=f"{timeout_s:.3g} s were not enough; timeout_s=… gives it more")
    return Reply(status=code, detail=detail)


def _options(address: Address) -> list[tuple[str, int]]:
    return [
        ("grpc.max_send_message_length", -1),
        ("grpc.max_receive_message_length", -1),
        # A server that comes back is found again within a second, not within two minutes.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", int(CONNECT_S * 1000)),  # for all its name, the time of one attempt
        ("grpc.max_reconnect_backoff_ms", 1000),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.enable_http_proxy", 0 if address.loopback else 1),
    ]


def _credentials(grpc: Any, address: Address, settings: Settings) -> Any:
    if not address.secure:
        return None
    if settings.verify_tls is False:
        raise SpecError("verify_tls=False: gRPC cannot skip the check of certificates; name a CA file instead")
    if settings.verify_tls is True:
        return grpc.ssl_channel_credentials()
    try:
        return grpc.ssl_channel_credentials(Path(settings.verify_tls).read_bytes())
    except OSError as error:
        raise SpecError(f"verify_tls: {settings.verify_tls}: {error.strerror}") from error
