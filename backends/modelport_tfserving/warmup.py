"""Warm-up records: the first samples as ``PredictionLog`` messages in a TFRecord file.

Written without TensorFlow, which a plan must not import for a few hundred bytes. Field numbers: TensorFlow Serving's
``prediction_log.proto``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from modelport.client.message import write_field
from modelport.crc32c import masked_crc32c
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
    return length + struct.pack("<I", masked_crc32c(length)) + data + struct.pack("<I", masked_crc32c(data))
