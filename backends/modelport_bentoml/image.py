"""The image of a Bento: the Dockerfile that the Bento carries, and how `bentoml containerize` is run on it.

BentoML's own Dockerfile has one stage, which keeps a compiler and git, runs as a user whose name Kubernetes cannot tell
from root, has no health check, and copies weights and code in one layer. BentoML takes another one, as a template
(``docker.dockerfile_template``), and so `bentoml containerize` makes the same image by hand as it does for modelport.
"""

from __future__ import annotations

from collections.abc import Sequence

from modelport.artifact import Artifact
from modelport.backend import ImageSettings
from modelport.image import require_digests
from modelport.plan import Copied, Generated, ImagePlan, PlannedFile
from modelport.python_image import (
    INIT,
    INIT_COMMAND,
    SCRATCH,
    VENV,
    base_image,
    probe_http,
    render_end,
    render_environment,
    render_start,
    render_system_packages,
    render_user,
)
from modelport.run.tool import find_program
from modelport.spec.schema import ModelSpec
from modelport_bentoml.bento import INSTALL, QUIET_ENVIRONMENT, bento_folder
from modelport_bentoml.options import BentoMLOptions
from modelport_bentoml.render import MODEL_FOLDER, WEIGHTS
from modelport_bentoml.tag import BentoTag, bento_tag

BENTO = "/opt/modelport/bento"
WEIGHTS_FOLDER = f"{BENTO}/src/{MODEL_FOLDER}/{WEIGHTS}"
DOCKERFILE = "env/docker/Dockerfile"
REST = 3000
START_S = 120.0
PROBE = probe_http(REST, "/readyz")
COMMAND = (f"{VENV}/bin/bentoml", "serve", BENTO, "--host", "0.0.0.0", "--port", str(REST))  # noqa: S104  # a container
ENVIRONMENT = {
    "BENTOML_HOME": f"{SCRATCH}/bentoml",
    "BENTOML_CONTAINERIZED": "true",
    **{key: value for key, value in QUIET_ENVIRONMENT.items() if value is not None},
}

_HEADER = """\
# Written by modelport: BentoML with {tag}.
# `environment` installs, `bento` takes the weights apart; the image takes what they made, and none of their tools.
"""
_STAGE = """\
COPY . /bento
# One date for all files: a layer is the same for as long as what is in it is.
RUN mv /bento/src/{weights} /weights \\
 && chmod -R a+rX /bento /weights \\
 && find /bento /weights -exec touch --no-dereference --date=@315532800 {{}} +

"""


def render_dockerfile(spec: ModelSpec, options: BentoMLOptions, requirements: Sequence[str], tag: BentoTag) -> str:
    """Write the Dockerfile; the Bento is its build context."""
    base = base_image(options.image, spec.environment.python)
    lacking = ("libgomp1",) if spec.model.framework == "lightgbm" and options.image.base is None else ()
    weights = f"COPY --from=bento /weights/ {WEIGHTS_FOLDER}/\n"
    return "".join(
        (
            _HEADER.format(tag=tag),
            render_environment(
                options.image,
                base=base,
                requirements=requirements,
                file="env/python/requirements.txt",
                tools=(INIT,),
                cpu=spec.environment.device == "cpu",
            ),
            "\n",
            render_start(options.image, base, "bento"),
            _STAGE.format(weights=f"{MODEL_FOLDER}/{WEIGHTS}"),
            render_start(options.image, base),
            render_system_packages(options.image, lacking),
            f"COPY --from=environment {VENV} {VENV}\n",
            "# The weights stand apart from the code, so that a change of code does not push them again.\n",
            weights if spec.deploy is None or spec.deploy.weights == "image" else "",
            f"COPY --from=bento /bento/ {BENTO}/\n",
            render_user(ENVIRONMENT),
            f"WORKDIR {SCRATCH}\n",
            render_end(ports=(REST,), probe=PROBE, start_s=START_S, entrypoint=(*INIT_COMMAND, *COMMAND)),
        )
    )


def render_template(dockerfile: str) -> str:
    """Write the Dockerfile as BentoML's template, in which nothing is to be replaced."""
    return f"{{% raw -%}}\n{dockerfile}{{% endraw %}}\n"


def plan_image(artifact: Artifact, options: BentoMLOptions, settings: ImageSettings) -> ImagePlan:
    """Describe the image; build nothing.

    Raises:
        SpecError: The base must have a digest and has none.
        MissingTool: BentoML is not installed.
    """
    spec = ModelSpec.model_validate(artifact.record["spec"])
    base = base_image(options.image, spec.environment.python)
    if settings.require_digest:
        require_digests((base,), "backends.bentoml.image.base")
    tag = bento_tag(artifact.name, artifact.version)
    # BentoML writes the same text again, from the template in the Bento, when it builds.
    dockerfile = (bento_folder(artifact.path, tag) / DOCKERFILE).read_bytes()
    return ImagePlan(
        backend="bentoml",
        reference=settings.reference,
        bases=(base,),
        files=(
            PlannedFile(path="Dockerfile", content=Generated(data=dockerfile, origin="the Bento")),
            PlannedFile(path=".dockerignore", content=Generated(data=b"*\n!home\n", origin="modelport")),
            *_below(artifact, "home/", "home/"),
        ),
        tool=_tool(tag, settings),
        platforms=settings.platforms,
        labels=settings.labels,
        max_size=settings.max_size,
    )


def weight_files(artifact: Artifact) -> tuple[PlannedFile, ...]:
    """List the model's files, relative to `WEIGHTS_FOLDER`."""
    return _below(artifact, f"project/{MODEL_FOLDER}/{WEIGHTS}/", "")


def _below(artifact: Artifact, prefix: str, place: str) -> tuple[PlannedFile, ...]:
    found = []
    for name, sha256 in artifact.record["files"].items():
        if name.startswith(prefix):
            path = artifact.path / name
            content = Copied(path=path, size=path.stat().st_size, sha256=sha256)
            found.append(PlannedFile(path=place + name.removeprefix(prefix), content=content))
    return tuple(found)


def _tool(tag: BentoTag, settings: ImageSettings) -> tuple[str, ...]:
    """Give the command that builds: the engine by its name, options as BentoML hands them on to it."""
    options = [f"label={key}={value}" for key, value in sorted(settings.labels.items())]
    if settings.platforms:
        options.append("platform={platform}")
    return (
        "env",
        "BENTOML_HOME={context}/home",
        "BENTOML_DO_NOT_TRACK=True",
        "TMPDIR={context}",  # BentoML reads a template below the working directory only, and unpacks the Bento here
        "BUILDAH_FORMAT=docker",  # images in OCI's own format have no HEALTHCHECK
        find_program("bentoml", install=INSTALL),
        "containerize",
        str(tag),
        "--backend",
        "{engine}",
        "--image-tag",
        "{reference}",
        *(part for option in options for part in ("--opt", option)),
    )
