"""Models of many kinds, each converted once to a SavedModel that answers like PyTorch at batch 1, 3 and 32."""

from __future__ import annotations

import os
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelport.convert.onnx_to_tf import unsupported_ops, write_saved_model
from modelport.convert.torch_to_onnx import export_torch
from modelport_runtime.signature import TensorSpec

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
ZOO: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "zoo.py"))
ENTRIES = ZOO["ZOO"]
BATCHES = (1, 3, 32)


def load(model: Any, folder: Path) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Lower an ONNX model under its own names and return its signature as a function of arrays."""
    import tensorflow as tf

    assert unsupported_ops(model) == ()
    write_saved_model(
        model,
        folder,
        input_names=[value.name for value in model.graph.input],
        output_names=[value.name for value in model.graph.output],
    )
    loaded = tf.saved_model.load(str(folder))
    signature = loaded.signatures["serving_default"]

    def call(inputs: dict[str, Any]) -> dict[str, Any]:
        assert loaded is not None
        results = signature(**{name: tf.constant(array) for name, array in inputs.items()})
        return {name: tensor.numpy() for name, tensor in results.items()}

    return call


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_saved_model_answers_like_pytorch(entry: Any, tmp_path: Path) -> None:
    import torch

    specs = [
        TensorSpec(name=name, dtype=dtype, shape=tuple(None if size == -1 else size for size in shape))
        for name, dtype, shape in entry.inputs
    ]
    module = entry.module()
    model = export_torch(
        tmp_path / entry.name, format="state_dict", load=entry.module, inputs=specs, sample=entry.arrays(2),
        output_names=entry.outputs,
    )  # fmt: skip
    call = load(model, tmp_path / "1")
    for batch in BATCHES:
        inputs = entry.arrays(batch, length=8 + batch % 3)
        with torch.no_grad():
            found = module(*[torch.from_numpy(array) for array in inputs.values()])
        wanted = found if isinstance(found, tuple) else (found,)
        answers = call(inputs)
        assert sorted(answers) == sorted(entry.outputs)  # a signature's outputs are a map: they have no order
        for name, theirs in zip(entry.outputs, wanted, strict=True):
            assert np.abs(theirs.numpy()).max() > 1e-3, "an answer of zeros proves nothing"
            np.testing.assert_allclose(answers[name], theirs.numpy(), rtol=1e-4, atol=2e-5)


def detector() -> Any:
    """Return the end of a detector as ONNX: the boxes that survive suppression, the best of them first."""
    from onnx import TensorProto, helper, numpy_helper

    constants = {
        "most": np.array(20, np.int64), "overlap": np.array(0.5, np.float32), "least": np.array(0.3, np.float32),
        "class_index": np.array(1, np.int64), "five": np.array([5], np.int64),
        "batch_and_box": np.array([0, 2], np.int64),
    }  # fmt: skip
    node = helper.make_node
    nodes = [
        node("Sigmoid", ["logits"], ["scores"]),
        node("NonMaxSuppression", ["boxes", "scores", "most", "overlap", "least"], ["selected"]),
        node("GatherND", ["scores", "selected"], ["found"]),
        node("Shape", ["found"], ["count"]),
        node("Min", ["count", "five"], ["k"]),
        node("TopK", ["found", "k"], ["best", "order"]),
        node("Gather", ["selected", "order"], ["rows"], axis=0),
        node("Gather", ["rows", "batch_and_box"], ["places"], axis=1),
        node("GatherND", ["boxes", "places"], ["kept"]),
        node("Gather", ["rows", "class_index"], ["classes"], axis=1),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "detector",
        [value("boxes", TensorProto.FLOAT, ["n", 24, 4]), value("logits", TensorProto.FLOAT, ["n", 3, 24])],
        [value("best", TensorProto.FLOAT, ["k"]), value("kept", TensorProto.FLOAT, ["k", 4]),
         value("classes", TensorProto.INT64, ["k"])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def test_detector_head_answers_like_onnx_runtime(tmp_path: Path) -> None:
    import onnxruntime

    model = detector()
    call = load(model, tmp_path / "1")
    session = onnxruntime.InferenceSession(model.SerializeToString())
    for batch in BATCHES:
        generator = np.random.default_rng(batch)
        corners = generator.random((batch, 24, 2), dtype=np.float32)
        boxes = np.concatenate([corners, corners + generator.random((batch, 24, 2), dtype=np.float32)], -1)
        inputs = {"boxes": boxes, "logits": generator.standard_normal((batch, 3, 24)).astype(np.float32)}
        answers = call(inputs)
        for name, theirs in zip(("best", "kept", "classes"), session.run(None, inputs), strict=True):
            assert len(theirs)
            np.testing.assert_allclose(answers[name], theirs, rtol=1e-5, atol=1e-6)
