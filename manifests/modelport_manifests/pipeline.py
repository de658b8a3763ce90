"""The way of a model from its spec to production, as data: stages in order, what each does, needs and may.

Nothing here knows a CI system: a renderer for one is a module that turns a `Pipeline` into its file
(`modelport_manifests.github_actions`, `modelport_manifests.gitlab_ci`). `modelport_manifests.stages` fills it in.

What a stage runs are shell scripts. They read these variables, which every renderer sets:

SPEC, MODELPORT, REQUIREMENTS
    The spec; what pip installs to have modelport; the file of pins that is installed in its place where it is there.
BACKEND, ARTIFACT, TAG
    In a stage that runs once for each backend: its name, its artifact's folder, its image's tag.
REPOSITORY, REGISTRY_USER, REGISTRY_PASSWORD
    The image without its tag; in a script that says that it reads them, who may push.
URL_VARIABLE
    In a stage with an environment: name of the variable in which the user says where the service answers there.
KUBECONFIG, PROMETHEUS_URL, PROMETHEUS_TOKEN
    In a script that says that it reads them: a file that leads to the cluster; where metrics are asked for, and the
    token for that, which may be empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import PurePosixPath

INSTALL = """\
if [ -f "$REQUIREMENTS" ]; then
  python -m pip install --requirement "$REQUIREMENTS"
else
  python -m pip install "$MODELPORT"
fi
"""
"""Shell commands that install modelport, for a stage that needs `Tool.MODELPORT`."""


class Tool(Enum):
    """What a stage needs beside a shell; a renderer says where it comes from."""

    MODELPORT = "modelport"  # with the sources
    ENGINE = "engine"  # which builds images
    SYFT = "syft"
    GRYPE = "grype"
    COSIGN = "cosign"  # with skopeo, which pushes
    KUBECTL = "kubectl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A file that a stage leaves, one for each backend.

    Attributes:
        name: What it is called in the CI system; the backend's name follows.
        suffix: Ending of the file's name, which is ``<name>-<backend><suffix>``.
        days: How long it is kept.
        always: Kept when the stage fails, too.
    """

    name: str
    suffix: str
    days: int = 1
    always: bool = False

    def file(self, backend: str = "$BACKEND") -> str:
        """Give the file's name; the backend is a variable of the shell, or of the renderer's own language."""
        return f"{self.name}-{backend}{self.suffix}"


REFERENCE = Kept(name="reference", suffix=".txt", days=30)
"""The image that was pushed: its name, its tag and its digest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """Commands for a POSIX shell, ended by the first that fails.

    Attributes:
        name: What they do, for people.
        text: The commands.
        reads: Secrets and the like that it is given, and no other script.
        after_failure: They run when an earlier script of the stage failed, and only then.
    """

    name: str
    text: str
    reads: tuple[str, ...] = ()
    after_failure: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One job, or one for each backend.

    Attributes:
        name: Unique in the pipeline.
        title: For people.
        needs: Stages that must have succeeded.
        tools: What it needs.
        scripts: What it runs, in order. What syft and grype do to an image is the renderer's to write.
        takes: Files that earlier stages left.
        keeps: Files that it leaves.
        report: The one among them that ``modelport verify --json`` wrote: people should see it, success or not.
        variables: What its scripts read beside the common ones: values by backend, by name.
        per_backend: It runs once for each backend.
        environment: Whose secrets and addresses it uses, and who may hold it up; empty for none.
        publishes: It may write to the registry, and sign as the pipeline itself.
        release: It runs for the default branch alone.
        minutes: Longest time that it may take.
    """

    name: str
    title: str
    needs: tuple[str, ...] = ()
    tools: frozenset[Tool] = frozenset({Tool.MODELPORT})
    scripts: tuple[Script, ...] = ()
    takes: tuple[Kept, ...] = ()
    keeps: tuple[Kept, ...] = ()
    report: Kept | None = None
    variables: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    per_backend: bool = True
    environment: str = ""
    publishes: bool = False
    release: bool = False
    minutes: int = 30

    def values(self, leg: Leg) -> dict[str, str]:
        """Give the variables that its scripts read and that differ between backends, BACKEND apart."""
        values = {}
        if Tool.ENGINE in self.tools:
            values["ARTIFACT"] = leg.artifact
        if Tool.ENGINE in self.tools or self.publishes:
            values["TAG"] = leg.tag
        if self.environment:
            values["URL_VARIABLE"] = leg.url_variable
        return values | {name: by_backend[leg.backend] for name, by_backend in self.variables.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """What differs from backend to backend.

    Attributes:
        backend: The backend's name.
        artifact: Folder of its artifact.
        tag: Tag of its image.
        url_variable: Name of the variable with the service's URL, which the user sets in each environment.
    """

    backend: str
    artifact: str
    tag: str
    url_variable: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """All stages of one model, in an order in which they can run.

    Attributes:
        name: ``modelport-<model>``: no two in a repository may be called alike.
        spec: Path of the spec in the repository, POSIX.
        requirement: What pip installs to have modelport.
        requirements: File of pins beside the spec; it need not exist.
        image: Name of the image in the CI system's own registry.
        repository: The image without its tag, where the spec says where it belongs.
        emulated: The spec names platforms, which the runner may not have.
        archive: Format in which an image travels between stages, in the words of podman, skopeo and syft.
        legs: The backends.
        stages: What is done.
    """

    name: str
    spec: str
    requirement: str
    requirements: str
    image: str
    repository: str | None
    emulated: bool
    archive: str
    legs: tuple[Leg, ...]
    stages: tuple[Stage, ...]

    @property
    def variables(self) -> dict[str, str]:
        """The variables that are the same in every CI system."""
        return {"SPEC": self.spec, "MODELPORT": self.requirement, "REQUIREMENTS": self.requirements}

    @property
    def folder(self) -> str:
        """The spec's folder; empty for the repository's root."""
        parent = str(PurePosixPath(self.spec).parent)
        return "" if parent == "." else parent

    @property
    def registry(self) -> str | None:
        """Host of the registry that the spec names; None for the CI system's own."""
        if self.repository is None:
            return None
        host, slash, _ = self.repository.partition("/")
        return host if slash and ("." in host or ":" in host or host == "localhost") else "docker.io"
