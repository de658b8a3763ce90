"""``modelport plan``: every file that a build would write."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from modelport.build import destination, plan_all, plan_each, resolve, select_backends
from modelport.cli.shared import backend_option, json_option, output_option, spec_argument
from modelport.console import print_json, print_warning, stdout
from modelport.errors import SpecError
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
    if as_json or len(backends) == 1:
        plans, refusals = plan_all(backends, model), dict[str, SpecError]()
    else:
        plans, refusals = plan_each(backends, model)
    if as_json:
        print_json([plan_as_data(plan, output) for plan in plans])
        return
    for plan in plans:
        show_plan(plan, output)
    if refusals:
        raise SpecError("\n".join(f"{name}: {error}" for name, error in refusals.items()))


def plan_as_data(plan: BuildPlan, output: Path) -> dict[str, Any]:
    """Give a plan as plain JSON values."""
    return {
        "backend": plan.backend,
        "destination": str(destination(output, plan)),
        "format": plan.model.format,
        "signature": plan.model.signature.to_json(),
        "served": plan.model.served.to_json() if plan.model.served_known else None,
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
    """Print a plan for people: facts, a line a file, warnings."""
    from rich.text import Text

    console = stdout()
    console.print(Text.assemble((plan.backend, "bold"), f" → {destination(output, plan)}"))
    for key, value in plan.facts.items():
        console.print(Text.assemble((f"  {key}: ", "dim"), value))
    rows = [row for file in plan.files for row in _rows(file, depth=1)]
    rows.append(("  artifact.json", "?", "the resolved spec, digests of all inputs and files, tool versions"))
    width = max(len(path) for path, _, _ in rows)
    for path, size, origin in rows:
        console.print(Text.assemble(f"{path:<{width}}  {size:>10}  ", (origin, "dim")))
    for warning in plan.warnings:
        print_warning(f"{plan.backend}: {warning}")
    console.print()


def _rows(file: PlannedFile, depth: int) -> Iterator[tuple[str, str, str]]:
    yield "  " * depth + file.path, human_size(file.content.size), _near(file.content.origin)
    if isinstance(file.content, Archived):
        for member in sorted(file.content.members, key=lambda m: m.path):
            yield from _rows(member, depth + 1)


def _near(origin: str) -> str:
    """Give a path from here where it is below here."""
    path = Path(origin)
    return str(path.relative_to(Path.cwd())) if path.is_absolute() and path.is_relative_to(Path.cwd()) else origin


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
