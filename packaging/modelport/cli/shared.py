"""Arguments and options that several commands have, so that they are called the same everywhere."""

from __future__ import annotations

from pathlib import Path

import click

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

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document for programs.")
