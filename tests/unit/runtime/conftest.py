"""Small models for the engines."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def onnx_sum(tmp_path: Path) -> Path:
    """An ONNX model that sums each row of ``x``."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    helper, number = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("ReduceSum", ["x", "axes"], ["sum"], keepdims=0)],
        "g",
        [helper.make_tensor_value_info("x", number, ["n", "m"])],
        [helper.make_tensor_value_info("sum", number, ["n"])],
        [helper.make_tensor("axes", onnx.TensorProto.INT64, [1], [1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    folder = tmp_path / "onnx_sum"
    folder.mkdir()
    onnx.save(model, folder / "sum.onnx")
    return folder / "sum.onnx"
