"""A ``.keras`` file to a SavedModel whose signature has exactly the names asked for.

Keras' own export renames inputs, leaves the signature's names to the layers, and gives other bytes each time. So the
model is traced, its variables are made constants, and the graph is written as the lowered ones are.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from modelport.convert.examples import InputSpec
from modelport.convert.torch_to_onnx import quiet
from modelport.errors import ConversionError

#: Ops of lookup tables, whose contents stand outside the graph.
_TABLES = {"HashTableV2", "MutableHashTableV2", "MutableDenseHashTableV2", "AnonymousHashTable"}


class SignatureLike(Protocol):
    """The inputs and outputs of a model, in order."""

    @property
    def inputs(self) -> Sequence[InputSpec]:
        """What the model takes."""

    @property
    def outputs(self) -> Sequence[InputSpec]:
        """What it gives."""


def export_keras(source: Path, destination: Path, *, signature: SignatureLike) -> None:
    """Write a Keras model as a SavedModel with the signature ``serving_default``.

    Args:
        source: The ``.keras`` file.
        destination: The version's folder.
        signature: The inputs and outputs in the order in which the model has them. Where the model takes or gives a
            dictionary with these very keys, or its input layers bear these names, the names count, not the order.

    Raises:
        ConversionError: Keras cannot load or run the model, its ends are not those of the signature, or it uses
            lookup tables.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import keras
    import tensorflow as tf

    from modelport.convert.onnx_to_tf.saved_model import write_graph
    from modelport.convert.onnx_to_tf.weights import Weights

    try:
        with quiet():
            model = keras.saving.load_model(source, compile=False)
            frozen = _freeze(model, signature)
    except ConversionError:
        raise
    except Exception as error:
        first = " ".join(str(error).split())[:500]
        raise ConversionError(f"{source}: Keras cannot export this model: {type(error).__name__}: {first}") from error
    _refuse_tables(source, frozen.graph)
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(frozen.graph.as_graph_def(), name="")
        ends = [graph.get_tensor_by_name(tensor.name) for tensor in frozen.inputs]
        inputs = {spec.name: tensor for spec, tensor in zip(signature.inputs, ends, strict=True)}
        results = [graph.get_tensor_by_name(tensor.name) for tensor in frozen.outputs]
        outputs = {
            spec.name: tf.identity(tensor, name=f"output_{i}")
            for i, (spec, tensor) in enumerate(zip(signature.outputs, results, strict=True))
        }
        _check_types(source, signature, {**inputs, **outputs})
        write_graph(graph, destination, inputs=inputs, outputs=outputs, weights=Weights(graph, 0))


def _freeze(model: Any, signature: SignatureLike) -> Any:
    """Return the model as a function of the signature's inputs, its variables made constants."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    names = [spec.name for spec in signature.outputs]
    specs = [
        tf.TensorSpec(list(spec.shape), tf.as_dtype(spec.dtype), f"input_{i}")
        for i, spec in enumerate(signature.inputs)
    ]

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def run(*tensors: Any) -> list[Any]:
        given = dict(zip([spec.name for spec in signature.inputs], tensors, strict=True))
        return _in_order(model(_arguments(model, given), training=False), names)

    return convert_variables_to_constants_v2(run.get_concrete_function(*specs), lower_control_flow=False)


def _arguments(model: Any, given: Mapping[str, Any]) -> Any:
    """Return the inputs in the structure that the model takes them in."""
    structure = getattr(model, "_inputs_struct", None)
    if isinstance(structure, Mapping) and set(structure) == set(given):
        return dict(given)
    if len(given) == 1:
        only = next(iter(given.values()))
        return [only] if isinstance(structure, list) else only
    layers = [tensor.name for tensor in getattr(model, "inputs", None) or []]
    return [given[name] for name in layers] if set(layers) == set(given) else list(given.values())


def _in_order(results: Any, names: Sequence[str]) -> list[Any]:
    import tensorflow as tf

    if isinstance(results, Mapping) and set(results) == set(names):
        return [tf.identity(results[name]) for name in names]
    flat = tf.nest.flatten(results)
    if len(flat) != len(names):
        raise ConversionError(f"the Keras model gives {len(flat)} outputs, the signature names {len(names)}")
    return [tf.identity(tensor) for tensor in flat]


def _refuse_tables(source: Path, graph: Any) -> None:
    for operation in graph.get_operations():
        if operation.type in _TABLES:
            raise ConversionError(
                f"{source}: layer {operation.name!r} looks words up in a table, which only Keras' own export carries; "
                "call model.export(folder) and give that folder as a SavedModel"
            )


def _check_types(source: Path, signature: SignatureLike, tensors: Mapping[str, Any]) -> None:
    for spec in (*signature.inputs, *signature.outputs):
        found = tensors[spec.name].dtype.name
        if found != spec.dtype:
            raise ConversionError(f"{source}: {spec.name!r} is {found} in the model, {spec.dtype} in the signature")
