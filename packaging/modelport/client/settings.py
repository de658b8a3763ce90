"""How to reach a service: the URL in its parts, and what else a caller can choose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from ipaddress import ip_address
from typing import Any
from urllib.parse import unquote, urlsplit

from modelport.errors import SpecError

SCHEMES = ("http", "https", "grpc", "grpcs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A service's URL.

    Attributes:
        url: As it was given.
        scheme: One of `SCHEMES`.
        host: Name or IP address, without brackets.
        port: TCP port.
        segments: The path's segments, percent-decoded, without empty ones.
    """

    url: str
    scheme: str
    host: str
    port: int
    segments: tuple[str, ...]

    @classmethod
    def parse(cls, url: str) -> Address:
        """Take a URL apart.

        Raises:
            SpecError: It is no URL of a service.
        """
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            scheme, host, port = parts.scheme.lower(), parts.hostname, parts.port
        except ValueError as error:
            raise SpecError(f"{url!r} is no URL: {error}") from error
        if scheme not in SCHEMES or not host or not host.isprintable() or " " in host:
            raise SpecError(f"{url!r} is no URL of a service; write http://host:port, https://…, grpc://… or grpcs://…")
        if parts.username is not None:
            raise SpecError(f"the URL of {host} holds a user name; pass token=… or headers=… instead")
        if parts.query or parts.fragment:
            raise SpecError(f"{url!r}: a service's URL has no query and no fragment")
        if port is None:
            if scheme.startswith("grpc"):
                raise SpecError(f"{url!r} names no port; a gRPC URL does: {scheme}://{host}:port/model")
            port = 443 if scheme == "https" else 80
        segments = tuple(unquote(segment) for segment in parts.path.split("/") if segment)
        return cls(url=url, scheme=scheme, host=host, port=port, segments=segments)

    @property
    def grpc(self) -> bool:
        """Whether gRPC is spoken there."""
        return self.scheme.startswith("grpc")

    @property
    def secure(self) -> bool:
        """Whether TLS is spoken there."""
        return self.scheme in {"https", "grpcs"}

    @property
    def authority(self) -> str:
        """``host:port``, an IPv6 address in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def origin(self) -> str:
        """``scheme://host:port``."""
        return f"{self.scheme}://{self.authority}"

    @property
    def loopback(self) -> bool:
        """Whether it is this very machine: then no proxy is asked."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a caller can choose; see `modelport.connect`."""

    model: str | None = None
    version: str | None = None
    timeout_s: float = 30.0
    retries: int = 2
    token: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    verify_tls: bool | str = True

    @classmethod
    def parse(cls, raw: Mapping[str, Any]) -> Settings:
        """Check settings given by keyword; ``None`` stands for the default.

        Raises:
            SpecError: One is unknown or has a value that cannot be.
        """
        known = [entry.name for entry in fields(cls)]
        unknown = [name for name in raw if name not in known]
        if unknown:
            raise SpecError(f"a client of this server takes no {unknown[0]!r}; it takes {', '.join(known)}")
        given = {name: value for name, value in raw.items() if value is not None}
        if "version" in given:
            given["version"] = str(given["version"])
        settings = cls(**given)
        check_timeout(settings.timeout_s)
        if not isinstance(settings.retries, int) or settings.retries < 0:
            raise SpecError(f"retries must be a whole number from 0 on, got {settings.retries!r}")
        for name, value in settings.sent_headers.items():  # neither HTTP nor gRPC can carry anything else
            if not (name + value).isascii() or not (name + value).isprintable() or value != value.strip():
                raise SpecError(f"the header {name!r} holds a line break, a space at an end, or what is no ASCII")
        return settings

    @property
    def sent_headers(self) -> dict[str, str]:
        """Headers of every call, names in lower case; the token among them."""
        headers = {name.lower(): value for name, value in self.headers.items()}
        if self.token is not None:
            headers["authorization"] = f"Bearer {self.token}"
        return headers


def check_timeout(timeout_s: float) -> float:
    """Give the timeout back.

    Raises:
        SpecError: It is no number of seconds above 0.
    """
    if not isinstance(timeout_s, int | float) or not 0 < timeout_s < 1e9:
        raise SpecError(f"timeout_s must be a number of seconds above 0, got {timeout_s!r}")
    return float(timeout_s)


def agree(what: str, in_url: str | None, given: str | None) -> str | None:
    """Give what the URL or the caller says.

    Raises:
        SpecError: Both speak, and differ.
    """
    if in_url is not None and given is not None and in_url != given:
        raise SpecError(f"the URL names the {what} {in_url!r}, {what}= says {given!r}; leave one of them out")
    return in_url if given is None else given
