"""Engines: one module per framework, each loads a model and answers with it. Imported when one is needed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from modelport_runtime.checking import Array
from modelport_runtime.description import ModelDescription


class Engine(Protocol):
    """A loaded model. Safe to call from several threads."""

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Any]:
        """Answer checked inputs.

        Args:
            inputs: Arrays by the names of the signature, in its order.

        Returns:
            Outputs by the names of the signature.
        """
        ...


TORCH = ("torchscript", "exported_program", "state_dict")
TENSORFLOW = ("saved_model", "keras")
SKLEARN = ("skops", "joblib", "pickle")
BOOSTERS = ("xgboost_json", "xgboost_ubj", "lightgbm_text")


def load_engine(description: ModelDescription, source: Path, code: Path) -> Engine:
    """Load the model at ``source``.

    Args:
        description: What it is.
        source: Its file or folder.
        code: Folder in which the entrypoint's module lies.

    Raises:
        ModelError: The file cannot be loaded as what it is said to be; the message says why.
        ImportError: The framework is not installed.
    """
    kind = description.format
    if kind in TORCH:
        from .pytorch import TorchEngine

        return TorchEngine.load(description, source, code)
    if kind == "onnx":
        # Read when ONNX Runtime is imported: it would report to its makers and leave a file in the temporary folder.
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        from .onnx import OnnxEngine

        return OnnxEngine.load(description, source)
    if kind in TENSORFLOW:
        from .tensorflow import load_tensorflow

        return load_tensorflow(description, source)
    if kind in SKLEARN:
        from .sklearn import SklearnEngine

        return SklearnEngine.load(description, source)
    if kind in BOOSTERS:
        from .boosters import BoosterEngine

        return BoosterEngine.load(description, source)
    raise ValueError(f"no engine loads the format {kind!r}")
