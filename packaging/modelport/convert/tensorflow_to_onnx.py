"""A SavedModel to ONNX by tf2onnx, in a process of its own: it changes TensorFlow's global state."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from modelport.convert.examples import InputSpec
from modelport.errors import BuildError, ConversionError
from modelport.run.tool import run_tool

if TYPE_CHECKING:
    import onnx

OPSET = 18  # the newest that tf2onnx 1.17 writes
LONGEST_S = 1800
WAY_OUT = "Leave serving.engine out, so that TensorFlow itself runs the model"


class SignatureLike(Protocol):
    """The inputs and outputs of a model."""

    @property
    def inputs(self) -> Sequence[InputSpec]:
        """What the model takes."""

    @property
    def outputs(self) -> Sequence[InputSpec]:
        """What it gives."""


def export_saved_model(source: Path, signature: SignatureLike) -> onnx.ModelProto:
    """Convert the signature ``serving_default`` of a SavedModel.

    Args:
        source: The folder.
        signature: Its inputs and outputs; the graph's ends get these names.

    Raises:
        ConversionError: tf2onnx cannot convert it; the message has its last lines and the way out. Ops that it does
            not know it writes as they are: whoever runs the graph finds them.
    """
    import onnx

    with tempfile.TemporaryDirectory(prefix="modelport-tf2onnx-") as folder:
        target = Path(folder) / "model.onnx"
        command = (sys.executable, "-m", "tf2onnx.convert", "--saved-model", str(source), "--output", str(target),
                   "--opset", str(OPSET), "--signature_def", "serving_default", "--tag", "serve")  # fmt: skip
        try:
            run_tool(
                command,
                cwd=Path(folder),
                environment={"TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": ""},
                timeout_s=LONGEST_S,
                what="tf2onnx",
            )
        except BuildError as error:
            raise ConversionError(f"{source}: {error}\n{WAY_OUT}") from error
        model = onnx.load(target)
    _spell_out(model.graph)
    _name_inputs(model.graph, signature.inputs)
    return model


def _spell_out(graph: onnx.GraphProto) -> None:
    """Write Erfc, of which Keras' gelu is made and which tf2onnx does not know, as 1 - Erf."""
    from onnx import helper, numpy_helper

    if not any(node.op_type == "Erfc" for node in graph.node):
        return
    one = "modelport_one"
    graph.initializer.append(numpy_helper.from_array(np.float32(1), one))
    nodes = []
    for node in graph.node:
        if node.op_type == "Erfc":
            erf, like = f"{node.output[0]}/erf", f"{node.output[0]}/one"
            nodes += [
                helper.make_node("Erf", [node.input[0]], [erf]),
                helper.make_node("CastLike", [one, erf], [like]),
                helper.make_node("Sub", [like, erf], [node.output[0]], name=node.name),
            ]
        else:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)


def _name_inputs(graph: onnx.GraphProto, inputs: Sequence[InputSpec]) -> None:
    """Give the inputs the signature's names, of which TensorFlow made Python identifiers, and back those left out."""
    from onnx import TensorProto, helper

    from modelport.convert.onnx_names import rename_ends

    found = {value.name for value in graph.input}
    given: dict[str, str] = {}
    for tensor in inputs:
        identifier = re.sub(r"\W", "_", tensor.name)
        names = (tensor.name, identifier, f"tensor_{identifier}")  # the latter where a letter must be put first
        known = next((name for name in names if name in found and name not in given), None)
        if known is not None:
            given[known] = tensor.name
            continue
        # No output depends on it. Callers send it all the same.
        kind = (
            TensorProto.STRING if tensor.dtype == "string" else helper.np_dtype_to_tensor_dtype(np.dtype(tensor.dtype))
        )
        graph.input.append(helper.make_tensor_value_info(tensor.name, kind, tensor.shape))
        given[tensor.name] = tensor.name
    strangers = [value.name for value in graph.input if value.name not in given]
    if strangers:
        raise ConversionError(f"tf2onnx gives the inputs names that the signature does not: {strangers}. {WAY_OUT}")
    rename_ends(
        graph, [given.get(value.name, value.name) for value in graph.input], [value.name for value in graph.output]
    )
