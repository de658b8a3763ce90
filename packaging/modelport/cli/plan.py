"""``modelport plan``: every file that a build would write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from modelport.build import destination, plan_for, resolve, select_backends
from modelport.cli.shared import backend_option, json_option, output_option, spec_argument
from modelport.console import print_json, print_warning, stdout
from modelport.plan import Archived, BuildPlan, Copied, PlannedFile


@click.command("plan")
@spec_argument
@backend_option
@output_option
@json_option
def command(spec: Path, backend: tuple[str, ...], output: Path, *, as_json: bool) -> None:
    """Print every file that `build` would write, its size and where its bytes come from. Touches nothing."""
    backends = select_backends(backend)
    model = resolve(spec)
    plans = [plan_for(chosen, model) for chosen in backends]
    if as_json:
        print_json([plan_as_data(plan, output) for plan in plans])
        return
    for plan in plans:
        show_plan(plan, output)


def plan_as_data(plan: BuildPlan, output: Path) -> dict[str, Any]:
    """Give a plan as plain JSON values."""
    return {
        "backend": plan.backend,
        "destination": str(destination(output, plan)),
        "format": plan.model.format,
        "signature": plan.model.signature.to_json(),
        "facts": dict(plan.facts),
        "warnings": list(plan.warnings),
        "files": [_file_as_data(file) for file in plan.files],
    }


def _file_as_data(file: PlannedFile) -> dict[str, Any]:
    content = file.content
    data: dict[str, Any] = {
        "path": file.path,
        "size": content.size,
        "from": type(content).__name__.lower(),
        "origin": content.origin,
    }
    if isinstance(content, Copied):
        data["sha256"] = content.sha256
    if isinstance(content, Archived):
        data["members"] = [_file_as_data(member) for member in content.members]
    return data


def show_plan(plan: BuildPlan, output: Path) -> None:
    """Print a plan for people."""
    from rich.table import Table
    from rich.text import Text

    console = stdout()
    console.print(Text.assemble((plan.backend, "bold"), f" → {destination(output, plan)}"))
    for key, value in plan.facts.items():
        console.print(Text(f"  {key}: {value}"))
    table = Table(box=None, padding=(0, 1), show_edge=False)
    table.add_column("  file")
    table.add_column("size", justify="right")
    table.add_column("from")
    for file in plan.files:
        _add_rows(table, file, depth=1)
    table.add_row(Text("  artifact.json"), "", "the resolved spec, digests of all inputs and files, tool versions")
    console.print(table)
    for warning in plan.warnings:
        print_warning(f"{plan.backend}: {warning}")
    console.print()


def _add_rows(table: Any, file: PlannedFile, depth: int) -> None:
    from rich.text import Text

    size = file.content.size
    table.add_row(Text("  " * depth + file.path), human_size(size), Text(file.content.origin))
    if isinstance(file.content, Archived):
        for member in sorted(file.content.members, key=lambda m: m.path):
            _add_rows(table, member, depth + 1)


def human_size(size: int | None) -> str:
    """Give a size as people read it; None is known after the build."""
    if size is None:
        return "?"
    value = float(size)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"
