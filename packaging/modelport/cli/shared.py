"""Arguments and options that several commands have, so that they are called the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from modelport.errors import SpecError

if TYPE_CHECKING:
    from modelport.artifact import Artifact
    from modelport.backend import Backend

spec_argument = click.argument("spec", type=click.Path(path_type=Path))

backend_option = click.option(
    "-b",
    "--backend",
    multiple=True,
    default=("all",),
    show_default=True,
    metavar="NAME",
    help="bentoml, torchserve, tfserving, another that is installed, or all. May be given several times.",
)

output_option = click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("dist"),
    show_default=True,
    help="Folder for artifacts: OUTPUT/<name>/<version>/<backend>.",
)

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document for programs; an error is one."
)

token_option = click.option("--token", envvar="MODELPORT_TOKEN", help="Sent as a bearer token; or set MODELPORT_TOKEN.")


def artifact_of(path: Path, name: str | None, output: Path) -> tuple[Backend, Artifact]:
    """Give the artifact that a command was pointed at: a folder that holds one, or a spec, which is built first.

    Args:
        path: The spec or the folder.
        name: The backend that was asked for; a spec needs one.
        output: Folder for artifacts.

    Raises:
        SpecError: There is none, or it is another backend's.
        BuildError: It could not be built.
    """
    from modelport.artifact import read_artifact
    from modelport.backend import load_backend
    from modelport.build import build_artifact, plan_for, resolve
    from modelport.console import print_warning, stderr

    if path.is_dir():
        artifact = read_artifact(path)
        if name not in {None, artifact.backend}:
            raise SpecError(f"{path} is an artifact of {artifact.backend}; --backend {name} does not fit")
        return load_backend(artifact.backend), artifact
    if name is None:
        raise SpecError("--backend: say for which server: bentoml, torchserve or tfserving")
    backend = load_backend(name)
    plan = plan_for(backend, resolve(path))
    for warning in plan.warnings:
        print_warning(f"{backend.name}: {warning}")
    with stderr().status(f"building {backend.name} …"):
        return backend, build_artifact(backend, plan, output)
