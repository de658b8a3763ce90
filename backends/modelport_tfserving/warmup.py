"""Warm-up records: the first samples as ``PredictionLog`` messages in a TFRecord file.

Written without TensorFlow, which a plan must not import for a few hundred bytes. Field numbers: TensorFlow Serving's
``prediction_log.proto``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import numpy as np

from modelport.client.message import write_field
from modelport_tfserving.wire import SIGNATURE, write_predict_request, write_spec

PREDICT_LOG = 6
REQUEST = 1


def render_warmup(name: str, requests: Iterable[Mapping[str, np.ndarray[Any, Any]]]) -> bytes:
    """Render the file ``tf_serving_warmup_requests``: one record a request.

    Args:
        name: The model's name on the server.
        requests: Inputs by signature name; string tensors are object arrays of ``str`` or ``bytes``.
    """
    spec = write_spec(name, signature=SIGNATURE)
    return b"".join(
        _record(write_field(PREDICT_LOG, write_field(REQUEST, write_predict_request(spec, inputs))))
        for inputs in requests
    )


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
