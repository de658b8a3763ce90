"""The stages up to a signed image: every check is a gate, in that what comes later needs it."""

from __future__ import annotations

import re
import shlex
from importlib.metadata import metadata
from pathlib import PurePosixPath

from modelport._version import VERSION
from modelport.errors import SpecError
from modelport.plan import ServicePlan
from modelport.spec.schema import ModelSpec
from modelport.target import Release
from modelport_manifests.deployments import plan_deployments
from modelport_manifests.pipeline import REFERENCE, Kept, Leg, Pipeline, Script, Stage, Tool

EXTRA_OF = {"tensorflow": "tfserving"}  # every other framework's extra is called as the framework is

PLAIN_PATH = re.compile(r"[\w./@+ -]+")

DIST = Kept(name="artifact", suffix=".tar")
REPORT = Kept(name="verify", suffix=".json", days=30, always=True)
IMAGE = Kept(name="image", suffix=".tar")
WEIGHTS = Kept(name="weights", suffix=".tar")
BILL = Kept(name="sbom", suffix=".cdx.json", days=30)


def plan_pipeline(release: Release, engine: str) -> Pipeline:
    """Lay out the pipeline of one model.

    Args:
        release: The model and its services in their images.
        engine: What builds images on the CI system's machines: ``podman`` or ``buildah``.

    Raises:
        SpecError: The spec does not lie in the repository, has no samples, or its canary cannot be judged.
    """
    spec = release.spec
    if spec.samples is None:
        raise SpecError(
            "samples: a pipeline is gated by `modelport verify`, which needs some, and the spec names none; save "
            "inputs with numpy.savez('samples.npz', <input name>=array, …) and write samples: samples.npz"
        )
    path = _path_in_repository(release.spec_path)
    legs = tuple(_leg(spec, service) for service in release.services)
    return Pipeline(
        name=f"modelport-{spec.name}",
        spec=str(path),
        requirement=_requirement(spec, [leg.backend for leg in legs]),
        requirements=str(path.parent / "ci-requirements.txt"),
        image=spec.name.lower(),
        repository=spec.image.repository,
        emulated=bool(spec.image.platforms),
        archive=_archive(spec),
        legs=legs,
        stages=(*_plan_checks(legs), *_plan_images(spec, engine), *plan_deployments(release)),
    )


def _path_in_repository(text: str) -> PurePosixPath:
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts:
        raise SpecError(
            f"{text}: a pipeline finds the spec in a checkout of the repository; call the command in the repository's "
            "top folder, with the spec's path from there"
        )
    if not PLAIN_PATH.fullmatch(text):
        raise SpecError(
            f"{text!r}: rename the file or its folder: a path may have letters, digits, spaces and any of ._-+@/; "
            "others mean something to a CI system or a shell"
        )
    return path


def _leg(spec: ModelSpec, service: ServicePlan) -> Leg:
    tag = service.image.partition("@")[0].rpartition("/")[2].partition(":")[2]
    return Leg(
        backend=service.backend,
        artifact=f"dist/{spec.name}/{spec.version}/{service.backend}",
        tag=tag or f"{spec.version.replace('+', '-')}-{service.backend}",
        url_variable="MODELPORT_URL_" + "".join(c if c.isalnum() else "_" for c in service.backend.upper()),
    )


def _requirement(spec: ModelSpec, backends: list[str]) -> str:
    framework = spec.model.framework
    wanted = {*backends, EXTRA_OF.get(framework, framework), "kubernetes"}
    if spec.samples is not None and spec.samples.endswith(".parquet"):
        wanted.add("parquet")
    extras = wanted.intersection(metadata("modelport").get_all("Provides-Extra") or ())
    return f"modelport[{','.join(sorted(extras))}]=={VERSION}"


def _plan_checks(legs: tuple[Leg, ...]) -> tuple[Stage, ...]:
    every = " ".join(f"--backend {shlex.quote(leg.backend)}" for leg in legs)
    return (
        Stage(
            name="validate",
            title="Validate the spec",
            scripts=(
                Script(name="Validate", text='modelport validate "$SPEC"'),
                Script(name="Plan for every backend", text=f'modelport plan "$SPEC" {every}'),
            ),
            per_backend=False,
            minutes=20,
        ),
        Stage(
            name="build",
            title="Build",
            needs=("validate",),
            scripts=(
                Script(name="Build", text='modelport build "$SPEC" --backend "$BACKEND" --output dist'),
                # In an archive, since CI systems drop links, empty folders and modes.
                Script(name="Pack", text=f'tar --create --file "{DIST.file()}" dist'),
            ),
            keeps=(DIST,),
        ),
        Stage(
            name="verify",
            title="Verify on the real server",
            needs=("build",),
            scripts=(
                UNPACK,
                Script(
                    name="Verify",
                    text='modelport verify "$SPEC" --backend "$BACKEND" --output dist --no-build --json '
                    f'> "{REPORT.file()}"',
                ),
            ),
            takes=(DIST,),
            keeps=(REPORT,),
            report=REPORT,
        ),
    )


UNPACK = Script(name="Unpack", text=f'tar --extract --file "{DIST.file()}"')


def _plan_images(spec: ModelSpec, engine: str) -> tuple[Stage, ...]:
    kept = (IMAGE, WEIGHTS) if _weights_apart(spec) else (IMAGE,)
    return (
        Stage(
            name="image",
            title="Containerize",
            needs=("verify",),
            tools=frozenset({Tool.MODELPORT, Tool.ENGINE}),
            scripts=(UNPACK, Script(name="Containerize", text=_containerize(spec, engine))),
            takes=(DIST,),
            keeps=kept,
            minutes=60,
        ),
        Stage(
            name="sbom",
            title="List what is in the image",
            needs=("image",),
            tools=frozenset({Tool.SYFT}),
            takes=(IMAGE,),
            keeps=(BILL,),
            minutes=20,
        ),
        Stage(
            name="scan",
            title="Scan for vulnerabilities",
            needs=("sbom",),
            tools=frozenset({Tool.GRYPE}),
            takes=(BILL,),
            minutes=20,
        ),
        Stage(
            name="publish",
            title="Push by digest and sign",
            needs=("scan",),
            tools=frozenset({Tool.COSIGN}),
            scripts=(
                Script(name="Push", text=_push(spec), reads=("REGISTRY_USER", "REGISTRY_PASSWORD")),
                Script(name="Sign", text=_sign(spec)),
            ),
            takes=(*kept, BILL),
            keeps=(REFERENCE,),
            publishes=True,
            release=True,
        ),
    )


def _weights_apart(spec: ModelSpec) -> bool:
    return spec.deploy is not None and spec.deploy.weights != "image"


def _archive(spec: ModelSpec) -> str:
    """Choose docker's format, which keeps an image's health check, but holds one platform only."""
    return "oci-archive" if len(spec.image.platforms) > 1 else "docker-archive"


def _local_tags(spec: ModelSpec) -> list[tuple[str, Kept]]:
    """Give the suffix of each image's tag, and the archive that the image travels in."""
    return [("", IMAGE), ("-weights", WEIGHTS)] if _weights_apart(spec) else [("", IMAGE)]


def _containerize(spec: ModelSpec, engine: str) -> str:
    local = f"localhost/{spec.name.lower()}:$TAG"
    push = f"{engine} manifest push --all" if len(spec.image.platforms) > 1 else f"{engine} push"
    lines = [f'modelport containerize "$ARTIFACT" --engine {engine} --tag "{local}"']
    lines += [f'{push} "{local}{suffix}" "{_archive(spec)}:{kept.file()}"' for suffix, kept in _local_tags(spec)]
    return "\n".join(lines)


LOG_IN = """\
mkdir -p "$HOME/.docker"
export REGISTRY_AUTH_FILE="$HOME/.docker/config.json"
printf %s "$REGISTRY_PASSWORD" | skopeo login --username "$REGISTRY_USER" --password-stdin "${REPOSITORY%%/*}"
"""  # in docker's file, where cosign looks, too


def _push(spec: ModelSpec) -> str:
    copies = [
        f'skopeo copy --all --digestfile "digest{suffix}" \\\n'
        f'  "{_archive(spec)}:{kept.file()}" "docker://$REPOSITORY:$TAG{suffix}"\n'
        for suffix, kept in _local_tags(spec)
    ]
    return LOG_IN + "".join(copies) + f'echo "$REPOSITORY:$TAG@$(cat digest)" > "{REFERENCE.file()}"\n'


def _sign(spec: ModelSpec) -> str:
    lines = [f'cosign sign --yes "$REPOSITORY@$(cat digest{suffix})"' for suffix, _ in _local_tags(spec)]
    lines.append(
        f'cosign attest --yes --type cyclonedx --predicate "{BILL.file()}" "$REPOSITORY@$(cat digest)"',
    )
    return "\n".join(lines)
