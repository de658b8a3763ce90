"""What will be written and what will run, as plain frozen data, computed before anything is touched.

A `BuildPlan` lists every file of an artifact and where its bytes come from. A `ServicePlan` is the one
description of a running service: the local runner, every container engine and every manifest consume it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelport.model import Model


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated:
    """Bytes that the plan itself holds."""

    data: bytes
    origin: str  # who made them, for people: "the spec", "modelport_runtime", …

    @property
    def size(self) -> int:
        """Length in bytes."""
        return len(self.data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """Bytes of a file that exists.

    Attributes:
        path: The file.
        size: Length in bytes.
        sha256: Digest, as hex; checked when the file is copied.
        label: Where it came from, for people, where the path does not tell.
    """

    path: Path
    size: int
    sha256: str
    label: str = ""

    @property
    def origin(self) -> str:
        """Where it came from, for people."""
        return self.label or str(self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Archived:
    """A zip archive of other planned files, written by `modelport.artifact`; the same members give the same bytes."""

    members: tuple[PlannedFile, ...]

    @property
    def size(self) -> int:
        """Sum of the members' sizes in bytes (members are stored, so the archive is a little longer)."""
        return sum(member.content.size or 0 for member in self.members)

    @property
    def origin(self) -> str:
        """How many members, for people."""
        return f"archive of {len(self.members)} files"


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """Bytes that a tool makes during the build; how many is known afterwards.

    Attributes:
        how: The route or the tool, for people: ``"exported_program → onnx → saved_model"``, ``"bentoml build"``.
    """

    how: str
    size: int | None = None

    @property
    def origin(self) -> str:
        """The route, for people."""
        return self.how


Content = Generated | Copied | Archived | Converted


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedFile:
    """One file of an artifact: its path below the artifact's folder (POSIX, relative) and its content."""

    path: str
    content: Content


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildPlan:
    """Everything that a build will write for one backend.

    Attributes:
        backend: The backend's name.
        model: The resolved model.
        files: Every file below ``<name>/<version>/<backend>/``, ``artifact.json`` apart.
        facts: What the plan decided and the user should see, in order (``{"version directory": "1002000"}``).
        warnings: Sentences about what will not be honoured, or surprise.
    """

    backend: str
    model: Model
    files: tuple[PlannedFile, ...]
    facts: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """A port that a service listens on.

    Attributes:
        name: ``rest``, ``grpc``, ``management``, ``metrics``, …
        number: TCP port.
        protocol: ``http`` or ``grpc``.
    """

    name: str
    number: int
    protocol: str = "http"


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """An HTTP GET that answers 200 only when the model can answer.

    Attributes:
        port: The name of a `Port`.
        path: Path and query.
        headers: Headers that it needs, by name.
    """

    port: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """What a service tells Prometheus, and the PromQL that reads it in this server's own metric names.

    In every query ``$selector`` stands where label matchers go (``namespace="a",pod=~"digits-.*"``, without braces) and
    ``$window`` where a range goes (``5m``).

    Attributes:
        port: The name of the `Port` that is scraped.
        path: HTTP path of the metrics.
        requests: Requests a second.
        errors: Failed requests a second; the caller's own faults are not counted where the server tells them apart.
        latency_s: 95th percentile of the latency in seconds; None where the server tells no distribution.
        saturation: Work waiting or in flight, as a number that grows with load; None where the server does not tell.
    """

    port: str
    path: str
    requests: str
    errors: str
    latency_s: str | None = None
    saturation: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePlan:
    """One running service, on this machine or, where `image` is set, in a container.

    Attributes:
        backend: The backend's name.
        server: Which program serves, for people (``"tensorflow_model_server (embedded)"``).
        command: Program and arguments. ``{state}`` stands for a private folder that the runner makes before the
            start and removes after the end, and in which `files` are written.
        environment: Variables set beside the inherited ones (with ``{state}`` replaced as above); a value of
            None removes the inherited variable.
        files: Files below ``{state}``; ``{state}`` in generated text is replaced too.
        ports: Every port that it binds.
        readiness: What orchestrators ask.
        endpoints: URLs for `modelport.connect`, by protocol: ``{"rest": …, "grpc": …}``.
        fatal: Texts in the server's log that mean that it will never be ready (a server that retries a broken model
            for ever says so nowhere else).
        start_timeout_s: How long a start may take, in seconds.
        grace_s: How long it may take to end after SIGTERM, in seconds.
        image: Reference of the image that it runs in; empty where it runs on this machine. In a container `files` stand
            in `config_folder`, and ``{state}`` is not used.
        config_folder: Absolute folder of `files` in the container. The image has them too: a mount over it is how they
            are changed without a new image.
        writable: Absolute folders that the server writes to; everything else may be read-only.
        probe: Command that ends with 0 when, and only when, a request would be answered; for engines that ask within
            the container.
        metrics: What it tells Prometheus, if anything.
        model_bytes: Size of the model's files, in bytes: what loading takes at least in memory.
        model_folder: Absolute folder of the model's files in the container. Where ``deploy.weights`` keeps them out of
            the server's image, they come from an image of their own, called `weights_reference`.
    """

    backend: str
    server: str
    command: tuple[str, ...]
    environment: Mapping[str, str | None] = field(default_factory=dict)
    files: tuple[PlannedFile, ...] = ()
    ports: tuple[Port, ...]
    readiness: Readiness
    endpoints: Mapping[str, str]
    fatal: tuple[str, ...] = ()
    start_timeout_s: float = 120.0
    grace_s: float = 15.0
    image: str = ""
    config_folder: str = ""
    writable: tuple[str, ...] = ()
    probe: tuple[str, ...] = ()
    metrics: Metrics | None = None
    model_bytes: int = 0
    model_folder: str = ""

    @property
    def weights_reference(self) -> str:
        """Reference of the image that holds the model's files alone, beside `image`; by tag."""
        return self.image.partition("@")[0] + "-weights"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePlan:
    """A container image to be built.

    Attributes:
        backend: The backend's name.
        reference: Name and tag: ``registry.example.com/team/digits:1.2.0-torchserve``.
        bases: The images that it starts from, in the order of the Dockerfile.
        files: The build context; ``Dockerfile`` and ``.dockerignore`` are among them.
        tool: Program and arguments that build it in place of ``ENGINE build``, for a backend with a builder of its own;
            ``{engine}``, ``{context}`` and ``{reference}`` are replaced. Empty for the Dockerfile.
        platforms: ``linux/amd64``, …; empty for this machine's own.
        labels: OCI labels.
        max_size: Largest size in bytes; None for no limit.
        warnings: Sentences about what will surprise.
    """

    backend: str
    reference: str
    bases: tuple[str, ...]
    files: tuple[PlannedFile, ...]
    tool: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    max_size: int | None = None
    warnings: tuple[str, ...] = ()
