"""``modelport validate``: everything that is wrong with specs, line by line."""

from __future__ import annotations

from pathlib import Path

import click

from modelport.cli.shared import json_option
from modelport.console import print_json
from modelport.errors import SpecError
from modelport.spec.fault import render_faults
from modelport.spec.loading import check_spec


@click.command("validate")
@click.argument("spec", nargs=-1, required=True, type=click.Path(path_type=Path))
@json_option
def command(spec: tuple[Path, ...], *, as_json: bool) -> None:
    """Check each SPEC and say what is wrong: one line a fault, as file:line:column: key: message.

    The files that a spec names must be there; no model is loaded. Ends with 2 when anything is wrong.
    """
    results = {path: check_spec(path) for path in spec}
    if as_json:
        print_json(
            [
                {"file": str(path), "valid": not faults, "faults": [fault.to_json() for fault in faults]}
                for path, faults in results.items()
            ]
        )
    else:
        for path, faults in results.items():
            for line in render_faults(faults):
                click.echo(line, err=True)
            if not faults:
                click.echo(f"{path}: valid")
    if any(results.values()):
        raise click.exceptions.Exit(SpecError.exit_code)
