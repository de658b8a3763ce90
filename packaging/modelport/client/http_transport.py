"""REST: calls over kept HTTP connections, in a thread or in an event loop."""

from __future__ import annotations

import asyncio
import ssl
import time
from typing import TYPE_CHECKING, Any

from modelport.client.exchange import Call, Lost, Reply
from modelport.client.settings import Address, Settings
from modelport.errors import SpecError

if TYPE_CHECKING:
    import httpx

CONNECT_S = 5.0
KEEP_S = 3.0  # servers close idle connections after 5 s and more: never use one that is about to go
CONNECTIONS = 100


class HttpTransport:
    """Sends calls with `httpx.Client`; may be used by many threads at once."""

    def __init__(self, address: Address, settings: Settings) -> None:
        import httpx

        self._origin = address.origin
        self._client = httpx.Client(**_options(address, settings))

    def send(self, call: Call, timeout_s: float) -> Reply | Lost:
        """Send one call and read the whole answer; never raises for what a server or a network does."""
        import httpx

        deadline = time.monotonic() + timeout_s
        request = _request(self._client, self._origin, call, timeout_s)
        try:
            response = self._client.send(request, stream=True)
        except httpx.HTTPError as error:
            return _lost_before(error, timeout_s)
        try:
            body = bytearray()
            for chunk in response.iter_bytes():
                body += chunk
                if time.monotonic() > deadline:
                    return _late(timeout_s)
        except (httpx.HTTPError, httpx.StreamError) as error:
            return _lost_within(error, timeout_s)
        finally:
            response.close()
        return Reply(status=response.status_code, headers=response.headers, body=bytes(body))

    def close(self) -> None:
        """Close all connections."""
        self._client.close()


class AsyncHttpTransport:
    """The same with `httpx.AsyncClient`, for one event loop."""

    def __init__(self, address: Address, settings: Settings) -> None:
        import httpx

        self._origin = address.origin
        self._client = httpx.AsyncClient(**_options(address, settings))

    async def send(self, call: Call, timeout_s: float) -> Reply | Lost:
        """As `HttpTransport.send`."""
        import httpx

        request = _request(self._client, self._origin, call, timeout_s)
        try:
            async with asyncio.timeout(timeout_s):
                response = await self._client.send(request, stream=True)
                try:
                    body = await response.aread()
                except (httpx.HTTPError, httpx.StreamError) as error:
                    return _lost_within(error, timeout_s)
                finally:
                    await response.aclose()
        except TimeoutError:
            return _late(timeout_s)
        except httpx.HTTPError as error:
            return _lost_before(error, timeout_s)
        return Reply(status=response.status_code, headers=response.headers, body=body)

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()


def _options(address: Address, settings: Settings) -> dict[str, Any]:
    import httpx

    try:
        httpx.URL(address.origin)
    except httpx.InvalidURL as error:
        raise SpecError(f"{address.url!r} is no URL: {error}") from error
    verify: bool | ssl.SSLContext = settings.verify_tls is not False
    if isinstance(settings.verify_tls, str):
        try:
            verify = ssl.create_default_context(cafile=settings.verify_tls)
        except OSError as error:
            raise SpecError(f"verify_tls: {settings.verify_tls}: no readable file of certificates ({error})") from error
    elif not address.secure:
        verify = False  # spares reading the machine's certificates, the most expensive part of a client
    return {
        "headers": settings.sent_headers,
        "verify": verify,
        "trust_env": not address.loopback,
        "limits": httpx.Limits(
            max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS, keepalive_expiry=KEEP_S
        ),
    }


def _request(client: httpx.Client | httpx.AsyncClient, origin: str, call: Call, timeout_s: float) -> httpx.Request:
    import httpx

    timeout = httpx.Timeout(timeout_s, connect=min(timeout_s, CONNECT_S))
    return client.build_request(
        call.method,
        origin + call.target,
        headers=dict(call.headers),
        content=call.body or None,
        timeout=timeout,
    )


def _lost_before(error: httpx.HTTPError, timeout_s: float) -> Lost:
    import httpx

    if isinstance(error, httpx.ConnectTimeout):
        return Lost(why="refused", detail=f"nobody took the connection within {min(timeout_s, CONNECT_S):g} s")
    if isinstance(error, httpx.TimeoutException):
        return _late(timeout_s)
    if isinstance(error, httpx.ConnectError | httpx.ProxyError):
        return Lost(why="refused", detail=_words(error))
    if isinstance(error, httpx.ReadError | httpx.WriteError) or "without sending" in str(error):
        return Lost(why="closed", detail=_words(error))
    return Lost(why="cut", detail=_words(error))


def _lost_within(error: httpx.HTTPError | httpx.StreamError, timeout_s: float) -> Lost:
    import httpx

    return _late(timeout_s) if isinstance(error, httpx.TimeoutException) else Lost(why="cut", detail=_words(error))


def _late(timeout_s: float) -> Lost:
    return Lost(why="late", detail=f"{timeout_s:.3g} s were not enough; timeout_s=… gives it more")


def _words(error: Exception) -> str:
    return str(error).rstrip(". ") or type(error).__name__
