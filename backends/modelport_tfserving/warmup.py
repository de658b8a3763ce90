"""Warm-up records: the first samples as ``PredictionLog`` messages in a TFRecord file.

Written by hand, since a plan must not import TensorFlow for a few hundred bytes. Field numbers: TensorFlow Serving's
``prediction_log.proto``, ``predict.proto`` and ``model.proto``; TensorFlow's ``tensor.proto`` and ``types.proto``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

DATA_TYPES = {
    "float32": 1, "float64": 2, "int32": 3, "uint8": 4, "int16": 5, "int8": 6, "string": 7, "int64": 9, "bool": 10,
    "uint16": 17, "float16": 19, "uint32": 22, "uint64": 23,
}  # fmt: skip
STRING_VAL = 8
TENSOR_CONTENT = 4


def render_warmup(name: str, requests: Iterable[Mapping[str, Array]]) -> bytes:
    """Render the file ``tf_serving_warmup_requests``: one record a request.

    Args:
        name: The model's name on the server.
        requests: Inputs by signature name; string tensors are object arrays of ``str`` or ``bytes``.
    """
    return b"".join(_record(_prediction_log(name, inputs)) for inputs in requests)


def _prediction_log(name: str, inputs: Mapping[str, Array]) -> bytes:
    model = _field(1, name.encode()) + _field(3, b"serving_default")
    entries = [_field(1, key.encode()) + _field(2, encode_tensor(value)) for key, value in sorted(inputs.items())]
    request = _field(1, model) + b"".join(_field(2, entry) for entry in entries)
    return _field(6, _field(1, request))


def encode_tensor(array: Array) -> bytes:
    """Encode a ``TensorProto``."""
    dtype = "string" if array.dtype.kind in "OUS" else array.dtype.name
    sizes = b"".join(_field(2, _key(1, 0) + _varint(size)) for size in array.shape)
    head = _key(1, 0) + _varint(DATA_TYPES[dtype]) + _field(2, sizes)
    if dtype == "string":
        values = (value if isinstance(value, bytes) else str(value).encode() for value in array.ravel().tolist())
        return head + b"".join(_field(STRING_VAL, value) for value in values)
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return head + _field(TENSOR_CONTENT, np.ascontiguousarray(little).tobytes())


def _record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", _masked(length)) + data + struct.pack("<I", _masked(data))


def _masked(data: bytes) -> int:
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def crc32c(data: bytes) -> int:
    """Castagnoli's CRC, which TFRecord files carry."""
    table = _table()
    crc = 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


@cache
def _table() -> tuple[int, ...]:
    table = []
    for index in range(256):
        crc = index
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return tuple(table)


def _field(number: int, data: bytes) -> bytes:
    return _key(number, 2) + _varint(len(data)) + data


def _key(number: int, wire_type: int) -> bytes:
    return _varint(number << 3 | wire_type)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
