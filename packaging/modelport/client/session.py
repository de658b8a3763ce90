"""Clients: a backend's conversations, run in a thread or in an event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator, Mapping
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

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
Carrier = TypeVar("Carrier")

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


class _Connected(Generic[Carrier]):
    """What clients of both kinds hold."""

    def __init__(self, dialect: Dialect, transport: Carrier, address: Address, settings: Settings) -> None:
        self.backend = dialect.backend
        self.url = address.url
        self._dialect = dialect
        self._transport = transport
        self._timeout_s = settings.timeout_s
        self._closed = False

    def _limit(self, timeout_s: float | None) -> float:
        """Give the most seconds for a conversation that begins now."""
        if self._closed:
            raise SpecError(f"the client of {self.url} is closed; connect again")
        return self._timeout_s if timeout_s is None else check_timeout(timeout_s)


class SyncClient(_Connected[Transport]):
    """A `modelport.client.base.Client`; may be used by many threads at once, and as a context manager."""

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
        return run_steps(steps, self._transport, self._limit(timeout_s))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AwaitedClient(_Connected[AsyncTransport]):
    """A `modelport.client.base.AsyncClient` for one event loop; also an asynchronous context manager."""

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
        return await run_steps_async(steps, self._transport, self._limit(timeout_s))

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
    bounded = _bounded(steps, timeout_s)
    reply: Reply | Lost | None = None
    try:
        while True:
            call, seconds = bounded.send(reply)
            if call is None:
                time.sleep(seconds)
            else:
                reply = transport.send(call, seconds)
    except StopIteration as end:
        result: T = end.value
        return result


async def run_steps_async(steps: Steps[T], transport: AsyncTransport, timeout_s: float) -> T:
    """As `run_steps`, awaited."""
    bounded = _bounded(steps, timeout_s)
    reply: Reply | Lost | None = None
    try:
        while True:
            call, seconds = bounded.send(reply)
            if call is None:
                await asyncio.sleep(seconds)
            else:
                reply = await transport.send(call, seconds)
    except StopIteration as end:
        result: T = end.value
        return result


def _bounded(steps: Steps[T], timeout_s: float) -> Generator[tuple[Call | None, float], Reply | Lost | None, T]:
    """Give each call with the seconds that are left for it, and each pause as no call with its length."""
    deadline = time.monotonic() + timeout_s
    try:
        step = next(steps)
        while True:
            remaining = deadline - time.monotonic()
            if isinstance(step, Pause):
                if step.seconds >= remaining:
                    raise step.otherwise
                yield None, step.seconds
                step = next(steps)
            elif remaining <= 0:
                raise Timeout(f"{timeout_s:g} s were not enough for a whole prediction; timeout_s=… gives it more")
            else:
                reply = yield step, remaining
                assert reply is not None  # noqa: S101  # whoever gets a call answers it; for the type checker
                step = steps.send(_told(reply, timeout_s))
    except StopIteration as end:
        result: T = end.value
        return result


def _told(reply: Reply | Lost, timeout_s: float) -> Reply | Lost:
    """Name the time that the caller gave, not what the transport had left of it."""
    if isinstance(reply, Lost) and reply.why == "late":
        return replace(reply, detail=f"{timeout_s:g} s were not enough; timeout_s=… gives it more")
    return reply
