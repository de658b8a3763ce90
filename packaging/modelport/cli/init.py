"""``modelport init``: a first spec for a model file."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from modelport.cli.shared import json_option
from modelport.console import print_json, print_warning
from modelport.errors import MissingTool, SpecError
from modelport.spec.loading import check_spec
from modelport.spec.template import EXAMPLE_INPUTS, EXAMPLE_OUTPUTS, Draft, Side, render_template

if TYPE_CHECKING:
    from modelport.frameworks.probing import Probe, Tensors

Told = tuple[Side, Side, tuple[str, ...]]

NEEDS_CODE = "state_dict"
UNASKED: Told = (EXAMPLE_INPUTS, EXAMPLE_OUTPUTS, ())


@click.command("init")
@click.argument("model_file")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("modelport.yaml"),
    show_default=True,
    help="The spec to write.",
)
@click.option(
    "--framework",
    type=click.Choice(["pytorch", "onnx", "tensorflow", "sklearn", "xgboost", "lightgbm"]),
    help="Who made the model; told by the file itself when left out.",
)
@click.option("--entrypoint", metavar="MODULE:CLASS", help="Class that a state dict is loaded into.")
@click.option("--name", help="The model's name; made from the file's when left out.")
@click.option("--force", is_flag=True, help="Overwrite the spec if there is one.")
@json_option
def command(
    model_file: str,
    output: Path,
    framework: str | None,
    entrypoint: str | None,
    name: str | None,
    *,
    force: bool,
    as_json: bool,
) -> None:
    """Write a commented spec for MODEL_FILE, with the signature that the model itself tells."""
    from modelport.frameworks import detect_format, framework_of
    from modelport.frameworks.sklearn import needs_trust

    if output.exists() and not force:
        raise SpecError(f"{output}: is there already; name another file with -o, or overwrite it with --force")
    source = _locate(model_file)
    kind = detect_format(source, framework)
    if entrypoint is not None and kind != NEEDS_CODE:
        raise SpecError(
            f"--entrypoint: only a state dict is loaded into a class, and {model_file} is none; leave it out"
        )
    trust = needs_trust(source, kind)
    closed = trust or (kind == NEEDS_CODE and entrypoint is None)
    inputs, outputs, notes = UNASKED if closed else _ask_model(kind, source, entrypoint, output.parent)
    draft = Draft(
        name=suggest_name(Path(model_file)) if name is None else name,
        framework=framework_of(kind),
        source=Path(os.path.relpath(model_file, output.parent.resolve())).as_posix(),
        entrypoint=entrypoint,
        needs_entrypoint=kind == NEEDS_CODE,
        needs_trust=trust,
        inputs=inputs,
        outputs=outputs,
    )
    write_spec(output, render_template(draft))
    tasks = _remaining_tasks(draft)
    if as_json:
        facts = {"spec": str(output), "framework": draft.framework, "format": kind}
        print_json({**facts, "notes": list(notes), "remaining": tasks})
        return
    click.echo(f"{output}: written for {model_file} ({draft.framework}, {kind})")
    for note in notes:
        click.echo(f"note: {note}")
    for task in tasks:
        click.echo(f"to do: {task}")


def suggest_name(path: Path) -> str:
    """Make a model's name from its path: what a name cannot hold becomes a dash."""
    name = re.sub(r"[^A-Za-z0-9_]+", "-", path.resolve().stem).lstrip("-_")[:63].rstrip("-_")
    return name or "model"


def write_spec(path: Path, text: str) -> None:
    """Write a spec, whole or not at all.

    Raises:
        SpecError: It would not be valid; nothing is written.
        OSError: It cannot be written.
    """
    if not path.parent.is_dir():
        raise SpecError(f"{path}: there is no folder {path.parent}; make it first")
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        aside.write_text(text, encoding="utf-8")
        if faults := check_spec(aside):
            raise SpecError("\n".join(f"{fault.key}: {fault.message}; nothing was written" for fault in faults))
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def _locate(model_file: str) -> Path:
    from modelport.sources import locate_source

    try:
        return locate_source(model_file, Path.cwd())
    except SpecError as error:
        raise SpecError(str(error).removeprefix("model.source: ")) from error


def _ask_model(kind: str, source: Path, entrypoint: str | None, root: Path) -> Told:
    """Ask the model for both sides of its signature, and what else it tells, where what reads it is installed."""
    from modelport.frameworks import probe
    from modelport.frameworks.probing import SHAPE
    from modelport_runtime.signature import TensorSpec

    try:
        probed: Probe = probe(kind, source, entrypoint=entrypoint, root=root)
    except MissingTool as error:
        print_warning(f"the signature is not read: {error}")
        return UNASKED
    inputs = _side(probed.inputs, EXAMPLE_INPUTS)
    if probed.columns and probed.outputs and all(SHAPE in output.free for output in probed.outputs):
        # It did not answer rows of numbers, so some of its columns hold text; which, only its author knows.
        columns = (TensorSpec(name=column, dtype="float64", shape=(None,)) for column in probed.columns)
        inputs = Side(tensors=tuple(columns), known=False)
    return inputs, _side(probed.outputs, EXAMPLE_OUTPUTS), probed.notes


def _side(tensors: Tensors | None, example: Side) -> Side:
    from modelport.frameworks.probing import complete
    from modelport_runtime.signature import TensorSpec

    whole = complete(tensors)
    if whole is not None:
        return Side(tensors=whole, known=True)
    guessed = tuple(
        TensorSpec(
            name=tensor.name, dtype=tensor.dtype or "float32", shape=(None,) if tensor.shape is None else tensor.shape
        )
        for tensor in tensors or ()
        if not tensor.optional
    )
    return Side(tensors=guessed, known=False) if guessed else example


def _remaining_tasks(draft: Draft) -> list[str]:
    tasks = []
    if draft.needs_entrypoint and draft.entrypoint is None:
        tasks.append("model.entrypoint: name the class that the state dict is loaded into")
    if draft.needs_trust:
        tasks.append(
            "model.trust: allow this file to run code when it is loaded, or save the model with skops, in known types"
        )
    unknown = [name for name, side in (("inputs", draft.inputs), ("outputs", draft.outputs)) if not side.known]
    if unknown:
        tasks.append(f"signature: write {' and '.join(unknown)}, which the model does not tell")
    return tasks
