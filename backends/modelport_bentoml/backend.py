"""`BentoMLBackend`: from a model to a Bento, and from a Bento to a running service."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelport.artifact import Artifact, write_files
from modelport.backend import ImageSettings, ServeSettings
from modelport.converted import engine_facts, model_to_run
from modelport.errors import SpecError
from modelport.model import Model
from modelport.plan import BuildPlan, ImagePlan, PlannedFile, Port, Readiness, ServicePlan
from modelport_bentoml.bento import (
    INSTALL,
    QUIET_ENVIRONMENT,
    archive_name,
    bento_folder,
    build_bento,
    plan_bento,
)
from modelport_bentoml.options import BentoMLOptions
from modelport_bentoml.project import plan_project
from modelport_bentoml.tag import bento_tag

if TYPE_CHECKING:
    from pydantic import BaseModel

    from modelport.client.base import Client
    from modelport.client.session import Dialect

PROJECT = "project/"


class BentoMLBackend:
    """Compiles a model into a Bento; see `modelport.backend.Backend`."""

    name = "bentoml"
    protocols = ("rest",)
    default_ports: Mapping[str, int] = {"rest": 3000}

    def parse_options(self, raw: Mapping[str, Any]) -> BentoMLOptions:
        """Read what stands under ``backends.bentoml``.

        Raises:
            pydantic.ValidationError: With locations relative to it.
        """
        return BentoMLOptions.model_validate(raw)

    def plan(self, model: Model, options: BaseModel) -> BuildPlan:
        """List the project's files, the Bento's and its archive.

        Raises:
            SpecError: Batching is asked for and the model cannot join requests, or names do not fit.
        """
        if not isinstance(options, BentoMLOptions):
            raise TypeError(f"{type(options).__name__}: options come from parse_options")
        _check_batching(model)
        model = model_to_run(model)
        tag = bento_tag(model.spec.name, model.spec.version)
        project = plan_project(model, options, tag)
        placed = tuple(PlannedFile(path=PROJECT + file.path, content=file.content) for file in project)
        return BuildPlan(
            backend=self.name,
            model=model,
            files=(*placed, *plan_bento(project, tag)),
            facts={"bento": str(tag), "archive": archive_name(tag), **engine_facts(model)},
            warnings=tuple(_warnings(model)),
        )

    def build(self, plan: BuildPlan, destination: Path) -> None:
        """Write the project, let BentoML build it, and export the Bento.

        Raises:
            BuildError: A file changed since the plan was made, or BentoML failed.
            MissingTool: BentoML is not installed.
        """
        write_files(plan.files, destination)
        project = tuple(
            PlannedFile(path=file.path.removeprefix(PROJECT), content=file.content)
            for file in plan.files
            if file.path.startswith(PROJECT)
        )
        build_bento(destination, project, bento_tag(plan.model.spec.name, plan.model.spec.version))

    def service(self, artifact: Artifact, settings: ServeSettings) -> ServicePlan:
        """Describe ``bentoml serve`` on the artifact's Bento; nothing is written into the artifact.

        Raises:
            MissingTool: BentoML is not installed.
            SpecError: The host is no IP address; BentoML takes no other.
        """
        from modelport.run.tool import find_program

        host = _address(settings.host)
        port = settings.ports["rest"]
        folder = bento_folder(artifact.path, bento_tag(artifact.name, artifact.version))
        bentoml = find_program("bentoml", install=INSTALL)
        return ServicePlan(
            backend=self.name,
            server="bentoml serve",
            command=(bentoml, "serve", str(folder), "--host", host, "--port", str(port)),
            environment={
                **QUIET_ENVIRONMENT,
                "BENTOML_HOME": "{state}/home",
                "PYTHONPATH": None,  # what the Bento needs must be in the Bento
                "TMPDIR": "{state}",
            },
            ports=(Port(name="rest", number=port),),
            readiness=Readiness(port="rest", path="/readyz"),
            endpoints={"rest": f"http://{_reachable(host)}:{port}"},
        )

    def image(self, artifact: Artifact, settings: ImageSettings) -> ImagePlan:
        """Describe the image that `bentoml containerize` makes of the artifact's Bento.

        Raises:
            SpecError: The base must have a digest and has none.
            MissingTool: BentoML is not installed.
        """
        from modelport_bentoml.image import plan_image

        return plan_image(artifact, self._options(artifact), settings)

    def container(self, artifact: Artifact, reference: str) -> ServicePlan:
        """Describe ``bentoml serve`` in that image."""
        from modelport_bentoml.container import plan_container

        return plan_container(artifact, reference)

    def weights(self, artifact: Artifact) -> tuple[PlannedFile, ...]:
        """List the model's files, relative to `ServicePlan.model_folder`."""
        from modelport_bentoml.image import weight_files

        return weight_files(artifact)

    def client(self, url: str, **settings: Any) -> Client:
        """Connect to a running service; see `modelport.connect`."""
        from modelport_bentoml.client import connect

        return connect(url, **settings)

    def dialect(self) -> type[Dialect]:
        """How Bentos are spoken to; lets `modelport.connect` find them by themselves."""
        from modelport_bentoml.client import BentoDialect

        return BentoDialect

    def _options(self, artifact: Artifact) -> BentoMLOptions:
        return self.parse_options(artifact.record["spec"].get("backends", {}).get(self.name, {}))


def _check_batching(model: Model) -> None:
    if model.spec.serving.batching is None or model.signature.batched:
        return
    fixed = [str(t) for t in model.signature.inputs + model.signature.outputs if t.shape[:1] != (None,)]
    raise SpecError(
        "serving.batching: requests are joined along the first axis, which is not dynamic in "
        f"{', '.join(fixed)}. Export the model with a dynamic first axis, or leave batching out"
    )


def _warnings(model: Model) -> list[str]:
    spec = model.spec
    tag = bento_tag(spec.name, spec.version)
    found = []
    if (tag.name, tag.version) != (spec.name, spec.version):
        found.append(f"the Bento is called {tag}: BentoML takes lowercase letters, digits, '-', '_' and '.' only")
    if model.samples is None:
        found.append("samples: there are none, so ready means that the model is loaded, not that it has answered")
    return found


def _address(host: str) -> str:
    if host == "localhost":
        return "127.0.0.1"
    try:
        return str(ipaddress.ip_address(host))
    except ValueError as error:
        raise SpecError(f"host {host!r}: BentoML binds to IP addresses only; write 127.0.0.1 or 0.0.0.0") from error


def _reachable(host: str) -> str:
    """Give the host part of a URL at which a service bound to ``host`` answers."""
    address = ipaddress.ip_address(host)
    if address.is_unspecified:
        address = ipaddress.ip_address("127.0.0.1" if address.version == 4 else "::1")
    return f"[{address}]" if address.version == 6 else str(address)
