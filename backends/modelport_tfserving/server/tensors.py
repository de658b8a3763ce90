"""Tensors between protobuf and numpy: `TensorProto` in both its encodings, without a Python loop over elements."""

from __future__ import annotations

import math
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelport_tfserving.server.statuses import ServingError, invalid_argument

Array = NDArray[Any]

# A message of a few bytes may name a shape of any size; beyond this it is taken for an attack, not a tensor.
_MAX_EXPANDED_BYTES = 4 << 30
_HALF_LIKE = ("DT_HALF", "DT_BFLOAT16")


class _Encoding(NamedTuple):
    """How one dtype travels: its number and numpy type, and the typed field with the field's number."""

    number: int
    numpy: np.dtype[Any]
    field: str
    field_number: int


_FIELDS = {
    "half_val": ("DT_HALF", "DT_BFLOAT16"),
    "float_val": ("DT_FLOAT",),
    "double_val": ("DT_DOUBLE",),
    "int_val": ("DT_INT32", "DT_INT16", "DT_INT8", "DT_UINT8", "DT_UINT16"),
    "string_val": ("DT_STRING",),
    "scomplex_val": ("DT_COMPLEX64",),
    "dcomplex_val": ("DT_COMPLEX128",),
    "int64_val": ("DT_INT64",),
    "bool_val": ("DT_BOOL",),
    "uint32_val": ("DT_UINT32",),
    "uint64_val": ("DT_UINT64",),
}
# The wire form of these fields, packed, is the array's own little-endian bytes.
_RAW_FIELDS = frozenset({"float_val", "double_val", "bool_val", "scomplex_val", "dcomplex_val"})


@cache
def _encodings() -> dict[int, _Encoding]:
    import tensorflow as tf
    from tensorflow.core.framework import tensor_pb2, types_pb2

    numbers = {name: field.number for name, field in tensor_pb2.TensorProto.DESCRIPTOR.fields_by_name.items()}
    table = {}
    for field, names in _FIELDS.items():
        for name in names:
            number = types_pb2.DataType.Value(name)
            numpy_type = np.dtype(tf.dtypes.as_dtype(number).as_numpy_dtype)
            table[number] = _Encoding(number, numpy_type, field, numbers[field])
    return table


@cache
def _encoding_by_numpy() -> dict[np.dtype[Any], _Encoding]:
    return {encoding.numpy: encoding for encoding in _encodings().values()}


def numpy_type(dtype: int) -> np.dtype[Any] | None:
    """Return the numpy type of a TensorFlow data type's number; None for one that has no plain array."""
    encoding = _encodings().get(dtype)
    return encoding.numpy if encoding else None


def dtype_name(dtype: int) -> str:
    """Return the name that TensorFlow's messages use: `float`, `int64` and so on."""
    from tensorflow.core.framework import types_pb2

    name = types_pb2.DataType.Name(dtype) if dtype in types_pb2.DataType.values() else str(dtype)
    return str(name).removeprefix("DT_").lower()


def decode_tensor(proto: Any, alias: str) -> Array:
    """Return a TensorProto as an array; `alias` is what an error calls it.

    As in TensorFlow, fewer values than the shape has elements means that the last repeats, none means zeros.
    Strings become an object array of bytes. Raises INVALID_ARGUMENT when the message is no tensor.
    """
    encoding = _encodings().get(proto.dtype)
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    if encoding is None or proto.tensor_shape.unknown_rank or any(size < 0 for size in shape):
        raise _parsing_error(alias)
    count = math.prod(shape)
    if proto.tensor_content:
        if encoding.numpy.hasobject or len(proto.tensor_content) != count * encoding.numpy.itemsize:
            raise _parsing_error(alias)
        return _shape(np.frombuffer(proto.tensor_content, encoding.numpy), shape, alias)
    values = _field_values(proto, encoding)[:count]
    if len(values) < count:
        if count * encoding.numpy.itemsize > _MAX_EXPANDED_BYTES:
            raise _parsing_error(alias)
        expanded = np.full(count, values[-1] if len(values) else _zero(encoding), encoding.numpy)
        expanded[: len(values)] = values
        values = expanded
    return _shape(values, shape, alias)


def _shape(values: Array, shape: tuple[int, ...], alias: str) -> Array:
    try:
        return values.reshape(shape)
    except ValueError as error:
        raise invalid_argument(f"tensor parsing error: {alias} ({error})") from None


def _field_values(proto: Any, encoding: _Encoding) -> Array:
    values = getattr(proto, encoding.field)
    if encoding.numpy.hasobject:
        strings = np.empty(len(values), object)
        strings[:] = list(values)
        return strings
    if encoding.field == "half_val":
        return np.fromiter(values, np.int32, len(values)).astype(np.uint16).view(encoding.numpy)
    if encoding.field in {"scomplex_val", "dcomplex_val"}:
        parts = np.dtype(np.float32 if encoding.field == "scomplex_val" else np.float64)
        return np.fromiter(values, parts, len(values) // 2 * 2).view(encoding.numpy)
    if encoding.field == "int_val":
        return np.fromiter(values, np.int32, len(values)).astype(encoding.numpy)
    return np.fromiter(values, encoding.numpy, len(values))


def _zero(encoding: _Encoding) -> Any:
    return b"" if encoding.numpy.hasobject else encoding.numpy.type(0)


def _parsing_error(alias: str) -> ServingError:
    return invalid_argument(f"tensor parsing error: {alias}")


def fill_tensor(proto: Any, array: Array, *, as_content: bool) -> None:
    """Write an array into an empty TensorProto: into the typed field, or into `tensor_content` where it can be.

    Raises INVALID_ARGUMENT for an array of a type that TensorProto does not carry.
    """
    encoding = _encoding_by_numpy().get(array.dtype)
    if encoding is None:
        raise invalid_argument(f"an output of type {array.dtype} cannot be sent as a tensor")
    proto.dtype = encoding.number
    proto.tensor_shape.SetInParent()
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    if encoding.numpy.hasobject:
        proto.string_val.extend(array.ravel().tolist())
    elif as_content:
        proto.tensor_content = array.tobytes()
    elif encoding.field in _RAW_FIELDS:
        payload = array.tobytes()
        proto.MergeFromString(_varint(encoding.field_number << 3 | 2) + _varint(len(payload)) + payload)
    elif encoding.field == "half_val":
        proto.half_val.extend(array.ravel().view(np.uint16).tolist())
    else:
        getattr(proto, encoding.field).extend(array.ravel().tolist())


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def encoded_name(dtype: np.dtype[Any]) -> str:
    """Return TensorFlow's name for a numpy type, the numpy one where it has none."""
    encoding = _encoding_by_numpy().get(dtype)
    return dtype_name(encoding.number) if encoding else str(dtype)
