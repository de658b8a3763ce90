"""TensorFlow Serving's messages as bytes: tensors, model specs, signatures, states. Needs no TensorFlow."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelport.client.message import (
    Value,
    as_int,
    as_view,
    read_map,
    read_message,
    read_varints,
    write_field,
    write_map,
)

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

SIGNATURE = "serving_default"

# Numbers of tensorflow.serving.ModelVersionStatus.State.
STATES = {"START": 10, "LOADING": 20, "AVAILABLE": 30, "UNLOADING": 40, "END": 50}

REST_LACKS = {"float16", "uint16"}  # its JSON reader and writer know no such numbers

# Numbers of tensorflow.DataType (tensorflow/core/framework/types.proto).
DTYPES = {
    1: "float32", 2: "float64", 3: "int32", 4: "uint8", 5: "int16", 6: "int8", 7: "string", 9: "int64", 10: "bool",
    17: "uint16", 19: "float16", 22: "uint32", 23: "uint64",
}  # fmt: skip
NUMBERS = {dtype: number for number, dtype in DTYPES.items()}

CONTENT, FLOATS, DOUBLES, TEXTS = 4, 5, 6, 8
# The field of TensorProto that holds a dtype's values one by one, as varints.
VARINTS = {
    "int8": 7, "int16": 7, "int32": 7, "uint8": 7, "uint16": 7, "int64": 10, "bool": 11, "float16": 13, "uint32": 16,
    "uint64": 17,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorInfo:
    """What a signature says of one tensor; ``shape`` is None where it has any number of dimensions."""

    dtype: str
    shape: tuple[int | None, ...] | None


def describe_rest_gap(tensors: Iterable[tuple[str, str]]) -> str:
    """Say which tensors, of names and dtypes, the server's REST API cannot carry; empty where it carries all."""
    missing = [f"{name!r} of {dtype}" for name, dtype in tensors if dtype in REST_LACKS]
    if not missing:
        return ""
    return f"TensorFlow Serving's REST API cannot carry {', '.join(missing)}; call this model over gRPC"


def write_spec(name: str, version: int | None = None, label: str | None = None, signature: str = "") -> bytes:
    """Write a ModelSpec."""
    parts = [write_field(1, name)]
    if version is not None:
        parts.append(write_field(2, write_field(1, version)))
    if signature:
        parts.append(write_field(3, signature))
    if label is not None:
        parts.append(write_field(4, label))
    return b"".join(parts)


def write_predict_request(spec: bytes, inputs: Mapping[str, Array]) -> bytes:
    """Write a PredictRequest."""
    return write_field(1, spec) + write_map(2, ((name, write_tensor(array)) for name, array in inputs.items()))


def write_tensor(array: Array) -> bytes:
    """Write a TensorProto: numbers as one block of bytes, text one by one."""
    dtype = "string" if array.dtype.kind == "O" else array.dtype.name
    shape = b"".join(write_field(2, write_field(1, size)) for size in array.shape)
    head = write_field(1, NUMBERS[dtype]) + write_field(2, shape)
    if dtype == "string":
        return head + b"".join(write_field(TEXTS, entry) for entry in array.reshape(-1).tolist())
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return head + write_field(CONTENT, little.tobytes())


def read_tensor(data: bytes | memoryview) -> Array:
    """Read a TensorProto; text becomes an object array of ``str``, of ``bytes`` where it is no UTF-8.

    Where a message lists fewer values than the shape holds, the last one stands for the rest, and none for zeros.

    Raises:
        ValueError: It is none, or of a dtype that is not read.
    """
    import numpy as np

    fields = read_message(data)
    dtype = read_dtype(fields.get(1, [0])[-1])
    shape = read_sizes(as_view(fields.get(2, [b""])[-1]))
    if any(size < 0 for size in shape):
        raise ValueError(f"a tensor has the shape {list(shape)}")
    count = math.prod(shape)
    if dtype == "string":
        values = _read_texts(fields.get(TEXTS, []))
    else:
        content = as_view(fields.get(CONTENT, [b""])[-1])
        little = np.dtype(dtype).newbyteorder("<")
        values = np.frombuffer(content, little) if len(content) else _read_values(fields, dtype)
        values = values.astype(dtype)
    if values.size == count:
        return values.reshape(shape)
    if values.size > count or fields.get(CONTENT, [b""])[-1]:
        raise ValueError(f"a tensor of shape {list(shape)} holds {values.size} values")
    fill = values[-1] if values.size else ("" if dtype == "string" else np.zeros((), dtype)[()])
    full = np.full(count, fill, values.dtype)
    full[: values.size] = values
    return full.reshape(shape)


def _read_texts(entries: list[Value]) -> Array:
    import numpy as np

    texts = np.empty(len(entries), object)
    texts[:] = [decode_text(bytes(as_view(entry))) for entry in entries]
    return texts


def decode_text(data: bytes) -> str | bytes:
    """Give UTF-8 as ``str`` and everything else as it is."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def _read_values(fields: Mapping[int, list[Value]], dtype: str) -> Array:
    import numpy as np

    if dtype in {"float32", "float64"}:
        parts = fields.get(FLOATS if dtype == "float32" else DOUBLES, [])
        return np.frombuffer(b"".join(as_view(part) for part in parts), np.dtype(dtype).newbyteorder("<"))
    numbers = read_varints(fields.get(VARINTS[dtype], []))
    if dtype == "float16":
        return numbers.astype(np.uint16).view(np.float16)
    # A negative number is a varint of 64 bits: its low bits are the number in every narrower type.
    return numbers.astype(bool) if dtype == "bool" else numbers.view(np.int64).astype(dtype)


def read_dtype(number: Value) -> str:
    """Give the name of a DataType.

    Raises:
        ValueError: It is none that this client reads.
    """
    value = as_int(number)
    if value not in DTYPES:
        raise ValueError(f"a tensor has TensorFlow's dtype number {value}, which is not read here")
    return DTYPES[value]


def read_sizes(shape: memoryview) -> tuple[int, ...]:
    """Give the sizes in a TensorShapeProto, -1 for unknown ones."""
    dims = read_message(shape).get(2, [])
    return tuple(as_int(read_message(as_view(dim)).get(1, [0])[-1], signed=True) for dim in dims)


def read_predict_response(data: bytes) -> dict[str, Array]:
    """Read a PredictResponse.

    Raises:
        ValueError: It is none.
    """
    outputs = read_map(read_message(data).get(1, []))
    return {name: read_tensor(tensor) for name, tensor in outputs.items()}


def write_metadata_request(spec: bytes) -> bytes:
    """Write a GetModelMetadataRequest for the signatures."""
    return write_field(1, spec) + write_field(2, "signature_def")


def read_metadata_response(data: bytes) -> tuple[str, dict[str, dict[str, dict[str, TensorInfo]]]]:
    """Read a GetModelMetadataResponse: the version, and inputs and outputs by signature.

    Raises:
        ValueError: It is none.
    """
    fields = read_message(data)
    version = read_message(as_view(fields.get(1, [b""])[-1])).get(2, [b""])[-1]
    number = as_int(read_message(as_view(version)).get(1, [0])[-1], signed=True)
    packed = read_map(fields.get(2, [])).get("signature_def")
    if packed is None:
        raise ValueError("it holds no signature_def")
    signatures = read_map(read_message(as_view(read_message(packed).get(2, [b""])[-1])).get(1, []))
    return str(number), {name: _read_signature(signature) for name, signature in signatures.items()}


def _read_signature(data: memoryview) -> dict[str, dict[str, TensorInfo]]:
    fields = read_message(data)
    sides = {"inputs": read_map(fields.get(1, [])), "outputs": read_map(fields.get(2, []))}
    return {side: {name: _read_info(info) for name, info in infos.items()} for side, infos in sides.items()}


def _read_info(data: memoryview) -> TensorInfo:
    fields = read_message(data)
    number = as_int(fields.get(2, [0])[-1])
    shape = as_view(fields.get(3, [b""])[-1])
    unknown_rank = any(read_message(shape).get(3, []))
    sizes = None if unknown_rank else tuple(None if size < 0 else size for size in read_sizes(shape))
    return TensorInfo(dtype=DTYPES.get(number, f"dtype number {number}"), shape=sizes)


def read_json_metadata(raw: Any) -> tuple[str, dict[str, dict[str, dict[str, TensorInfo]]]]:
    """Read the same from the REST API's JSON.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: It is none.
    """
    signatures = raw["metadata"]["signature_def"]["signature_def"]
    return str(raw["model_spec"]["version"]), {
        name: {side: _read_json_infos(signature.get(side) or {}) for side in ("inputs", "outputs")}
        for name, signature in signatures.items()
    }


def _read_json_infos(infos: Mapping[str, Any]) -> dict[str, TensorInfo]:
    return {name: _read_json_info(info) for name, info in infos.items()}


def _read_json_info(info: Mapping[str, Any]) -> TensorInfo:
    shape = info.get("tensor_shape") or {}
    sizes = [int(dim.get("size", 0)) for dim in shape.get("dim") or []]
    known = tuple(None if size < 0 else size for size in sizes)
    return TensorInfo(
        dtype=JSON_DTYPES.get(info["dtype"], info["dtype"]), shape=None if shape.get("unknown_rank") else known
    )


JSON_DTYPES = {
    "DT_HALF": "float16",
    "DT_FLOAT": "float32",
    "DT_DOUBLE": "float64",
    **{f"DT_{dtype.upper()}": dtype for dtype in NUMBERS if not dtype.startswith("float")},
}


def write_status_request(name: str, version: int | None = None) -> bytes:
    """Write a GetModelStatusRequest."""
    return write_field(1, write_spec(name, version))


def read_states(data: bytes) -> dict[int, int]:
    """Read a GetModelStatusResponse: state numbers by version.

    Raises:
        ValueError: It is none.
    """
    entries = [read_message(as_view(entry)) for entry in read_message(data).get(1, [])]
    return {as_int(e.get(1, [0])[-1], signed=True): as_int(e.get(2, [0])[-1]) for e in entries}


def read_json_states(raw: Any) -> dict[int, int]:
    """Read the same from the REST API's JSON.

    Raises:
        KeyError, TypeError, ValueError: It is none.
    """
    return {int(e["version"]): STATES.get(e["state"], 0) for e in raw["model_version_status"]}
