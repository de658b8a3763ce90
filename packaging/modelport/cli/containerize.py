"""``modelport containerize``: an artifact as a container image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from modelport.backend import Containerized
from modelport.cli.shared import artifact_of, json_option, output_option, spec_argument
from modelport.console import print_json, print_warning, stderr, stdout
from modelport.errors import SpecError
from modelport.image import describe_size, git_revision, plan_weights, settings_for
from modelport.plan import Generated, ImagePlan
from modelport.run.building import BuildInputs
from modelport.run.engine import AUTO, ENGINES, find_engine
from modelport.run.images import BuiltImage, build_images, push_image


def _split(context: click.Context, option: click.Parameter, value: str | None) -> tuple[str, ...]:
    del context, option
    return tuple(part.strip() for part in (value or "").split(",") if part.strip())


@click.command("containerize")
@spec_argument
@click.option("-b", "--backend", metavar="NAME", help="bentoml, torchserve, tfserving or another; one.")
@output_option
@click.option(
    "--engine", type=click.Choice([AUTO, *ENGINES]), default=AUTO, show_default=True, help="What builds the image."
)
@click.option(
    "-t",
    "--tag",
    metavar="NAME:TAG",
    help="Name and tag, or :TAG; left out, <name>:<version>-<backend>, as the spec says.",
)
@click.option(
    "--platform", "platforms", callback=_split, metavar="OS/ARCH,…", help="In place of the spec's image.platforms."
)
@click.option("--push", is_flag=True, help="Push it to the registry that its name says, and print its digest.")
@click.option("--secret", multiple=True, metavar="id=ID,src=FILE", help="A file for steps of the build, in no layer.")
@click.option("--build-arg", multiple=True, metavar="NAME=VALUE", help="In place of an ARG of the Dockerfile.")
@click.option(
    "--cache-from",
    multiple=True,
    metavar="REPOSITORY",
    help="Take finished steps from a registry; for docker, from an earlier image (NAME:TAG).",
)
@click.option("--cache-to", multiple=True, metavar="REPOSITORY", help="podman, buildah: push finished steps there.")
@click.option("--dry-run", is_flag=True, help="Print the Dockerfile and the files beside it; build no image.")
@click.option("--quiet", is_flag=True, help="Do not show what the engine prints.")
@json_option
def command(  # noqa: PLR0913, PLR0917  # one parameter an option
    spec: Path,
    backend: str | None,
    output: Path,
    engine: str,
    tag: str | None,
    platforms: tuple[str, ...],
    secret: tuple[str, ...],
    build_arg: tuple[str, ...],
    cache_from: tuple[str, ...],
    cache_to: tuple[str, ...],
    *,
    push: bool,
    dry_run: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Put SPEC (built first) or an artifact's folder into an image; a name is given to what was built to its end."""
    inputs = BuildInputs(secrets=secret, arguments=build_arg, cache_from=cache_from, cache_to=cache_to)
    # Without an engine there is no use in building the artifact.
    chosen = None if dry_run else find_engine(engine)
    server, artifact = artifact_of(spec, backend, output)
    if not isinstance(server, Containerized):
        raise SpecError(f"{server.name}: this backend describes no image; choose another with --backend")
    revision = git_revision(spec.resolve().parent) if spec.is_file() else ""
    settings = settings_for(artifact, tag=tag, platforms=platforms, revision=revision)
    plan = server.image(artifact, settings)
    plans = [plan, *plan_weights(server, artifact, plan)]
    for warning in plan.warnings:
        print_warning(f"{plan.backend}: {warning}")
    if chosen is None:
        _show_plans(plans, as_json=as_json)
        return
    log = None if quiet or as_json else _show_line
    with stderr().status(f"building {plan.reference} with {chosen.name} {chosen.version} …"):
        built = build_images(chosen, plans, inputs, log=log)
    digests = []
    for image in built if push else ():
        with stderr().status(f"pushing {image.reference} …"):
            digests.append(push_image(chosen, image, log=log))
    _show_images(built, digests, as_json=as_json)


def _show_plans(plans: list[ImagePlan], *, as_json: bool) -> None:
    if as_json:
        print_json([_plan_as_data(plan) for plan in plans])
        return
    for plan in plans:
        stdout().print(f"# {plan.reference}", markup=False)
        stdout().print(_dockerfile(plan), markup=False, end="")
        if plan.tool:
            stdout().print(f"# built by: {' '.join(plan.tool)}", markup=False)
        stdout().print("# the files beside it:", markup=False)
        for file in plan.files:
            size = "" if file.content.size is None else describe_size(file.content.size)
            stdout().print(f"#   {size:>9}  {file.path}  ({file.content.origin})", markup=False)


def _plan_as_data(plan: ImagePlan) -> dict[str, Any]:
    return {
        "reference": plan.reference,
        "backend": plan.backend,
        "bases": plan.bases,
        "platforms": plan.platforms,
        "labels": dict(plan.labels),
        "max_size": plan.max_size,
        "tool": plan.tool,
        "dockerfile": _dockerfile(plan),
        "files": [{"path": file.path, "size": file.content.size} for file in plan.files],
        "warnings": plan.warnings,
    }


def _dockerfile(plan: ImagePlan) -> str:
    for file in plan.files:
        if file.path == "Dockerfile" and isinstance(file.content, Generated):
            return file.content.data.decode()
    return ""


def _show_images(images: list[BuiltImage], digests: list[str], *, as_json: bool) -> None:
    pushed = dict(zip(images, digests, strict=False))
    if as_json:
        print_json(
            [
                {
                    "reference": image.reference,
                    "id": image.id or None,
                    "size": image.size,
                    "platforms": image.platforms,
                    "digest": pushed.get(image),
                }
                for image in images
            ]
        )
        return
    for image in images:
        stdout().print(f"{image.reference}: {describe_size(image.size)}", markup=False)
        if image in pushed:
            stdout().print(f"{image.reference.rpartition(':')[0]}@{pushed[image]}", markup=False)


def _show_line(line: str) -> None:
    stderr().print(line, markup=False, style="dim")
