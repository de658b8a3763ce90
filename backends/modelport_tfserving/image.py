"""The container image of a TensorFlow Serving artifact, and the service in it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from modelport.artifact import Artifact, copied
from modelport.backend import ImageSettings
from modelport.errors import SpecError
from modelport.image import require_digests
from modelport.plan import Generated, ImagePlan, Metrics, PlannedFile, Port, Readiness, ServicePlan
from modelport.python_image import (
    PYTHON,
    SCRATCH,
    USER,
    VENV,
    PythonImageSection,
    exec_form,
    probe_http,
    render_end,
    render_environment,
    render_user,
)
from modelport_tfserving.commandline import options_of, ready_path, server_flags
from modelport_tfserving.config import METRICS_PATH
from modelport_tfserving.options import ImageOptions

OFFICIAL = "docker.io/tensorflow/serving"
CONFIG = "/etc/modelport"
PROGRAMS = "/opt/modelport"
REST, GRPC = 8501, 8500
START_S = 120.0
ENVIRONMENT = {"TF_CPP_MIN_LOG_LEVEL": "1"}
LIBRARIES = ("grpcio>=1.62", "protobuf>=5")
CONFIG_FILES = ("models.config", "batching.config", "monitoring.config")
WHERE = "backends.tfserving.image"

INIT = """\
#!/bin/bash
# A container's first process gets no signal that it has no handler for: the server is started as a child, and told.
trap 'kill -TERM "$server"' TERM INT
"$@" &
server=$!
wait "$server"
code=$?
while kill -0 "$server" 2>/dev/null; do
  wait "$server"
  code=$?
done
exit "$code"
"""

READY = """\
#!/bin/bash
# Ends with 0 when a GET of the path answers 200. The image has no curl, and needs none.
exec 3<>"/dev/tcp/127.0.0.1/$1" || exit 1
printf 'GET %s HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n' "$2" >&3
read -r -t 5 _ status _ <&3
[ "$status" = 200 ]
"""


def plan_image(artifact: Artifact, settings: ImageSettings) -> ImagePlan:
    """Describe the image.

    Raises:
        SpecError: The server would be older than the TensorFlow that wrote the model, or a base has no digest.
    """
    options = options_of(artifact).image
    version = server_version(artifact, options)
    base = base_of(artifact, options, version)
    if settings.require_digest:
        require_digests((base,), f"{WHERE}.base")
    dockerfile = render_dockerfile(artifact, options, base)
    return ImagePlan(
        backend="tfserving",
        reference=settings.reference,
        bases=(base,),
        files=(
            _text("Dockerfile", dockerfile),
            _text(".dockerignore", "Dockerfile\n.dockerignore\n"),
            *(
                _moved(file, f"model{model_folder(artifact)}")
                for file in model_files(artifact)
                if _weights_inside(artifact)
            ),
            *(_moved(file, "config") for file in config_files(artifact)),
            *_programs(options),
            *(_embedded_files(artifact) if options.server == "embedded" else ()),
        ),
        platforms=settings.platforms,
        labels=settings.labels,
        max_size=settings.max_size,
        warnings=tuple(_warnings(options, base, version, settings.platforms)),
    )


def plan_container(artifact: Artifact, reference: str) -> ServicePlan:
    """Describe the server in that image."""
    options = options_of(artifact).image
    base = f"/v1/models/{artifact.name}"
    return ServicePlan(
        backend="tfserving",
        server="tensorflow_model_server" if options.server == "official" else "modelport's embedded server",
        command=(*_entrypoint(options), *_command(artifact, options)),
        environment=ENVIRONMENT,
        files=config_files(artifact),
        ports=(Port(name="rest", number=REST), Port(name="grpc", number=GRPC, protocol="grpc")),
        readiness=Readiness(port="rest", path=ready_path(artifact)),
        endpoints={
            "rest": f"http://127.0.0.1:{REST}{base}",
            "grpc": f"grpc://127.0.0.1:{GRPC}/{artifact.name}",
            "metrics": f"http://127.0.0.1:{REST}{METRICS_PATH}",
        },
        image=reference,
        config_folder=CONFIG,
        start_timeout_s=START_S,
        writable=(SCRATCH,),
        probe=_probe(artifact, options),
        metrics=METRICS,
        model_bytes=sum(file.content.size or 0 for file in model_files(artifact)),
        model_folder=model_folder(artifact),
    )


CALLERS_FAULTS = "INVALID_ARGUMENT|NOT_FOUND|OUT_OF_RANGE|FAILED_PRECONDITION|CANCELLED"
METRICS = Metrics(
    port="rest",
    path=METRICS_PATH,
    requests="sum(rate(:tensorflow:serving:request_count{$selector}[$window]))",
    errors=f'sum(rate(:tensorflow:serving:request_count{{status!~"OK|{CALLERS_FAULTS}",$selector}}[$window]))',
    latency_s=(
        "histogram_quantile(0.95, sum by (le) "
        "(rate(:tensorflow:serving:request_latency_bucket{$selector}[$window]))) / 1e6"
    ),
    # Time spent on requests, in seconds a second: how many are worked on at once, on average.
    saturation="sum(rate(:tensorflow:serving:request_latency_sum{$selector}[$window])) / 1e6",
)


def server_version(artifact: Artifact, options: ImageOptions) -> str | None:
    """Give the server's version, as far as it is known: asked for, read off the base's tag, or the exporter's.

    Raises:
        SpecError: It is older than the TensorFlow that wrote the model, or nobody knows it.
    """
    exporter: str | None = artifact.record["tools"].get("tensorflow")
    version = options.version or _tagged_version(options.base)
    if version is None and options.base is not None and options.server == "official":
        return None
    version = version or exporter
    if version is None:
        raise SpecError(
            f"{WHERE}.version: artifact.json does not tell which TensorFlow wrote the model, since none was installed "
            f"where it was built. Say which server is to serve it, such as {WHERE}.version: 2.19.1"
        )
    if exporter is not None and _pair(exporter) > _pair(version):
        raise SpecError(
            f"{WHERE}: the model was written with TensorFlow {exporter}, and the server would be {version}; an older "
            f"server may not know its ops. Three ways out: {WHERE}.version: {exporter}; {WHERE}.server: embedded, "
            f"which runs on any TensorFlow; or build the artifact where TensorFlow {version} or older is installed"
        )
    return version


def base_of(artifact: Artifact, options: ImageOptions, version: str | None) -> str:
    """Give the image that ours starts from."""
    if options.base is not None:
        return options.base
    if options.server == "embedded":
        return f"docker.io/library/python:{artifact.record['spec']['environment']['python']}-slim"
    return f"{OFFICIAL}:{version}{'-gpu' if _on_gpu(artifact) else ''}"


def model_folder(artifact: Artifact) -> str:
    """Give the folder of the model's version folder in the container, as ``models.config`` has it.

    Raises:
        SpecError: It would be hidden, or lead out of itself.
    """
    parts = PurePosixPath(options_of(artifact).base_path).parts
    if ".." in parts or parts[1:2] in {("tmp",), ("etc",), ("proc",), ("sys",), ("dev",)}:
        raise SpecError(
            f"backends.tfserving.base_path: {options_of(artifact).base_path} is no folder for models in a container, "
            "where the system mounts something else or keeps its own files; take another, such as /models"
        )
    return str(PurePosixPath(*parts) / artifact.name)


def model_files(artifact: Artifact) -> tuple[PlannedFile, ...]:
    """List the model's files, relative to `model_folder`."""
    return _below(artifact.path / "models" / artifact.name)


def config_files(artifact: Artifact) -> tuple[PlannedFile, ...]:
    """List the server's configuration files."""
    return tuple(PlannedFile(path=name, content=copied(artifact.path / name)) for name in CONFIG_FILES)


def render_dockerfile(artifact: Artifact, options: ImageOptions, base: str) -> str:
    """Render the Dockerfile: what changes least comes first, so that a new configuration moves no weights."""
    embedded = options.server == "embedded"
    # The context has the whole path: a folder that the engine makes has the time of the build, and makes another layer.
    weights = f"COPY {exec_form(('model/', '/'))}\n" if _weights_inside(artifact) else ""
    return "".join(
        (
            render_packages(base, _embedded_version(artifact), gpu=_on_gpu(artifact)) if embedded else f"FROM {base}\n",
            weights,
            f"COPY {exec_form(('programs/', PROGRAMS + '/'))}\n",
            f"COPY {exec_form(('config/', CONFIG + '/'))}\n",
            render_user({"PYTHONPATH": PROGRAMS, **ENVIRONMENT})
            if embedded
            else f"ENV {_pairs(ENVIRONMENT)}\nUSER {USER}\n",
            render_end(
                ports=(REST, GRPC),
                probe=_probe(artifact, options),
                start_s=START_S,
                entrypoint=_entrypoint(options),
                command=_command(artifact, options),
            ),
        )
    )


def render_packages(base: str, version: str, *, gpu: bool = False) -> str:
    """Render the part of a Dockerfile that installs TensorFlow: a stage of its own, then the base with its result.

    The build context has `requirements` in ``requirements.txt``.
    """
    stage = render_environment(
        PythonImageSection(),
        base=base,
        requirements=requirements(version, gpu=gpu),
        file="requirements.txt",
        # It asks for TensorFlow under the name that has CUDA in it; what it holds are messages.
        tools=(f"tensorflow-serving-api=={version}",),
        cpu=not gpu,
    )
    return f"{stage}FROM {base}\nCOPY --from=environment {exec_form((VENV, VENV))}\n"


def requirements(version: str, *, gpu: bool = False) -> tuple[str, ...]:
    """List what the embedded server needs on TensorFlow ``version``, its messages apart."""
    if gpu:
        return (f"tensorflow[and-cuda]=={version}", *LIBRARIES)
    # Without CUDA it has a name of its own on x86_64, and the plain one elsewhere.
    return (
        f'tensorflow-cpu=={version}; platform_machine == "x86_64"',
        f'tensorflow=={version}; platform_machine != "x86_64"',
        *LIBRARIES,
    )


def _weights(artifact: Artifact) -> Iterable[PlannedFile]:
    folder = model_folder(artifact)
    return (_moved(file, f"model{folder}") for file in model_files(artifact))


def _embedded_version(artifact: Artifact) -> str:
    version = server_version(artifact, options_of(artifact).image)
    assert version is not None  # noqa: S101  # unknown is only what stands in a base of the official server
    return version


def _embedded_files(artifact: Artifact) -> Iterable[PlannedFile]:
    needed = requirements(_embedded_version(artifact), gpu=_on_gpu(artifact))
    yield _text("requirements.txt", "".join(f"{line}\n" for line in needed))
    yield _text("programs/modelport_tfserving/__init__.py", '"""Holds the server."""\n')
    for path in sorted((Path(__file__).parent / "server").glob("*.py")):
        yield PlannedFile(path=f"programs/modelport_tfserving/server/{path.name}", content=copied(path, "modelport"))


def _programs(options: ImageOptions) -> Iterable[PlannedFile]:
    if options.server == "official":
        yield _text("programs/init.sh", INIT)
        yield _text("programs/ready.sh", READY)


def _entrypoint(options: ImageOptions) -> tuple[str, ...]:
    """The embedded server ends on SIGTERM as the first process; of the real one that is not known."""
    if options.server == "embedded":
        return (PYTHON, "-m", "modelport_tfserving.server")
    return ("/bin/bash", f"{PROGRAMS}/init.sh")


def _command(artifact: Artifact, options: ImageOptions) -> tuple[str, ...]:
    flags = server_flags(artifact, rest=REST, grpc=GRPC, models=f"{CONFIG}/models.config", folder=CONFIG)
    return flags if options.server == "embedded" else ("tensorflow_model_server", *flags)


def _probe(artifact: Artifact, options: ImageOptions) -> tuple[str, ...]:
    if options.server == "embedded":
        return probe_http(REST, ready_path(artifact))
    return ("/bin/bash", f"{PROGRAMS}/ready.sh", str(REST), ready_path(artifact))


def _warnings(options: ImageOptions, base: str, version: str | None, platforms: tuple[str, ...]) -> Iterable[str]:
    if version is None:
        yield (
            f"{WHERE}.base: {base} does not tell its server's version, so it is not checked against the TensorFlow "
            f"that wrote the model; say it with {WHERE}.version"
        )
    others = [platform for platform in platforms if platform != "linux/amd64"]
    if options.server == "official" and options.base is None and others:
        yield (
            f"--platform {', '.join(others)}: {OFFICIAL} is published for linux/amd64; for others name a "
            f"{WHERE}.base, or take {WHERE}.server: embedded"
        )


def _weights_inside(artifact: Artifact) -> bool:
    return bool(artifact.record["spec"].get("deploy", {}).get("weights", "image") == "image")


def _on_gpu(artifact: Artifact) -> bool:
    return bool(artifact.record["spec"]["environment"]["device"] == "cuda")


def _tagged_version(base: str | None) -> str | None:
    found = re.search(r"serving:(\d+\.\d+\.\d+)", base or "")
    return found[1] if found else None


def _pair(version: str) -> tuple[int, int]:
    major, minor = version.split(".")[:2]
    return int(major), int(minor)


def _below(root: Path) -> tuple[PlannedFile, ...]:
    return tuple(
        PlannedFile(path=path.relative_to(root).as_posix(), content=copied(path))
        for path in sorted(root.rglob("*"))
        if path.is_file()
    )


def _moved(file: PlannedFile, folder: str) -> PlannedFile:
    return PlannedFile(path=f"{folder}/{file.path}", content=file.content)


def _text(path: str, text: str) -> PlannedFile:
    return PlannedFile(path=path, content=Generated(data=text.encode(), origin="modelport_tfserving"))


def _pairs(values: Mapping[str, str]) -> str:
    return " ".join(f"{key}={value}" for key, value in values.items())
