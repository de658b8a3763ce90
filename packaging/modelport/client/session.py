"""Clients: a backend's conversations, run in a thread or in an event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

from modelport.client.base import ClientError, ModelMetadata, Timeout
from modelport.client.exchange import Call, Lost, Pause, Reply, Steps
from modelport.client.grpc_transport import AsyncGrpcTransport, GrpcTransport
from modelport.client.http_transport import AsyncHttpTransport, HttpTransport
from modelport.client.settings import Address, Settings, check_timeout
from modelport.errors import SpecError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike

T = TypeVar("T")

READY_S = 5.0  # whoever asks whether a model is ready wants to know now


class Dialect(Protocol):
    """How one backend is spoken to: every conversation that a client can have. Opens no connection."""

    backend: str

    def __init__(self, address: Address, settings: Settings) -> None:
        """Read the URL.

        Raises:
            SpecError: It is none of this backend's, or leaves out what must be known.
        """
        ...

    @staticmethod
    def claims(address: Address) -> bool:
        """Whether the URL's form alone says that this backend may answer there (several may say so)."""
        ...

    @staticmethod
    def recognize(address: Address, settings: Settings) -> Steps[bool]:
        """Ask the server whether it is one of this backend's."""
        ...

    def predict(self, inputs: Mapping[str, ArrayLike]) -> Steps[dict[str, np.ndarray[Any, Any]]]:
        """See `modelport.client.base.Client.predict`."""
        ...

    def ready(self) -> Steps[bool]:
        """See `modelport.client.base.Client.ready`; may raise `ClientError` for False."""
        ...

    def metadata(self) -> Steps[ModelMetadata]:
        """See `modelport.client.base.Client.metadata`."""
        ...


class Transport(Protocol):
    """Carries calls."""

    def send(self, call: Call, timeout_s: float) -> Reply | Lost:
        """Send one call and have the whole answer within ``timeout_s`` seconds."""
        ...

    def close(self) -> None:
        """Close all connections."""
        ...


class AsyncTransport(Protocol):
    """The same, awaited."""

    async def send(self, call: Call, timeout_s: float) -> Reply | Lost:
        """As `Transport.send`."""
        ...

    async def close(self) -> None:
        """As `Transport.close`."""
        ...


def open_transport(address: Address, settings: Settings) -> Transport:
    """Make the transport that the URL's scheme asks for; connects with the first call."""
    return GrpcTransport(address, settings) if address.grpc else HttpTransport(address, settings)


def open_async_transport(address: Address, settings: Settings) -> AsyncTransport:
    """As `open_transport`, for an event loop."""
    return AsyncGrpcTransport(address, settings) if address.grpc else AsyncHttpTransport(address, settings)


def open_client(dialect: type[Dialect], url: str, settings: Mapping[str, Any]) -> SyncClient:
    """Make a client; it connects with the first call.

    Args:
        dialect: How the backend is spoken to.
        url: The service.
        settings: Keywords of `modelport.connect`.

    Raises:
        SpecError: The URL or a setting cannot be.
        MissingTool: gRPC is asked for and not installed.
    """
    address, parsed = Address.parse(url), Settings.parse(settings)
    return SyncClient(dialect(address, parsed), open_transport(address, parsed), address, parsed)


def open_async_client(dialect: type[Dialect], url: str, settings: Mapping[str, Any]) -> AwaitedClient:
    """As `open_client`, for an event loop."""
    address, parsed = Address.parse(url), Settings.parse(settings)
    return AwaitedClient(dialect(address, parsed), open_async_transport(address, parsed), address, parsed)


class SyncClient:
    """A `modelport.client.base.Client`; may be used by many threads at once, and as a context manager."""

    def __init__(self, dialect: Dialect, transport: Transport, address: Address, settings: Settings) -> None:
        self.backend = dialect.backend
        self.url = address.url
        self._dialect = dialect
        self._transport = transport
        self._timeout_s = settings.timeout_s
        self._closed = False

    def predict(
        self, inputs: Mapping[str, ArrayLike], *, timeout_s: float | None = None
    ) -> dict[str, np.ndarray[Any, Any]]:
        """Send all inputs, get all outputs, by name. ``timeout_s`` bounds the call with all its tries."""
        return self._run(self._dialect.predict(inputs), timeout_s)

    def ready(self) -> bool:
        """Whether the model is loaded and would answer."""
        try:
            return self._run(self._dialect.ready(), min(self._timeout_s, READY_S))
        except ClientError:
            return False

    def metadata(self) -> ModelMetadata:
        """Ask the server what it serves."""
        return self._run(self._dialect.metadata(), None)

    def close(self) -> None:
        """Give the connections back; a second time does nothing."""
        if not self._closed:
            self._closed = True
            self._transport.close()

    def _run(self, steps: Steps[T], timeout_s: float | None) -> T:
        if self._closed:
            raise SpecError(f"the client of {self.url} is closed; connect again")
        return run_steps(steps, self._transport, self._timeout_s if timeout_s is None else check_timeout(timeout_s))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AwaitedClient:
    """A `modelport.client.base.AsyncClient` for one event loop; also an asynchronous context manager."""

    def __init__(self, dialect: Dialect, transport: AsyncTransport, address: Address, settings: Settings) -> None:
        self.backend = dialect.backend
        self.url = address.url
        self._dialect = dialect
        self._transport = transport
        self._timeout_s = settings.timeout_s
        self._closed = False

    async def predict(
        self, inputs: Mapping[str, ArrayLike], *, timeout_s: float | None = None
    ) -> dict[str, np.ndarray[Any, Any]]:
        """As `SyncClient.predict`."""
        return await self._run(self._dialect.predict(inputs), timeout_s)

    async def ready(self) -> bool:
        """As `SyncClient.ready`."""
        try:
            return await self._run(self._dialect.ready(), min(self._timeout_s, READY_S))
        except ClientError:
            return False

    async def metadata(self) -> ModelMetadata:
        """As `SyncClient.metadata`."""
        return await self._run(self._dialect.metadata(), None)

    async def close(self) -> None:
        """As `SyncClient.close`."""
        if not self._closed:
            self._closed = True
            await self._transport.close()

    async def _run(self, steps: Steps[T], timeout_s: float | None) -> T:
        if self._closed:
            raise SpecError(f"the client of {self.url} is closed; connect again")
        seconds = self._timeout_s if timeout_s is None else check_timeout(timeout_s)
        return await run_steps_async(steps, self._transport, seconds)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def run_steps(steps: Steps[T], transport: Transport, timeout_s: float) -> T:
    """Have a conversation to its end, all calls and pauses within ``timeout_s`` seconds.

    Raises:
        ClientError: As the conversation raises it.
    """
    deadline = time.monotonic() + timeout_s
    try:
        step = next(steps)
        while True:
            remaining = deadline - time.monotonic()
            if isinstance(step, Pause):
                time.sleep(_within(step, remaining))
                step = next(steps)
            elif remaining <= 0:
                raise Timeout(f"{timeout_s:g} s were not enough for a whole prediction; timeout_s=… gives it more")
            else:
                step = steps.send(_told(transport.send(step, remaining), timeout_s))
    except StopIteration as end:
        result: T = end.value
        return result


async def run_steps_async(steps: Steps[T], transport: AsyncTransport, timeout_s: float) -> T:
    """As `run_steps`, awaited."""
    deadline = time.monotonic() + timeout_s
    try:
        step = next(steps)
        while True:
            remaining = deadline - time.monotonic()
            if isinstance(step, Pause):
                await asyncio.sleep(_within(step, remaining))
                step = next(steps)
            elif remaining <= 0:
                raise Timeout(f"{timeout_s:g} s were not enough for a whole prediction; timeout_s=… gives it more")
            else:
                step = steps.send(_told(await transport.send(step, remaining), timeout_s))
    except StopIteration as end:
        result: T = end.value
        return result


def _within(pause: Pause, remaining: float) -> float:
    if pause.seconds >= remaining:
        raise pause.otherwise
    return pause.seconds


def _told(reply: Reply | Lost, timeout_s: float) -> Reply | Lost:
    """Name the time that the caller gave, not what the transport had left of it."""
    if isinstance(reply, Lost) and reply.why == "late":
        return replace(reply, detail=f"{timeout_s:g} s were not enough; timeout_s=… gives it more")
    return reply
