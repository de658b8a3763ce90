"""``modelport inspect``: what a model, a spec, an artifact or a running service is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from modelport.cli.shared import json_option, token_option
from modelport.console import print_json, stdout

if TYPE_CHECKING:
    from modelport.frameworks import ProbedTensor
    from modelport_runtime.signature import TensorSpec

URLS = ("http://", "https://", "grpc://", "grpcs://")


@click.command("inspect")
@click.argument("target")
@click.option("--entrypoint", metavar="MODULE:CLASS", help="The class of a state dict, beside the model.")
@click.option("--trust", is_flag=True, help="Load joblib and pickle files, which run code when they are loaded.")
@token_option
@json_option
def command(target: str, entrypoint: str | None, token: str | None, *, trust: bool, as_json: bool) -> None:
    """Tell what TARGET is: a model's file or folder, a spec, an artifact's folder, or the URL of a running service."""
    path = Path(target)
    if target.startswith(URLS):
        facts = inspect_url(target, token)
    elif (path / "artifact.json").is_file():
        facts = inspect_artifact(path)
    elif path.suffix in (".yaml", ".yml") and path.is_file():
        facts = inspect_spec(path)
    else:
        facts = inspect_model(target, entrypoint, trust=trust)
    if as_json:
        print_json({key: value for key, value in facts.items() if key != "yaml"})
    else:
        show(facts)


def inspect_model(source: str, entrypoint: str | None, *, trust: bool) -> dict[str, Any]:
    """Tell what a model's file or folder is.

    Raises:
        SpecError: It is no model, or a broken one.
    """
    from modelport.frameworks import Probe, detect_format, framework_of, probe
    from modelport.frameworks.merging import render_signature
    from modelport.resolve import collect_files, digest_source
    from modelport.sources import locate_source

    path = locate_source(source, Path.cwd())
    kind = detect_format(path)
    closed = _closed(kind, entrypoint, trust=trust)
    probed = Probe(notes=(closed,)) if closed else probe(kind, path, entrypoint=entrypoint, trust=trust, load=True)
    files = collect_files(path, kind)
    return {
        "what": "model",
        "path": str(path),
        "framework": framework_of(kind),
        "format": kind,
        "size": sum(file.size for file in files.values()),
        "files": len(files),
        "sha256": digest_source(path, files),
        "inputs": _rows(probed.inputs),
        "outputs": _rows(probed.outputs),
        "notes": list(probed.notes),
        "yaml": render_signature(probed.inputs, probed.outputs),
    }


def _closed(kind: str, entrypoint: str | None, *, trust: bool) -> str | None:
    """Say why a file is not opened, and what opens it; None where it can be."""
    if kind == "state_dict" and entrypoint is None:
        return "a state dict holds weights only; --entrypoint MODULE:CLASS names the class that they belong to"
    if kind in {"joblib", "pickle"} and not trust:
        return f"a {kind} file runs code when it is read, so it was not; --trust reads it"
    return None


def inspect_spec(path: Path) -> dict[str, Any]:
    """Tell what a spec resolves to.

    Raises:
        SpecError: The spec, or a file that it names, is wrong.
    """
    from modelport.build import resolve
    from modelport.frameworks.merging import render_signature
    from modelport.resolve import digest_source

    model = resolve(path)
    signature = model.signature
    facts = {
        "what": "spec",
        "path": str(path),
        "name": model.spec.name,
        "version": model.spec.version,
        "framework": model.spec.model.framework,
        "format": model.format,
        "source": str(model.source),
        "size": sum(file.size for file in model.files.values()),
        "files": len(model.files),
        "sha256": digest_source(model.source, model.files),
        "code": list(model.code),
        "requirements": list(model.requirements),
        "samples": None if model.samples is None else str(model.samples.path),
        "inputs": _rows(signature.inputs),
        "outputs": _rows(signature.outputs),
        "yaml": render_signature(signature.inputs, signature.outputs),
    }
    if model.transform is not None:
        facts["transform"] = str(model.transform.path)
    if model.transform is not None or model.served != model.signature:
        facts["served"] = model.served.to_json() if model.served_known else None
    return facts


def inspect_artifact(path: Path) -> dict[str, Any]:
    """Tell what an artifact is and whether its files are those that were built.

    Raises:
        SpecError: Its record cannot be read.
    """
    from modelport.artifact import changed_files, read_artifact

    artifact = read_artifact(path)
    model = artifact.record.get("model", {})
    signature = model.get("signature", {})
    return {
        "what": "artifact",
        "path": str(artifact.path),
        "name": artifact.name,
        "version": artifact.version,
        "backend": artifact.backend,
        "format": model.get("format"),
        "created": artifact.record.get("created"),
        "sha256": artifact.sha256,
        "files": len(artifact.record["files"]),
        "size": sum(file.stat().st_size for file in artifact.path.rglob("*") if file.is_file()),
        "changed": changed_files(artifact),
        "requirements": model.get("requirements", []),
        "tools": dict(artifact.record.get("tools", {})),
        "inputs": signature.get("inputs", []),
        "outputs": signature.get("outputs", []),
    }


def inspect_url(url: str, token: str | None = None) -> dict[str, Any]:
    """Ask a running service what it serves.

    Raises:
        ClientError: It does not answer.
    """
    from modelport import connect

    client = connect(url, token=token)
    try:
        metadata = client.metadata()
        ready = client.ready()
    finally:
        client.close()
    facts: dict[str, Any] = {
        "what": "service",
        "url": url,
        "backend": metadata.backend,
        "name": metadata.name,
        "version": metadata.version,
        "ready": ready,
    }
    if metadata.signature is not None:
        facts |= {"inputs": _rows(metadata.signature.inputs), "outputs": _rows(metadata.signature.outputs)}
    return facts


def show(facts: dict[str, Any]) -> None:
    """Print facts for people."""
    from rich.table import Table
    from rich.text import Text

    console = stdout()
    table = Table(box=None, padding=(0, 1), show_header=False)
    for key, value in facts.items():
        if key in ("inputs", "outputs", "yaml", "notes", "tools", "changed") or value in (None, [], ""):
            continue
        shown = ", ".join(map(str, value)) if isinstance(value, list) else _shown(key, value)
        table.add_row(Text(key, style="bold"), Text(shown))
    if "changed" in facts:
        changed = facts["changed"]
        table.add_row(Text("changed", style="bold"), Text(", ".join(changed) or "nothing since it was built"))
    console.print(table)
    console.print(_tensor_table(facts))
    for note in facts.get("notes", ()):
        console.print(Text(f"note: {note}"))
    if "yaml" in facts:
        console.print(Text("\nFor a spec (DTYPE, SIZE and NAME stand for what the model does not tell):"))
        console.print(Text(facts["yaml"]))


def _tensor_table(facts: dict[str, Any]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 1))
    for title in ("", "name", "dtype", "shape"):
        table.add_column(title)
    for side in ("inputs", "outputs"):
        for tensor in facts.get(side) or ({"name": "?", "dtype": None, "shape": None},):
            cells = (side[:-1], tensor["name"], tensor["dtype"] or "?", tensor["shape"])
            table.add_row(*(Text("?" if cell is None else str(cell)) for cell in cells))
    return table


def _shown(key: str, value: Any) -> str:
    from modelport.cli.plan import human_size

    return human_size(value) if key == "size" else str(value)


def _rows(tensors: tuple[ProbedTensor, ...] | tuple[TensorSpec, ...] | None) -> list[dict[str, Any]] | None:
    """Give tensors as JSON values, ``-1`` for a dynamic size and null for what is not known."""
    if tensors is None:
        return None
    return [
        {
            "name": tensor.name,
            "dtype": tensor.dtype,
            "shape": None if tensor.shape is None else [-1 if size is None else size for size in tensor.shape],
        }
        for tensor in tensors
    ]
