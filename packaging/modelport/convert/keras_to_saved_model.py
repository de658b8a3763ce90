"""A ``.keras`` file to a SavedModel whose signature has exactly the names asked for.

Keras' own export renames inputs, leaves the signature's names to the layers, and gives other bytes each time. So the
model is traced, its variables are made constants, and the graph is written as the lowered ones are. Lookup tables are
filled by an op that the server runs once, after loading.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from modelport.convert.examples import Array, InputSpec
from modelport.convert.torch_to_onnx import quiet
from modelport.errors import ConversionError

#: Keys and values of lookup tables, by the name of the tensor that stands for the table in the traced graph.
Tables = Mapping[str, tuple[Array, Array]]

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
            lookup tables that are no layer's.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import keras
    import tensorflow as tf

    from modelport.convert.onnx_to_tf.saved_model import write_graph
    from modelport.convert.onnx_to_tf.weights import Weights

    try:
        with quiet():
            model = keras.saving.load_model(source, compile=False)
            frozen, tables = _freeze(model, signature)
    except ConversionError:
        raise
    except Exception as error:
        first = " ".join(str(error).split())[:500]
        raise ConversionError(f"{source}: Keras cannot export this model: {type(error).__name__}: {first}") from error
    count = len(signature.inputs)
    _refuse_tables(source, frozen.graph, [tensor.op for tensor in frozen.inputs[count:] if tensor.name not in tables])
    graph = tf.Graph()
    with graph.as_default():
        handles, start = _add_tables(tables)
        tf.import_graph_def(frozen.graph.as_graph_def(), name="", input_map=handles)
        ends = [graph.get_tensor_by_name(tensor.name) for tensor in frozen.inputs[:count]]
        inputs = {spec.name: tensor for spec, tensor in zip(signature.inputs, ends, strict=True)}
        results = [graph.get_tensor_by_name(tensor.name) for tensor in frozen.outputs]
        outputs = {
            spec.name: tf.identity(tensor, name=f"output_{i}")
            for i, (spec, tensor) in enumerate(zip(signature.outputs, results, strict=True))
        }
        _check_types(source, signature, {**inputs, **outputs})
        write_graph(graph, destination, inputs=inputs, outputs=outputs, weights=Weights(graph, 0), start=start)


def _freeze(model: Any, signature: SignatureLike) -> tuple[Any, Tables]:
    """Return the model as a function of the signature's inputs, its variables made constants, and its tables."""
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

    traced = run.get_concrete_function(*specs)
    return convert_variables_to_constants_v2(traced, lower_control_flow=False), _read_tables(model, traced)


def _read_tables(model: Any, traced: Any) -> Tables:
    layers = model._flatten_layers()  # noqa: SLF001 - nothing public gives the layers inside layers too
    found = [layer.lookup_table for layer in layers if getattr(layer, "lookup_table", None) is not None]
    tables = {}
    for outer, inner in traced.graph.captures:
        for table in (table for table in found if table.resource_handle is outer):
            keys, values = (tensor.numpy() for tensor in table.export())
            order = np.argsort(keys)  # a hash table has none of its own
            tables[inner.name] = (keys[order], values[order])
    return tables


def _add_tables(tables: Tables) -> tuple[dict[str, Any], Any]:
    """Add tables to the graph; return their handles, and the op that fills them all, None where there are none."""
    import tensorflow as tf

    handles, fills = {}, []
    for name, contents in tables.items():
        # Models of one process share tables of one name.
        label = hashlib.sha256(repr([array.tolist() for array in contents]).encode()).hexdigest()
        keys, values = map(tf.constant, contents)
        handles[name] = tf.raw_ops.HashTableV2(key_dtype=keys.dtype, value_dtype=values.dtype, shared_name=label)
        fills.append(tf.raw_ops.LookupTableImportV2(table_handle=handles[name], keys=keys, values=values))
    return handles, tf.group(*fills, name="fill_tables") if fills else None


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


def _refuse_tables(source: Path, graph: Any, unknown: Sequence[Any]) -> None:
    for operation in (*unknown, *(one for one in graph.get_operations() if one.type in _TABLES)):
        raise ConversionError(
            f"{source}: layer {operation.name!r} looks words up in a table of its own, which only Keras' own export "
            "carries; call model.export(folder) and give that folder as a SavedModel"
        )


def _check_types(source: Path, signature: SignatureLike, tensors: Mapping[str, Any]) -> None:
    for spec in (*signature.inputs, *signature.outputs):
        found = tensors[spec.name].dtype.name
        if found != spec.dtype:
            raise ConversionError(f"{source}: {spec.name!r} is {found} in the model, {spec.dtype} in the signature")
