"""What an ONNX file tells of itself: everything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from modelport.errors import MissingTool, SpecError
from modelport.frameworks.probing import SHAPE, Probe, ProbedTensor

# onnx.TensorProto's element types by number.
_DTYPES = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 8: "string", 9: "bool",
    10: "float16", 11: "float64", 12: "uint32", 13: "uint64",
}  # fmt: skip


def probe_onnx(path: Path) -> Probe:
    """Read all inputs and outputs of the graph.

    Raises:
        SpecError: It is no ONNX file, or takes or gives what is no tensor.
        MissingTool: onnx is not installed.
    """
    graph = load_graph(path).graph
    constants = {tensor.name for tensor in graph.initializer}
    return Probe(
        inputs=tuple(_tensor(value, "input") for value in graph.input if value.name not in constants),
        outputs=tuple(_tensor(value, "output") for value in graph.output),
    )


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
        SpecError: One is not there, or lies elsewhere.
    """
    from onnx.external_data_helper import uses_external_data

    model = load_graph(path)
    names = set()
    for tensor in model.graph.initializer:
        if uses_external_data(tensor):
            names |= {entry.value for entry in tensor.external_data if entry.key == "location"}
    for name in names:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise SpecError(f"model.source: {path}: its external data {name!r} lies outside its folder; save it again")
        if not (path.parent / name).is_file():
            raise SpecError(f"model.source: {path}: its external data {name!r} is not beside it; copy it there")
    return sorted(names)


def _tensor(value: Any, side: str) -> ProbedTensor:
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        what = (kind or "an unknown type").removesuffix("_type").replace("_", " ")
        raise SpecError(
            f"model.source: {side} {value.name!r} is no tensor ({what}); "
            "a classifier exported by skl2onnx gives tensors with options={'zipmap': False}"
        )
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
