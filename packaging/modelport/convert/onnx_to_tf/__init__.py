"""ONNX graphs lowered to plain TensorFlow ops and written as SavedModels that a stock TensorFlow Serving runs.

`registry` says which function of `ops` lowers which op; `walk` goes over the graph; `value` is what flows along its
edges; `weights` brings constants in; `saved_model` writes the result. The price of the approach: ops have to be
written one by one, and an axis or a kernel's size that is computed while the model runs is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelport.convert.onnx_to_tf.support import UnsupportedOp, unsupported_ops
from modelport.errors import ConversionError

if TYPE_CHECKING:
    import onnx

__all__ = ["UnsupportedOp", "unsupported_ops", "write_saved_model"]

#: Constants above this many bytes become variables, beside the graph.
VARIABLE_BYTES = 1 << 20


def write_saved_model(
    model: onnx.ModelProto,
    destination: Path,
    *,
    input_names: Sequence[str],
    output_names: Sequence[str],
    variable_bytes: int = VARIABLE_BYTES,
) -> None:
    """Lower `model` and write it as a SavedModel with the signature ``serving_default``.

    Args:
        model: An ONNX model, weights included.
        destination: The version's folder.
        input_names: The signature's key for each graph input that is no initializer, in order.
        output_names: The signature's key for each graph output, in order.
        variable_bytes: Constants above this size become variables.

    Raises:
        ConversionError: An op, an attribute or a type cannot be expressed in plain TensorFlow; names op and node.
    """
    from modelport.convert.onnx_to_tf.functions import own_functions
    from modelport.convert.onnx_to_tf.lazy import tf
    from modelport.convert.onnx_to_tf.saved_model import write_graph
    from modelport.convert.onnx_to_tf.value import Value
    from modelport.convert.onnx_to_tf.walk import Walk
    from modelport.convert.onnx_to_tf.weights import Weights

    initial = {tensor.name for tensor in model.graph.initializer}
    given = [value for value in model.graph.input if value.name not in initial]
    _check_names("input", [value.name for value in given], input_names)
    _check_names("output", [value.name for value in model.graph.output], output_names)
    graph = tf.Graph()
    weights = Weights(graph, variable_bytes)
    opsets = {"" if o.domain == "ai.onnx" else o.domain: o.version for o in model.opset_import}
    with graph.as_default():
        inputs = {key: _placeholder(value, i) for i, (key, value) in enumerate(zip(input_names, given, strict=True))}
        scope = {value.name: Value(inputs[key]) for key, value in zip(input_names, given, strict=True)}
        walk = Walk(weights, opsets, own_functions(model))
        results = walk.lower_graph(model.graph, scope)
        outputs = {}
        for i, (key, value, declared) in enumerate(zip(output_names, results, model.graph.output, strict=True)):
            tensor = walk.tensor(value)
            _check_type(declared, tensor.dtype)
            outputs[key] = tf.identity(tensor, name=f"output_{i}")
        write_graph(graph, destination, inputs=inputs, outputs=outputs, weights=weights)


def _check_names(what: str, own: Sequence[str], given: Sequence[str]) -> None:
    if len(own) != len(given) or len(set(given)) != len(given):
        raise ConversionError(
            f"the ONNX graph has the {what}s {list(own)}, but the names asked for are {list(given)}: "
            "one different name is needed for each, in the same order"
        )


def _check_type(declared: Any, dtype: Any) -> None:
    """Refuse a graph that says of an output what its nodes do not give; some leave the type out."""
    from modelport.convert.onnx_to_tf.dtypes import tf_dtype

    elem_type = declared.type.tensor_type.elem_type
    try:
        wanted = tf_dtype(elem_type) if elem_type else dtype
    except ValueError as error:
        raise ConversionError(f"output {declared.name!r}: {error}") from error
    if wanted != dtype:
        raise ConversionError(
            f"output {declared.name!r} is declared as {wanted.name}, but the node behind it gives {dtype.name}; "
            "export the model anew"
        )


def _placeholder(value: Any, index: int) -> Any:
    """Return the placeholder of a graph input, with its declared type and shape."""
    from modelport.convert.onnx_to_tf.dtypes import tf_dtype
    from modelport.convert.onnx_to_tf.lazy import tf

    if not value.type.HasField("tensor_type"):
        raise ConversionError(f"input {value.name!r} is no tensor; a SavedModel's signature takes tensors only")
    declared = value.type.tensor_type
    shape = None
    if declared.HasField("shape"):
        shape = [d.dim_value if d.HasField("dim_value") else None for d in declared.shape.dim]
    try:
        dtype = tf_dtype(declared.elem_type)
    except ValueError as error:
        raise ConversionError(f"input {value.name!r}: {error}") from error
    return tf.compat.v1.placeholder(dtype, shape=shape, name=f"input_{index}")
