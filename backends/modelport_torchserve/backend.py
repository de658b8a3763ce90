"""TorchServe as a backend: a model archive, its ``config.properties``, and the service that runs them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelport.artifact import Artifact, write_files
from modelport.backend import ImageSettings, ServeSettings
from modelport.converted import engine_facts, model_to_run
from modelport.errors import SpecError
from modelport.model import Model
from modelport.plan import Archived, BuildPlan, Generated, ImagePlan, PlannedFile, ServicePlan

from .config import MODEL_STORE, bind_as_specified, render_config
from .options import Ports, TorchServeOptions

if TYPE_CHECKING:
    from pydantic import BaseModel

    from modelport.client.base import Client
    from modelport.client.session import Dialect


class TorchServeBackend:
    """Compiles a model for TorchServe 0.12."""

    name = "torchserve"
    protocols: tuple[str, ...] = ("rest", "grpc")
    default_ports: Mapping[str, int] = Ports().model_dump()

    def parse_options(self, raw: Mapping[str, Any]) -> TorchServeOptions:
        """Read what stands under ``backends.torchserve`` in a spec."""
        return TorchServeOptions.model_validate(dict(raw))

    def plan(self, model: Model, options: BaseModel) -> BuildPlan:
        """List the archive with its members, and the configuration."""
        from .archive import plan_members

        assert isinstance(options, TorchServeOptions)  # noqa: S101  # the protocol knows only pydantic's base
        _check(model, options)
        model = model_to_run(model)
        config = render_config(model.spec, options, bind_as_specified(options))
        name, version = model.spec.name, model.spec.version
        return BuildPlan(
            backend=self.name,
            model=model,
            files=(
                PlannedFile(path="config.properties", content=Generated(data=config.encode(), origin="the spec")),
                PlannedFile(path=f"{MODEL_STORE}/{name}.mar", content=Archived(members=plan_members(model, options))),
            ),
            facts={**_facts(options, f"/predictions/{name}/{version}"), **engine_facts(model)},
            warnings=_warnings(model, options),
        )

    def build(self, plan: BuildPlan, destination: Path) -> None:
        """Write the archive and the configuration."""
        write_files(plan.files, destination)

    def service(self, artifact: Artifact, settings: ServeSettings) -> ServicePlan:
        """Describe ``torchserve --start --foreground`` on the artifact."""
        from .java import find_java
        from .service import plan_service

        return plan_service(artifact, self._options(artifact), settings, find_java())

    def image(self, artifact: Artifact, settings: ImageSettings) -> ImagePlan:
        """Describe the image: Python, Java, TorchServe and the unpacked archive."""
        from .image import plan_image

        return plan_image(artifact, self._options(artifact), settings)

    def container(self, artifact: Artifact, reference: str) -> ServicePlan:
        """Describe the service in that image; management is on its loopback address."""
        from .container import plan_container

        return plan_container(artifact, self._options(artifact), reference)

    def weights(self, artifact: Artifact) -> tuple[PlannedFile, ...]:
        """List the model's files, relative to `ServicePlan.model_folder`."""
        from .image import weight_files

        return weight_files(artifact, self._options(artifact))

    def client(self, url: str, **settings: Any) -> Client:
        """Connect to a running TorchServe."""
        from .client import connect

        return connect(url, **settings)

    def dialect(self) -> type[Dialect]:
        """How TorchServe is spoken to; lets `modelport.connect` find them by themselves."""
        from .client import TorchServeDialect

        return TorchServeDialect

    def _options(self, artifact: Artifact) -> TorchServeOptions:
        return self.parse_options(artifact.record["spec"].get("backends", {}).get(self.name, {}))


def _check(model: Model, options: TorchServeOptions) -> None:
    """Refuse what TorchServe could only pretend to do.

    Raises:
        SpecError: With the ways out.
    """
    spec = model.spec
    if spec.serving.batching is not None and not model.signature.batched:
        tensors = model.signature.inputs + model.signature.outputs
        fixed = next(t for t in tensors if not t.shape or t.shape[0] is not None)
        raise SpecError(
            f"serving.batching: requests are joined along the first axis, and {fixed} has none that is dynamic. "
            "Leave batching out, or export the model with a dynamic first axis"
        )
    if options.gpus is not None and spec.environment.device == "cpu":
        raise SpecError("backends.torchserve.gpus: does nothing with environment.device: cpu; leave one of them out")


def _facts(options: TorchServeOptions, path: str) -> dict[str, str]:
    tokens = "on" if options.token_authorization else "off"
    numbers = ", ".join(f"{name} {number}" for name, number in options.ports.model_dump().items())
    return {
        "path": path,
        "address": f"{options.address}, tokens {tokens}",
        "ports": numbers,
        "start with": "torchserve --start --foreground --ncs --ts-config config.properties --model-store model-store",
    }


def _warnings(model: Model, options: TorchServeOptions) -> tuple[str, ...]:
    warnings = []
    batching = model.spec.serving.batching
    if batching is not None and batching.max_delay_ms == 0:
        warnings.append("serving.batching.max_delay_ms: 0 means 100 ms to TorchServe; 1 ms is written")
    if model.samples is None:
        warnings.append("samples: none, so a worker is ready when the model is loaded, before it answered anything")
    if options.handler is not None:
        warnings.append(
            "backends.torchserve.handler: your own code decides what is answered, and when it is ready; verify and "
            "modelport.connect need it to take and give modelport's bodies, JSON or npz"
        )
        spec = model.spec
        given = {
            "transform": spec.transform,
            "preprocess": spec.preprocess,
            "postprocess": spec.postprocess,
            "backends.torchserve.threads": options.threads,
        }
        if idle := [key for key, value in given.items() if value is not None]:
            warnings.append(
                f"{', '.join(idle)}: done by modelport's handler, whose place backends.torchserve.handler takes; "
                "nothing happens unless your own code does it"
            )
    return tuple(warnings)
