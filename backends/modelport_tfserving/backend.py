"""`TFServingBackend`: plans and builds model directories, and describes the server that serves them."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelport.artifact import Artifact, write_files
from modelport.backend import ImageSettings, ServeSettings
from modelport.client.base import Client
from modelport.errors import MissingTool
from modelport.model import Model
from modelport.plan import BuildPlan, Generated, ImagePlan, PlannedFile, Port, Readiness, ServicePlan
from modelport_tfserving.commandline import options_of, ready_path, server_flags, version_directory
from modelport_tfserving.config import METRICS_PATH, render_models
from modelport_tfserving.options import TFServingOptions
from modelport_tfserving.wire import describe_rest_gap

if TYPE_CHECKING:
    from pydantic import BaseModel

    from modelport.client.session import Dialect

REAL = "tensorflow_model_server"


class TFServingBackend:
    """TensorFlow Serving: the real binary where it is on the PATH, the embedded server otherwise."""

    name = "tfserving"
    protocols = ("rest", "grpc")
    default_ports: Mapping[str, int] = {"rest": 8501, "grpc": 8500}

    def parse_options(self, raw: Mapping[str, Any]) -> TFServingOptions:
        """Read ``backends.tfserving``."""
        return TFServingOptions.model_validate(raw)

    def plan(self, model: Model, options: BaseModel) -> BuildPlan:
        """List every file; a model that is no SavedModel yet is converted once and kept by digest."""
        from modelport_tfserving.layout import plan_layout  # numpy; `validate` needs the options alone

        return plan_layout(model, TFServingOptions.model_validate(options))

    def build(self, plan: BuildPlan, destination: Path) -> None:
        """Write the files."""
        write_files(plan.files, destination)

    def service(self, artifact: Artifact, settings: ServeSettings) -> ServicePlan:
        """Describe the server's process."""
        number = version_directory(artifact)
        host, rest, grpc = settings.host, settings.ports["rest"], settings.ports["grpc"]
        program, server, environment = find_server(host)
        labels = options_of(artifact).labels
        models = render_models(artifact.name, str(artifact.path / "models" / artifact.name), number, labels)
        flags = server_flags(artifact, rest=rest, grpc=grpc, models="{state}/models.config", folder=str(artifact.path))
        base = f"/v1/models/{artifact.name}"
        return ServicePlan(
            backend=self.name,
            server=server,
            command=(*program, *flags),
            environment={"TF_CPP_MIN_LOG_LEVEL": "1", **environment},
            files=(PlannedFile(path="models.config", content=Generated(data=models.encode(), origin="the artifact")),),
            ports=(Port(name="rest", number=rest), Port(name="grpc", number=grpc, protocol="grpc")),
            readiness=Readiness(port="rest", path=ready_path(artifact)),
            endpoints={
                "rest": f"http://{settings.url_host}:{rest}{base}",
                "grpc": f"grpc://{settings.url_host}:{grpc}/{artifact.name}",
                "metrics": f"http://{settings.url_host}:{rest}{METRICS_PATH}",
            },
        )

    def image(self, artifact: Artifact, settings: ImageSettings) -> ImagePlan:
        """Describe the image: the official server's, or the embedded one on a slim Python."""
        from modelport_tfserving.image import plan_image

        return plan_image(artifact, settings)

    def container(self, artifact: Artifact, reference: str) -> ServicePlan:
        """Describe the server in that image."""
        from modelport_tfserving.image import plan_container

        return plan_container(artifact, reference)

    def weights(self, artifact: Artifact) -> tuple[PlannedFile, ...]:
        """List the model's files, for an image of their own."""
        from modelport_tfserving.image import model_files

        return model_files(artifact)

    def unable(self, artifact: Artifact) -> Mapping[str, str]:
        """Name the protocols that cannot carry the model's tensors."""
        signature = artifact.record["model"]["served"]
        reason = describe_rest_gap((tensor["name"], tensor["dtype"]) for side in signature.values() for tensor in side)
        return {"rest": reason} if reason else {}

    def client(self, url: str, **settings: Any) -> Client:
        """Connect over REST or gRPC."""
        from modelport_tfserving.client import connect

        return connect(url, **settings)

    def dialect(self) -> type[Dialect]:
        """How TensorFlow Serving is spoken to; lets `modelport.connect` find them by themselves."""
        from modelport_tfserving.client import TFServingDialect

        return TFServingDialect


def find_server(host: str) -> tuple[tuple[str, ...], str, dict[str, str | None]]:
    """Give the program, what it is called for people, and its variables.

    Raises:
        MissingTool: Neither the real server nor what the embedded one needs is installed.
    """
    real = shutil.which(REAL)
    if real is not None:
        return (real,), f"{REAL} ({real})", {}
    if find_spec("tensorflow") is None or find_spec("tensorflow_serving") is None:
        raise MissingTool(
            f"{REAL} is not on the PATH, and the embedded server needs TensorFlow; "
            "install it with: pip install 'modelport[tfserving]'"
        )
    return (
        (sys.executable, "-m", "modelport_tfserving.server"),
        "modelport's embedded TensorFlow Serving server (no tensorflow_model_server on the PATH)",
        {"MODELPORT_TFSERVING_HOST": host},
    )
