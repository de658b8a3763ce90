"""Writing a SavedModel by hand: exact signature names, variables beside the graph, the same bytes each time.

TensorFlow's own writers rename signature keys, stamp random ids into the saver's ops and the fingerprint, or both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from modelport.convert.onnx_to_tf.lazy import tf
from modelport.convert.onnx_to_tf.value import Array, Tensor
from modelport.convert.onnx_to_tf.weights import Weights
from modelport.errors import ConversionError

#: Ops that run Python or XLA, which a stock server with its default flags does not.
_FORBIDDEN = {"PyFunc", "EagerPyFunc", "PyFuncStateless", "XlaCallModule"}

#: The signature under which loaders look for the op that they run first.
_START = "__saved_model_init_op"


def write_graph(
    graph: Any,
    destination: Path,
    *,
    inputs: Mapping[str, Tensor],
    outputs: Mapping[str, Tensor],
    weights: Weights,
    start: Any = None,
) -> None:
    """Write the graph with one signature, ``serving_default``, whose keys are exactly those given.

    Args:
        graph: The finished tf.Graph.
        destination: Folder to write; made if it is not there.
        inputs: Placeholder per input name.
        outputs: Tensor per output name.
        weights: The graph's variables.
        start: An op to run once after loading, or None.

    Raises:
        ConversionError: The graph holds an op that stock TensorFlow on a CPU cannot run.
    """
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel(saved_model_schema_version=1)
    meta = saved.meta_graphs.add()
    meta.meta_info_def.tags.append("serve")
    meta.meta_info_def.tensorflow_version = tf.__version__
    if weights.variables:
        _add_saver(graph, meta, weights)
    ends = [tensor.op.name for tensor in (*inputs.values(), *outputs.values())]
    starts = [] if start is None else [start.name]
    saver = [name.partition(":")[0] for name in (meta.saver_def.save_tensor_name, meta.saver_def.restore_op_name)]
    needed = tf.compat.v1.graph_util.extract_sub_graph(graph.as_graph_def(), [*ends, *filter(None, saver), *starts])
    meta.graph_def.CopyFrom(_renamed_functions(needed))
    check_graph(meta.graph_def)
    _add_signature(meta, inputs, outputs)
    for name in starts:
        info = meta.signature_def[_START].outputs[_START]
        info.name = name
        info.tensor_shape.unknown_rank = True
    destination.mkdir(parents=True, exist_ok=True)
    if weights.variables:
        (destination / "variables").mkdir(exist_ok=True)
        write_variables(destination / "variables" / "variables", weights.variables)
    (destination / "saved_model.pb").write_bytes(saved.SerializeToString(deterministic=True))


def check_graph(graph_def: Any) -> None:
    """Raise ConversionError unless every op is plain TensorFlow with a CPU kernel for its types."""
    from tensorflow.python.framework import kernels, op_def_registry

    bodies = [graph_def.node, *(function.node_def for function in graph_def.library.function)]
    functions = {function.signature.name for function in graph_def.library.function}
    kernels_for = cache(lambda op: kernels.get_registered_kernels_for_op(op).kernel)  # slow, and forests have few ops
    for node in (node for body in bodies for node in body):
        if node.op in functions:
            continue
        if node.op in _FORBIDDEN or op_def_registry.get(node.op) is None:
            raise ConversionError(f"node {node.name!r} uses {node.op}, which a stock TensorFlow Serving cannot run")
        found = kernels_for(node.op)
        if found and not any(_fits(kernel, node) for kernel in found):
            types = {key: tf.as_dtype(a.type).name for key, a in node.attr.items() if a.WhichOneof("value") == "type"}
            raise ConversionError(
                f"TensorFlow's op {node.op} (node {node.name!r}) has no CPU kernel for {types}; "
                "cast to float32 or int64 in the model before this op"
            )


def _fits(kernel: Any, node: Any) -> bool:
    if kernel.device_type not in {"CPU", "DEFAULT"}:
        return False
    return all(
        node.attr[c.name].type in c.allowed_values.list.type
        for c in kernel.constraint
        if node.attr[c.name].WhichOneof("value") == "type"
    )


def _add_signature(meta: Any, inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor]) -> None:
    signature = meta.signature_def["serving_default"]
    signature.method_name = "tensorflow/serving/predict"
    for infos, tensors in ((signature.inputs, inputs), (signature.outputs, outputs)):
        for name, tensor in tensors.items():
            infos[name].name = tensor.name
            infos[name].dtype = tensor.dtype.as_datatype_enum
            infos[name].tensor_shape.CopyFrom(tensor.shape.as_proto())


def _add_saver(graph: Any, meta: Any, weights: Weights) -> None:
    """Add the ops with which a server restores the variables; one fixed op name each, so nothing is random."""
    names = list(weights.variables)
    slices = [""] * len(names)
    with graph.as_default(), tf.name_scope("saver/"):
        path = tf.compat.v1.placeholder(tf.string, shape=(), name="path")
        dtypes = [weights.variables[name].dtype for name in names]
        reads = [
            tf.raw_ops.ReadVariableOp(resource=weights.handles[name], dtype=tf.as_dtype(dtype))
            for name, dtype in zip(names, dtypes, strict=True)
        ]
        save = tf.raw_ops.SaveV2(prefix=path, tensor_names=names, shape_and_slices=slices, tensors=reads)
        with tf.control_dependencies([save]):
            saved = tf.identity(path, name="saved")
        restored = tf.raw_ops.RestoreV2(
            prefix=path, tensor_names=names, shape_and_slices=slices, dtypes=[tf.as_dtype(d) for d in dtypes]
        )
        assigned = [
            tf.raw_ops.AssignVariableOp(resource=weights.handles[name], value=value)
            for name, value in zip(names, restored, strict=True)
        ]
        with tf.control_dependencies(assigned):
            restore = tf.no_op(name="restore")
    meta.saver_def.filename_tensor_name = path.name
    meta.saver_def.save_tensor_name = saved.name
    meta.saver_def.restore_op_name = restore.name
    meta.saver_def.version = 2


def write_variables(prefix: Path, variables: Mapping[str, Array], *, group_bytes: int = 1 << 29) -> None:
    """Write a checkpoint of the variables in groups of at most `group_bytes`, of which TensorFlow holds a copy."""
    from tensorflow.python.eager import context  # the caller stands inside a plain graph

    with context.eager_mode():
        groups = list(_groups(variables, group_bytes))
        if len(groups) == 1:
            _save(prefix, groups[0])
            return
        parts = [prefix.parent / "parts" / str(i) for i in range(len(groups))]
        for part, group in zip(parts, groups, strict=True):
            _save(part, group)
        tf.raw_ops.MergeV2Checkpoints(
            checkpoint_prefixes=list(map(str, parts)), destination_prefix=str(prefix), delete_old_dirs=True
        )


def _groups(variables: Mapping[str, Array], most: int) -> Iterator[dict[str, Array]]:
    """Yield the variables in their order, together as long as they fit; one that is larger stands alone."""
    group: dict[str, Array] = {}
    for name, array in variables.items():
        if group and sum(held.nbytes for held in group.values()) + array.nbytes > most:
            yield group
            group = {}
        group[name] = array
    yield group


def _save(prefix: Path, variables: Mapping[str, Array]) -> None:
    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=list(variables),
        shape_and_slices=[""] * len(variables),
        tensors=[tf.constant(array) for array in variables.values()],
    )


def _renamed_functions(graph_def: Any) -> Any:
    """Name and order functions (bodies of loops and branches) by their first use: TensorFlow counts per process."""
    functions = {function.signature.name: function for function in graph_def.library.function}
    order: list[str] = []

    def visit(nodes: Any) -> None:
        for called in _calls(nodes):
            if called.name in functions and called.name not in order:
                order.append(called.name)
                visit(functions[called.name].node_def)

    visit(graph_def.node)
    names = {name: f"function_{i}" for i, name in enumerate(order)}
    kept = [functions[name] for name in order]
    for called in [*_calls(graph_def.node), *(call for function in kept for call in _calls(function.node_def))]:
        called.name = names.get(called.name, called.name)
    for function in kept:
        function.signature.name = names[function.signature.name]
        _rename_arguments(function)
    ordered = type(graph_def.library)(function=kept)
    graph_def.library.CopyFrom(ordered)
    return graph_def


def _rename_arguments(function: Any) -> None:
    """Name a function's arguments by position: some bear the name of another function, and so a count."""
    names = {argument.name: f"argument_{i}" for i, argument in enumerate(function.signature.input_arg)}
    for argument in function.signature.input_arg:
        argument.name = names[argument.name]
    for node in function.node_def:
        node.input[:] = [names.get(name, name) for name in node.input]
    for key, value in list(function.ret.items()):
        function.ret[key] = names.get(value, value)


def _calls(nodes: Any) -> list[Any]:
    """Return the function references in the attributes of nodes, in a fixed order."""
    found = []
    for node in nodes:
        for key in sorted(node.attr):
            attribute = node.attr[key]
            found += [attribute.func] if attribute.HasField("func") else []
            found += list(attribute.list.func)
    return found
