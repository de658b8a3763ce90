"""What an ONNX file tells of itself: everything."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from modelport.errors import MissingTool, SpecError
from modelport.frameworks.onnx_apart import try_apart
from modelport.frameworks.probing import SHAPE, Probe, ProbedTensor

# onnx.TensorProto's element types by number.
_DTYPES = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 8: "string", 9: "bool",
    10: "float16", 11: "float64", 12: "uint32", 13: "uint64",
}  # fmt: skip
_NARROW = {"UINT4": 4, "INT4": 4, "FLOAT4E2M1": 4, "UINT2": 2, "INT2": 2}  # bits of an element, packed into bytes
# Whose ops the servers' ONNX Runtime has.
_DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview.training", "com.microsoft")


def probe_onnx(path: Path) -> Probe:
    """Read all inputs and outputs of the graph, and try it in ONNX Runtime.

    Raises:
        SpecError: It is no ONNX file, too new, has ops that no server knows, takes or gives what is no tensor, lacks
            a file beside it, is not loaded by ONNX Runtime, or gives other than it declares.
        MissingTool: onnx or onnxruntime is not installed.
    """
    model = load_graph(path)
    _refuse_newer(path, model)
    _refuse_strangers(path, model)
    inputs, outputs = declared_ends(model)
    external_files(path)
    try_apart(path)
    return Probe(inputs=inputs, outputs=outputs)


def declared_ends(model: Any) -> tuple[tuple[ProbedTensor, ...], tuple[ProbedTensor, ...]]:
    """Give the inputs and outputs that a model declares.

    Raises:
        SpecError: One is no tensor.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = tuple(_tensor(value, "input") for value in model.graph.input if value.name not in constants)
    return inputs, tuple(_tensor(value, "output") for value in model.graph.output)


def _refuse_newer(path: Path, model: Any) -> None:
    """Refuse versions that the installed onnx does not know, and whose meaning nobody here can tell."""
    import onnx

    newest = {
        "": onnx.defs.onnx_opset_version(),
        "ai.onnx.ml": max(s.since_version for s in onnx.defs.get_all_schemas() if s.domain == "ai.onnx.ml"),
    }
    for opset in model.opset_import:
        known = newest.get("" if opset.domain == "ai.onnx" else opset.domain)
        if known is not None and opset.version > known:
            raise SpecError(
                f"model.source: {path}: opset {opset.version} of {opset.domain or 'ai.onnx'} is newer than any that "
                f"the installed onnx knows; export the model with opset {known} or lower"
            )
    if model.ir_version > onnx.IR_VERSION:
        raise SpecError(
            f"model.source: {path}: written in version {model.ir_version} of ONNX's file format, but the installed "
            f"onnx reads up to {onnx.IR_VERSION}; save it in that version or a lower one"
        )


def _refuse_strangers(path: Path, model: Any) -> None:
    """Refuse ops that are neither ONNX's nor ONNX Runtime's nor the model's own functions: no server has them."""
    own = {(function.domain, function.name) for function in model.functions}
    nodes = [*_nodes(model.graph.node), *(node for f in model.functions for node in _nodes(f.node))]
    for node in nodes:
        if node.domain not in _DOMAINS and (node.domain, node.op_type) not in own:
            name = node.name or next((output for output in node.output if output), "")
            raise SpecError(
                f"model.source: {path}: op {node.op_type!r} of node {name!r} is of the domain {node.domain!r}, which "
                "neither ONNX Runtime nor modelport knows; express it by ONNX ops, or add it to the model as an ONNX "
                "function"
            )


def _nodes(nodes: Iterable[Any]) -> Iterator[Any]:
    """Yield nodes and those of their inner graphs."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]:
                yield from _nodes(graph.node)


def load_graph(path: Path) -> Any:
    """Read an ONNX model without its external data.

    Raises:
        SpecError: It is no ONNX file.
        MissingTool: onnx is not installed.
    """
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise MissingTool(f"reading ONNX needs {error.name}; pip install 'modelport[onnx]'") from error
    try:
        model = onnx.load(str(path), load_external_data=False)
    except (DecodeError, ValueError, OSError) as error:
        raise SpecError(f"model.source: {path}: no ONNX model that can be read, or truncated ({error})") from error
    if not model.ir_version or not model.graph.output:
        raise SpecError(f"model.source: {path}: no ONNX model: it has no graph with outputs")
    return model


def external_files(path: Path) -> list[str]:
    """Name the files beside an ONNX model that hold its large tensors, sorted.

    Raises:
        SpecError: One is not there, lies elsewhere, or does not hold what the model says.
    """
    from onnx.external_data_helper import uses_external_data

    names = set()
    for tensor in _tensors(load_graph(path)):
        if not uses_external_data(tensor):
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        name = entries.get("location", "")
        what = f"model.source: {path}: its external data {name!r}"
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise SpecError(f"{what} lies outside its folder; save it again")
        file = path.parent / name
        if not file.is_file():
            raise SpecError(f"{what} is not beside it; copy it there")
        if not file.resolve().is_relative_to(path.parent.resolve()):  # ONNX Runtime refuses it too
            raise SpecError(f"{what} is a link that leads out of its folder; put the file itself there")
        fault = _fault(tensor, entries, file.stat().st_size)
        if fault:
            raise SpecError(f"{what} does not hold tensor {tensor.name!r}: {fault}; copy or save both files again")
        names.add(name)
    return sorted(names)


def _fault(tensor: Any, entries: Mapping[str, str], size: int) -> str:
    """Say why a file of ``size`` bytes does not hold a tensor; nothing where it does."""
    from onnx import TensorProto, helper

    kind = TensorProto.DataType.Name(tensor.data_type)
    bits = _NARROW.get(kind) or 8 * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    needed = (math.prod(tensor.dims) * bits + 7) // 8
    given = [entries.get(key) or other for key, other in (("offset", "0"), ("length", str(needed)))]
    if not all(text.isdecimal() for text in given):
        return f"its offset {given[0]!r} and length {given[1]!r} must be whole numbers from 0 on"
    offset, length = map(int, given)
    if length != needed:
        return f"its dimensions {list(tensor.dims)} of {kind} need {needed} bytes, but its length is {length}"
    if offset + length > size:
        return f"it ends at byte {offset + length}, but the file has {size}"
    return ""


def _tensors(model: Any) -> Iterator[Any]:
    """Yield all constants of a model: initializers, and those that nodes hold, inner graphs and functions included."""
    yield from _constants(model.graph)
    for function in model.functions:
        yield from _held(function.node)


def _constants(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _held(graph.node)


def _held(nodes: Iterable[Any]) -> Iterator[Any]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            if attribute.HasField("g"):
                yield from _constants(attribute.g)
            yield from attribute.tensors
            for graph in attribute.graphs:
                yield from _constants(graph)


def _tensor(value: Any, side: str) -> ProbedTensor:
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        what = (kind or "an unknown type").removesuffix("_type").replace("_", " ")
        mend = "stack or pad it to a tensor in the model"
        if kind == "sparse_tensor_type":
            mend = "make it dense in the model"
        elif kind == "sequence_type" and value.type.sequence_type.elem_type.HasField("map_type"):
            what = "sequence of maps"
            mend = "a classifier exported by skl2onnx gives tensors with options={'zipmap': False}"
        raise SpecError(f"model.source: {side} {value.name!r} is no tensor ({what}); {mend}")
    dtype = _DTYPES.get(value.type.tensor_type.elem_type)
    if dtype is None:
        number = value.type.tensor_type.elem_type
        raise SpecError(
            f"model.source: {side} {value.name!r} has an element type (ONNX {number}) that no server carries"
        )
    if not value.type.tensor_type.HasField("shape"):
        return ProbedTensor(name=value.name, dtype=dtype, shape=None, free=frozenset({SHAPE}))
    shape = tuple(
        dim.dim_value if dim.HasField("dim_value") and dim.dim_value >= 0 else None
        for dim in value.type.tensor_type.shape.dim
    )
    return ProbedTensor(name=value.name, dtype=dtype, shape=shape)
