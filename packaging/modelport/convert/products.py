"""Converted models, kept by the digest of what went in, so that a plan can show and a build can copy what was made.

They stand in ``$MODELPORT_CACHE``, else ``$XDG_CACHE_HOME/modelport``, else ``~/.cache/modelport``; the folder may be
removed at any time. What nobody has used for 30 days is removed by the next conversion.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from modelport._version import VERSION
from modelport.artifact import digest_tree, replace_new, staging
from modelport.console import muted
from modelport_runtime.steps import step_to_json

if TYPE_CHECKING:
    from modelport.model import Model

KEPT_S = 30 * 24 * 3600
TOOLS = (
    "tensorflow",
    "torch",
    "onnx",
    "onnxscript",
    "keras",
    "skl2onnx",
    "scikit-learn",
    "numpy",
    "xgboost",
    "xgboost-cpu",
    "lightgbm",
)
MARK = ".used"


def product(model: Model, target: str, make: Callable[[Path], None]) -> Path:
    """Give the folder of ``model`` converted to ``target``; made once for the same inputs.

    Args:
        model: What is converted.
        target: The format to make.
        make: Writes it into the empty folder that it is given.
    """
    root = cache_folder() / "converted"
    folder = root / _key(model, target)
    if not (folder / MARK).exists():
        _remove_unused(root)
        with staging(folder) as aside:
            with muted():
                make(aside)
            (aside / MARK).touch()
            replace_new(aside, folder)
    (folder / MARK).touch()
    return folder


def cache_folder() -> Path:
    """Give the folder in which conversions are kept."""
    own = os.environ.get("MODELPORT_CACHE")
    if own:
        return Path(own)
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "modelport"


def _key(model: Model, target: str) -> str:
    """Digest over everything that the product depends on: the model, what it is said to be, and the tools."""
    converters = digest_tree(Path(__file__).parent)  # compiled files among them come and go
    inputs = {
        "target": target,
        "format": model.format,
        "entrypoint": model.spec.model.entrypoint,
        "signature": model.signature.to_json(),
        "served": model.served.to_json(),
        "preprocess": [step_to_json(step) for step in model.preprocess],  # samples come through it to the model
        "files": {name: file.sha256 for name, file in {**model.files, **model.code}.items()},
        "samples": model.samples and model.samples.sha256,
        "tools": {name: _version(name) for name in TOOLS},
        "modelport": [VERSION, {name: digest for name, digest in converters.items() if name.endswith(".py")}],
    }
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:32]


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _remove_unused(root: Path) -> None:
    oldest = time.time() - KEPT_S
    for mark in root.glob(f"*/{MARK}"):
        if mark.stat().st_mtime < oldest:
            shutil.rmtree(mark.parent, ignore_errors=True)
