"""How TorchServe runs in its image: where everything lies, the configuration for it, and the `ServicePlan`."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from urllib.parse import quote

from modelport.artifact import Artifact
from modelport.errors import SpecError
from modelport.plan import Generated, Metrics, PlannedFile, Port, Readiness, ServicePlan
from modelport.python_image import INIT_COMMAND, PYTHON, SCRATCH, VENV, probe_http
from modelport.spec.schema import ModelSpec
from modelport_runtime.description import FILE_NAME as DESCRIPTION
from modelport_runtime.torchserve_service import DESCRIBE

from .archive import MANIFEST, REQUIREMENTS, SAMPLES
from .config import MODEL_STORE, Binding, render_config
from .options import Ports, TorchServeOptions
from .service import CONFIG, GRACE_S, LOAD_FAILED, readiness_path

ROOT = "/opt/modelport"
STORE = f"{ROOT}/{MODEL_STORE}"
CONFIG_FOLDER = "/etc/modelport"
LOGGING = "log4j2.xml"
JAVA_HOME = "/opt/java"
SERVER_HOME = f"{VENV}/torchserve"
"""A link to the folder of the package ``ts``, whose path has Python's version in it."""
WEIGHTS = "model.weights"
"""Folder of the model's files in an unpacked archive; with the dot in its name it can be no package of Python's."""
LOOPBACK = "127.0.0.1"

_LOG_CONFIGURATION = """\
<?xml version="1.0" encoding="UTF-8"?>
<!-- All that the server and its models say goes to stdout: files would fill the memory that /tmp is made of. -->
<Configuration>
  <Appenders>
    <Console name="STDOUT" target="SYSTEM_OUT">
      <PatternLayout pattern="%d{ISO8601} [%-5p] %t %c - %m%n"/>
    </Console>
  </Appenders>
  <Loggers>
    <Logger name="io.netty" level="error"/>
    <Logger name="org.apache" level="off"/>
    <Logger name="org.pytorch.serve.wlm" level="warn"/>
    <Root level="info">
      <AppenderRef ref="STDOUT"/>
    </Root>
  </Loggers>
</Configuration>
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where the members of an archive lie in an image.

    Attributes:
        name: The model's name, and that of the folder below `STORE`.
        weights: Members that are the model's own files.
        source: The folder that they share in the archive; empty where they lie at its root.
        folder: Where they lie in the unpacked archive: `WEIGHTS`, or as in the archive where a handler of the user's
            own looks for them there.
        size: Their size in bytes.
        description: What ``modelport.json`` shall say.
        manifest: What the archive's manifest shall say.
    """

    name: str
    weights: tuple[str, ...]
    source: str
    folder: str
    size: int
    description: str
    manifest: str

    @property
    def archive_folder(self) -> str:
        """Absolute folder of the unpacked archive."""
        return f"{STORE}/{self.name}"

    @property
    def model_folder(self) -> str:
        """Absolute folder of the model's files."""
        return f"{self.archive_folder}/{self.folder}".rstrip("/")


def read_layout(artifact: Artifact, options: TorchServeOptions) -> Layout:
    """Look into an artifact's archive, and say where its members will lie."""
    with zipfile.ZipFile(artifact.path / MODEL_STORE / f"{artifact.name}.mar") as archive:
        sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
        description = json.loads(archive.read(DESCRIPTION))
        manifest = json.loads(archive.read(MANIFEST))
    source: str = description["source"]
    inside = source if any(name.startswith(f"{source}/") for name in sizes) else ""
    weights = tuple(name for name in sizes if (name.startswith(f"{inside}/") if inside else _is_weight(name)))
    folder = WEIGHTS
    if options.handler is not None:
        folder = inside
    elif inside:
        description["source"] = WEIGHTS
    else:
        description["source"] = manifest["model"]["serializedFile"] = f"{WEIGHTS}/{source}"
    return Layout(
        name=artifact.name,
        weights=weights,
        source=inside,
        folder=folder,
        size=sum(sizes[name] for name in weights),
        description=json.dumps(description, indent=2, ensure_ascii=False) + "\n",
        manifest=json.dumps(manifest, indent=2),
    )


def _is_weight(name: str) -> bool:
    """Whether a member of an archive is one of the model's files: beside them it has Python and what we wrote."""
    ours = {DESCRIPTION, MANIFEST, REQUIREMENTS, SAMPLES}
    return name not in ours and not name.endswith(".py")


def plan_container(artifact: Artifact, options: TorchServeOptions, reference: str) -> ServicePlan:
    """Describe the service in an image.

    Others reach inference and metrics. Management, which can stop workers, is on the container's loopback address.

    Raises:
        SpecError: The spec asks for tokens.
    """
    spec = ModelSpec.model_validate(artifact.record["spec"])
    refuse_tokens(options)
    layout = read_layout(artifact, options)
    ports = Ports()
    path = f"{spec.name}/{quote(spec.version, safe='')}"
    return ServicePlan(
        backend="torchserve",
        server="torchserve",
        command=command(options),
        files=config_files(spec, options),
        ports=(
            Port(name="rest", number=ports.rest),
            Port(name="grpc", number=ports.grpc, protocol="grpc"),
            Port(name="metrics", number=ports.metrics),
        ),
        readiness=_readiness(spec, options, path),
        endpoints={
            "rest": f"http://{LOOPBACK}:{ports.rest}/predictions/{path}",
            "grpc": f"grpc://{LOOPBACK}:{ports.grpc}/{path}",
        },
        fatal=(LOAD_FAILED,),
        start_timeout_s=float(options.startup_timeout_s),
        grace_s=GRACE_S,
        image=reference,
        config_folder=CONFIG_FOLDER,
        writable=(SCRATCH,),
        probe=probe(spec),
        metrics=_metrics() if options.metrics_mode == "prometheus" else None,
        model_bytes=layout.size,
        model_folder=layout.model_folder,
    )


def refuse_tokens(options: TorchServeOptions) -> None:
    """Refuse TorchServe's tokens.

    Raises:
        SpecError: The spec asks for them.
    """
    if options.token_authorization:
        raise SpecError(
            "backends.torchserve.token_authorization: is true, and in a container nobody could use them: each start "
            "makes tokens of its own, in a file within the container, and they end after an hour. Say false, and let "
            "what stands before the service (an ingress, a gateway, a mesh) ask who calls"
        )


def config_files(spec: ModelSpec, options: TorchServeOptions) -> tuple[PlannedFile, ...]:
    """Give the files of `CONFIG_FOLDER`."""
    binding = Binding(
        address="0.0.0.0",  # noqa: S104  # the container's own network decides who reaches it
        management_address=LOOPBACK,
        ports=Ports().model_dump(),
        token_authorization=False,
        model_store=STORE,
        archive=spec.name,
        installs=False,
    )
    texts = {CONFIG: render_config(spec, options, binding), LOGGING: _LOG_CONFIGURATION}
    return tuple(
        PlannedFile(path=name, content=Generated(data=text.encode(), origin="the spec"))
        for name, text in sorted(texts.items())
    )


def command(options: TorchServeOptions) -> tuple[str, ...]:
    """Give what runs: TorchServe's frontend itself.

    Its launcher would end on SIGTERM and leave the frontend behind, whose container then ends with it.
    """
    return (
        *INIT_COMMAND,
        f"{JAVA_HOME}/bin/java",
        f"-Dmodel_server_home={SERVER_HOME}",
        f"-Djava.io.tmpdir={SCRATCH}",
        f"-Dlog4j.configurationFile=file://{CONFIG_FOLDER}/{LOGGING}",
        "--enable-native-access=ALL-UNNAMED",
        "-XX:+ExitOnOutOfMemoryError",
        *options.jvm,
        "-cp",
        f"{SERVER_HOME}/ts/frontend/*",
        "org.pytorch.serve.ModelServer",
        "--python",
        PYTHON,
        "-f",
        f"{CONFIG_FOLDER}/{CONFIG}",
        "-s",
        STORE,
        "-ncs",
    )


def probe(spec: ModelSpec) -> tuple[str, ...]:
    """Give the command that ends with 0 when a worker has loaded the model and answers."""
    return probe_http(Ports().management, readiness_path(spec))


def _readiness(spec: ModelSpec, options: TorchServeOptions, path: str) -> Readiness:
    """Give what can be asked from outside: our handler describes the model to whoever sends TorchServe's own header.

    A handler of the user's own does not, so there only `probe` tells: management is on none of the plan's ports.
    """
    if options.handler is not None:
        return Readiness(port="management", path=readiness_path(spec))
    return Readiness(port="rest", path=f"/predictions/{path}", headers={DESCRIBE: "True"})


def _metrics() -> Metrics:
    """TorchServe counts requests and microseconds; it tells no distribution, so no percentile can be had."""
    return Metrics(
        port="metrics",
        path="/metrics",
        requests="sum(rate(ts_inference_requests_total{$selector}[$window]))",
        errors="sum(rate(Requests5XX{$selector}[$window]))",
        # Seconds that requests waited, a second: how many of them wait at a time.
        saturation="sum(rate(ts_queue_latency_microseconds{$selector}[$window])) / 1e6",
    )
