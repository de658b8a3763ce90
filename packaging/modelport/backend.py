"""What a backend is, and how one is found.

Backends are plug-ins: a distribution names a class in the entry-point group ``modelport.backends``, and the
built-in ones come through the same door. `modelport` knows none of them by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from modelport.plugin import load_plugin, plugin_names

if TYPE_CHECKING:
    from pydantic import BaseModel

    from modelport.artifact import Artifact
    from modelport.client.base import Client
    from modelport.model import Model
    from modelport.plan import BuildPlan, ImagePlan, ServicePlan

GROUP = "modelport.backends"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeSettings:
    """How a service is to run here.

    Attributes:
        host: The address to bind to.
        ports: Numbers by port name; all names in `Backend.default_ports` are present, none is 0.
    """

    host: str = "127.0.0.1"
    ports: Mapping[str, int] = field(default_factory=dict)

    @property
    def url_host(self) -> str:
        """The host as clients on this machine write it in URLs."""
        if self.host in {"0.0.0.0", "::"}:  # noqa: S104  # compared with, not bound to
            return "127.0.0.1" if self.host == "0.0.0.0" else "[::1]"  # noqa: S104  # the same
        return f"[{self.host}]" if ":" in self.host else self.host


@runtime_checkable
class Backend(Protocol):
    """One server that models can be compiled for.

    Attributes:
        name: As it stands in specs, commands and folders.
        protocols: What a client can speak to it: ``rest``, ``grpc``, in the order in which they are verified.
        default_ports: The server's own numbers by port name.
    """

    name: str
    protocols: tuple[str, ...]
    default_ports: Mapping[str, int]

    def parse_options(self, raw: Mapping[str, Any]) -> BaseModel:
        """Read what stands under ``backends.<name>`` in a spec.

        Raises:
            pydantic.ValidationError: With locations relative to ``backends.<name>``.
        """
        ...

    def plan(self, model: Model, options: BaseModel) -> BuildPlan:
        """List every file to be written; touch nothing.

        Raises:
            SpecError: The model or an option cannot be honoured by this server; the message has the ways out.
        """
        ...

    def build(self, plan: BuildPlan, destination: Path) -> None:
        """Write the plan's files into the empty folder ``destination``.

        Raises:
            BuildError: A file could not be made.
            MissingTool: An extra that the build needs is not installed.
        """
        ...

    def service(self, artifact: Artifact, settings: ServeSettings) -> ServicePlan:
        """Describe the service that serves ``artifact``; start nothing.

        Raises:
            MissingTool: The server is not installed here.
        """
        ...

    def client(self, url: str, **settings: Any) -> Client:
        """Connect to a running service by one of the URLs in `ServicePlan.endpoints` (see `modelport.connect`)."""
        ...


@runtime_checkable
class Selective(Protocol):
    """A backend some of whose protocols cannot carry every model."""

    def unable(self, artifact: Artifact) -> Mapping[str, str]:
        """Give the protocols that cannot carry this artifact's tensors, each with a sentence that says why."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSettings:
    """How an image is to be called and marked.

    Attributes:
        reference: Name and tag.
        platforms: ``linux/amd64``, …; empty for this machine's own.
        labels: OCI labels, beside the backend's own.
        max_size: Largest size in bytes; None for no limit.
        require_digest: Refuse a base image that is named by a tag alone.
    """

    reference: str
    platforms: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    max_size: int | None = None
    require_digest: bool = False


@runtime_checkable
class Containerized(Protocol):
    """A backend whose artifacts can be put into an image."""

    def image(self, artifact: Artifact, settings: ImageSettings) -> ImagePlan:
        """Describe the image; build nothing.

        Raises:
            SpecError: The image cannot be made as asked for; the message has the ways out.
            MissingTool: An extra that describing it needs is not installed.
        """
        ...

    def container(self, artifact: Artifact, reference: str) -> ServicePlan:
        """Describe the service inside that image: the same server, on all addresses and its default ports.

        The endpoints are as seen within the container, on 127.0.0.1.

        Raises:
            SpecError: The artifact cannot be served in a container as its spec says.
        """
        ...


def backend_names() -> tuple[str, ...]:
    """Names of all installed backends, sorted."""
    return plugin_names(GROUP)


def load_backend(name: str) -> Backend:
    """Give the backend ``name``.

    Raises:
        SpecError: No installed distribution registers it, or what it registers is no backend.
    """
    return load_plugin(GROUP, name, Backend)  # type: ignore[type-abstract]  # compared with, never made
