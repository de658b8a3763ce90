"""ONNX models through ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from modelport_runtime.checking import InvalidInput, ModelFailed
from modelport_runtime.description import ModelDescription
from modelport_runtime.engines.binding import ModelError
from modelport_runtime.runtime import Runtime
from modelport_runtime.signature import DTYPES, Signature, TensorSpec

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def load(path: Path, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> Runtime:
    signature = Signature(inputs=inputs, outputs=outputs)
    description = ModelDescription(
        name="m", version="1", format="onnx", source=path.name, signature=signature, served=signature
    )
    (path.parent / "modelport.json").write_text(description.to_text())
    return Runtime.load(path.parent)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_under_odd_names(tmp_path: Path, dtype: str) -> None:
    helper = onnx.helper
    kind = onnx.TensorProto.STRING if dtype == "string" else helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    names = ["a b", "/fc/out:0"]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["a b"], ["/fc/out:0"])],
        "g",
        [helper.make_tensor_value_info("a b", kind, ["n"])],
        [helper.make_tensor_value_info("/fc/out:0", kind, ["n"])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, tmp_path / "m.onnx")
    given, taken = (TensorSpec(name=name, dtype=dtype, shape=(None,)) for name in names)
    value = ["é", ""] if dtype == "string" else np.array([0, 1], dtype=dtype)
    answer = load(tmp_path / "m.onnx", (given,), (taken,)).predict({"a b": value})["/fc/out:0"]
    assert answer.tolist() == list(value)
    assert answer.dtype == (object if dtype == "string" else dtype)


def test_bytes_that_are_no_text_are_refused_alone(tmp_path: Path) -> None:
    helper = onnx.helper
    info = [helper.make_tensor_value_info(name, onnx.TensorProto.STRING, ["n"]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", info[:1], info[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "m.onnx")
    x, y = (TensorSpec(name=name, dtype="string", shape=(None,)) for name in ("x", "y"))
    runtime = load(tmp_path / "m.onnx", (x,), (y,))
    refused, good = runtime.predict_many([{"x": [b"\xff"]}, {"x": ["é"]}])
    assert isinstance(refused, InvalidInput)
    assert "'x' holds bytes that are no UTF-8" in str(refused)
    assert isinstance(good, dict)
    assert good["y"].tolist() == ["é"]


def test_names_that_the_graph_does_not_have(onnx_sum: Path) -> None:
    x = TensorSpec(name="x", dtype="float32", shape=(None, None))
    total = TensorSpec(name="sum", dtype="float32", shape=(None,))
    with pytest.raises(ModelError, match=r"the ONNX graph has no output 'total'; it has 'sum'"):
        load(onnx_sum, (x,), (TensorSpec(name="total", dtype="float32", shape=(None,)),))
    flat = load(onnx_sum, (TensorSpec(name="x", dtype="float32", shape=(None,)),), (total,))
    with pytest.raises(ModelFailed, match=r"the model failed: InvalidArgument"):
        flat.predict({"x": [1.0]})


def test_what_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"nothing")
    x = TensorSpec(name="x", dtype="float32", shape=(None,))
    with pytest.raises(ModelError, match=r"m.onnx: ONNX Runtime cannot load it"):
        load(tmp_path / "m.onnx", (x,), (x,))
