"""What a TorchServe archive says of itself, for whoever wants to leave it."""

from __future__ import annotations

import json
import shlex
import zipfile
from pathlib import Path
from typing import Any

MANIFEST = "MAR-INF/MANIFEST.json"
SUFFIXES = (".mar", ".war")
GUIDE = "docs/from-torchserve.md"
# What a manifest calls its parts, and where each goes in a spec.
DESTINATIONS = {
    "serializedFile": "model.source",
    "modelFile": "model.entrypoint, with the name of its class",
    "handler": "what it does before and after the model becomes transform or steps; or backends.torchserve.handler",
    "modelVersion": "version",
    "requirementsFile": "environment.requirements",
    "configFile": "serving and backends.torchserve",
}


def describe_way_out(path: Path) -> str:
    """Say, as the end of a message, what becomes of an archive's parts.

    Args:
        path: A ``.mar`` or ``.war`` file, whatever is in it.
    """
    if path.suffix == ".war":
        return (
            "a TorchServe workflow is not read; write a spec for each of its models, and call one after the other "
            f"with modelport.connect ({GUIDE})"
        )
    folder = shlex.quote(path.stem)
    unpack = f"a TorchServe archive is not served as it is; unpack it (unzip {shlex.quote(path.name)} -d {folder})"
    parts = _read_parts(path)
    if not parts:
        return f"{unpack} and name the serialized file in it ({GUIDE})"
    listed = "; ".join(f"{value} ({DESTINATIONS[key]})" for key, value in parts.items())
    return f"{unpack} and write a spec beside what it holds: {listed} ({GUIDE})"


def _read_parts(path: Path) -> dict[str, str]:
    try:
        with zipfile.ZipFile(path) as archive:
            manifest: Any = json.loads(archive.read(MANIFEST))
        model = manifest["model"]
        return {key: str(model[key]) for key in DESTINATIONS if model.get(key)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, zipfile.BadZipFile):
        return {}
