"""``modelport schema``: the spec as JSON Schema."""

from __future__ import annotations

from pathlib import Path

import click

from modelport.spec.json_schema import render_schema_text


@click.command("schema")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write to this file in place of standard output.",
)
def command(output: Path | None) -> None:
    """Print the JSON Schema of the spec, with the options of every installed backend.

    Editors complete and check a spec by it: begin the spec with the line
    `# yaml-language-server: $schema=modelport.schema.json`.
    """
    from modelport.spec.options import all_option_types

    text = render_schema_text(all_option_types())
    if output is None:
        click.echo(text, nl=False)
    else:
        output.write_text(text, encoding="utf-8")
        click.echo(f"{output}: written", err=True)
