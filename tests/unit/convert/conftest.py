"""What the conversion tests share: convert, load with stock TensorFlow, call."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

Call = Callable[[Mapping[str, Any]], dict[str, Any]]


def load(folder: Path) -> Call:
    """Return the signature of a SavedModel as a function of arrays."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder))
    signature = loaded.signatures["serving_default"]

    def call(inputs: Mapping[str, Any]) -> dict[str, Any]:
        assert loaded is not None
        results = signature(**{name: tf.constant(array) for name, array in inputs.items()})
        return {name: tensor.numpy() for name, tensor in results.items()}

    return call


@pytest.fixture(name="load", scope="session")
def load_fixture() -> Callable[[Path], Call]:
    """Load a SavedModel with stock TensorFlow."""
    return load


@pytest.fixture
def lower(tmp_path: Path) -> Callable[..., Call]:
    """Lower an ONNX model to a SavedModel, with its own names, and load it."""

    def run(model: Any, **options: Any) -> Call:
        from modelport.convert.onnx_to_tf import unsupported_ops, write_saved_model

        assert unsupported_ops(model) == ()
        initial = {tensor.name for tensor in model.graph.initializer}
        folder = tmp_path / f"model{len(list(tmp_path.iterdir()))}"
        write_saved_model(
            model,
            folder,
            input_names=[value.name for value in model.graph.input if value.name not in initial],
            output_names=[value.name for value in model.graph.output],
            **options,
        )
        return load(folder)

    return run
