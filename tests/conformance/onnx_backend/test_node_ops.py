"""ONNX's own tests of single ops, run through the lowering.

``passing.txt`` names those that pass. A test named there that fails is a regression; a new one that passes is added by
running this file as a program, which rewrites the table:

    python tests/conformance/onnx_backend/test_node_ops.py
"""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelport.errors import ModelportError

TABLE = Path(__file__).with_name("passing.txt")


@cache
def node_cases() -> dict[str, Any]:
    """Return every node test of onnx by name."""
    from onnx.backend.test.loader import load_model_tests

    return {case.name: case for case in load_model_tests(kind="node")}


def passing() -> list[str]:
    return TABLE.read_text().split() if TABLE.exists() else []


def as_array(recorded: Any) -> Any:
    """Return a recorded input or output as the lowering takes it; a sequence's members stay a list."""
    from onnx import TensorProto
    from onnx.numpy_helper import to_array

    if isinstance(recorded, list) or recorded is None:
        pytest.skip("a sequence or an optional at the model's end")
    array = to_array(recorded) if isinstance(recorded, TensorProto) else np.asarray(recorded)
    if array.dtype.kind not in "OUS":
        return array
    flat = [item.encode() if isinstance(item, str) else bytes(item) for item in array.reshape(-1)]
    return np.array(flat, dtype=object).reshape(array.shape)


def run_lowered(model: Any, inputs: list[Any]) -> list[Any]:
    """Lower the model with its inputs as placeholders; an input that must be constant is given as one."""
    import tensorflow as tf

    from modelport.convert.onnx_to_tf.saved_model import check_graph
    from modelport.convert.onnx_to_tf.value import Value
    from modelport.convert.onnx_to_tf.walk import Walk
    from modelport.convert.onnx_to_tf.weights import Weights

    problem: Exception | None = None
    for constants in (False, True):
        graph = tf.Graph()
        try:
            with graph.as_default():
                fed, scope = {}, {}
                for i, (value, array) in enumerate(zip(model.graph.input, inputs, strict=True)):
                    if constants and i > 0:
                        scope[value.name] = Value(array)
                        continue
                    dtype = tf.string if array.dtype == object else tf.as_dtype(array.dtype)
                    placeholder = tf.compat.v1.placeholder(dtype, array.shape, f"input_{i}")
                    fed[placeholder] = array
                    scope[value.name] = Value(placeholder)
                opsets = {o.domain: o.version for o in model.opset_import}
                walk = Walk(Weights(graph, 1 << 20), opsets)
                results = [walk.tensor(value) for value in walk.lower_graph(model.graph, scope)]
                check_graph(graph.as_graph_def())
                with tf.compat.v1.Session(graph=graph) as session:
                    return list(session.run(results, fed))
        except ModelportError as error:
            problem = problem or error
    assert problem is not None
    raise problem


def check_case(name: str) -> None:
    case = node_cases()[name]
    for recorded_inputs, recorded_outputs in case.data_sets:
        inputs, outputs = ([as_array(one) for one in ends] for ends in (recorded_inputs, recorded_outputs))
        for found, wanted in zip(run_lowered(case.model, inputs), outputs, strict=True):
            assert found.shape == wanted.shape
            if wanted.dtype == object:
                assert found.tolist() == wanted.tolist()
                continue
            assert found.dtype == wanted.dtype
            exact = wanted.dtype.kind in "iub"
            kind = np.int64 if exact and wanted.dtype.kind != "u" else np.float64
            np.testing.assert_allclose(
                found.astype(kind), wanted.astype(kind), rtol=0 if exact else case.rtol, atol=0 if exact else case.atol
            )


@pytest.mark.parametrize("name", passing())
def test_node(name: str) -> None:
    check_case(name)


def test_table_is_not_empty() -> None:
    assert len(passing()) > 1000


def main() -> None:
    """Run every test and rewrite the table; failures go to standard output with their reason."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    good = []
    for name in sorted(node_cases()):
        try:
            check_case(name)
        except (Exception, pytest.skip.Exception) as error:  # noqa: BLE001 - any failure is a row of the report
            sys.stdout.write(f"{name}: {type(error).__name__}: {' '.join(str(error).split())[:200]}\n")
        else:
            good.append(name)
    TABLE.write_text("\n".join(good) + "\n")
    sys.stdout.write(f"{len(good)} of {len(node_cases())} pass\n")


if __name__ == "__main__":
    main()
