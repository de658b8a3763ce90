"""Which backend answers at a URL: by the URL's form where that tells, by asking the server otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypedDict, Unpack, runtime_checkable

from modelport.backend import backend_names, load_backend
from modelport.client.base import ServerError
from modelport.client.exchange import Steps
from modelport.client.session import (
    AwaitedClient,
    Dialect,
    SyncClient,
    open_async_client,
    open_async_transport,
    open_client,
    open_transport,
    run_steps,
    run_steps_async,
)
from modelport.client.settings import Address, Settings
from modelport.errors import SpecError

if TYPE_CHECKING:
    from modelport.client.base import AsyncClient, Client

RECOGNIZE_S = 10.0  # the most time that finding out may take


class Choices(TypedDict, total=False):
    """What a caller can choose; all of it may be left out.

    Attributes:
        model: The model's name where the URL does not hold it.
        version: The model's version where the URL does not hold it; the server's choice where nobody says.
        timeout_s: The most seconds for one prediction, all its tries included; 30 by default.
        retries: How often a call is sent again that the server did not begin, or refused for the moment; 2.
        token: Sent as ``Authorization: Bearer …``.
        headers: HTTP headers, or gRPC metadata, of every call.
        verify_tls: Whether the server's certificate is checked, or the path of the CA certificates to check it with.
    """

    model: str | None
    version: str | None
    timeout_s: float
    retries: int
    token: str | None
    headers: Mapping[str, str] | None
    verify_tls: bool | str


@runtime_checkable
class Conversant(Protocol):
    """A backend that `connect` can find by itself, and reach from an event loop. Others need ``backend=…``."""

    def dialect(self) -> type[Dialect]:
        """How its servers are spoken to."""
        ...


def connect(url: str, *, backend: str | None = None, **settings: Unpack[Choices]) -> Client:
    """Connect to a model on a running server.

    Args:
        url: ``http://host:port``, with TLS ``https://…``, where a Bento answers; for TorchServe
            ``http://host:port/predictions/<model>[/<version>]`` or ``grpc://host:port/<model>[/<version>]``; for
            TensorFlow Serving ``http://host:port/v1/models/<model>[/versions/<n>|/labels/<label>]`` or
            ``grpc://host:port/<model>[/versions/<n>|/labels/<label>]``. With TLS: ``https://…``, ``grpcs://…``.
        backend: ``bentoml``, ``torchserve``, ``tfserving``, … where it shall not be found out.
        settings: See `Choices`.

    Raises:
        SpecError: The URL or a setting cannot be.
        MissingTool: gRPC is asked for and not installed.
        ClientError: The server had to be asked who it is, and did not say.
    """
    if backend is not None:
        return load_backend(backend).client(url, **settings)
    return connect_among(dialects(), url, settings)


async def connect_async(url: str, *, backend: str | None = None, **settings: Unpack[Choices]) -> AsyncClient:
    """As `connect`; the client belongs to the running event loop."""
    return await connect_async_among(dialects(backend), url, settings)


def dialects(name: str | None = None) -> dict[str, type[Dialect]]:
    """Give the dialects of all installed backends by backend, or that of one.

    Raises:
        SpecError: No such backend is installed, or it has none.
    """
    backends = {each: load_backend(each) for each in ((name,) if name else backend_names())}
    found = {each: backend.dialect() for each, backend in backends.items() if isinstance(backend, Conversant)}
    if name and not found:
        raise SpecError(f"the backend {name!r} has no asynchronous client; use modelport.connect")
    return found


def connect_among(candidates: Mapping[str, type[Dialect]], url: str, settings: Mapping[str, Any]) -> SyncClient:
    """Connect to whichever of the candidates answers."""
    address, parsed = Address.parse(url), Settings.parse(settings)
    claiming = claimants(candidates, address)
    if len(claiming) == 1:
        return open_client(candidates[claiming[0]], url, settings)
    transport = open_transport(address, parsed)
    try:
        steps = identify(candidates, claiming, address, parsed)
        name = run_steps(steps, transport, min(parsed.timeout_s, RECOGNIZE_S))
    finally:
        transport.close()
    return open_client(candidates[name], url, settings)


async def connect_async_among(
    candidates: Mapping[str, type[Dialect]], url: str, settings: Mapping[str, Any]
) -> AwaitedClient:
    """As `connect_among`, awaited."""
    address, parsed = Address.parse(url), Settings.parse(settings)
    claiming = claimants(candidates, address)
    if len(claiming) == 1:
        return open_async_client(candidates[claiming[0]], url, settings)
    transport = open_async_transport(address, parsed)
    try:
        steps = identify(candidates, claiming, address, parsed)
        name = await run_steps_async(steps, transport, min(parsed.timeout_s, RECOGNIZE_S))
    finally:
        await transport.close()
    return open_async_client(candidates[name], url, settings)


def claimants(candidates: Mapping[str, type[Dialect]], address: Address) -> list[str]:
    """Give the names of those that the URL's form fits, in their order."""
    return [name for name, dialect in candidates.items() if dialect.claims(address)]


def identify(
    candidates: Mapping[str, type[Dialect]], claiming: Sequence[str], address: Address, settings: Settings
) -> Steps[str]:
    """Ask the server for each candidate, those that claim the URL alone where there are such; give the name.

    Raises:
        ClientError: Nobody answers, or a server that is none of the candidates'.
    """
    for name in claiming or candidates:
        if (yield from candidates[name].recognize(address, settings)):
            return name
    raise ServerError(
        f"{address.url}: a server answers there, but it is none of {', '.join(claiming or candidates)}; "
        "check the URL, or name the server with backend=…"
    )
