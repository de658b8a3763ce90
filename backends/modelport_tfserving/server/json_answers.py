"""What the REST API answers, in the real server's JSON: predictions, classes, values, status, metadata and errors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from modelport_tfserving.server.json_text import (
    break_line,
    lay_out_lines,
    lay_out_rows,
    quote,
    render_rows,
    render_tensor,
)
from modelport_tfserving.server.statuses import invalid_argument
from modelport_tfserving.server.tensors import Array


def render_outputs(outputs: Mapping[str, Array], *, rows: bool) -> bytes:
    """Return the JSON body of a predict answer: `predictions`, one entry a row, or `outputs`, one a tensor.

    A single output is written without its name. Raises INVALID_ARGUMENT for outputs that do not form rows, and for
    a type that the REST API cannot carry.
    """
    if not outputs:
        raise invalid_argument("Cannot convert empty tensor map to JSON")
    if rows:
        _check_rows(outputs)
        return _wrap("predictions", _render_predictions(outputs))
    if len(outputs) == 1:
        ((name, array),) = outputs.items()
        return _wrap("outputs", render_tensor(array, name, lay_out_lines(array.ndim, 1), array.ndim + 1))
    members = {
        name: render_tensor(array, name, lay_out_lines(array.ndim, 2), array.ndim + 2)
        for name, array in outputs.items()
    }
    return _wrap("outputs", _render_object(members, 1))


def _check_rows(outputs: Mapping[str, Array]) -> None:
    batch: int | None = None
    for name, array in outputs.items():
        if array.ndim == 0:
            raise invalid_argument(f"Tensor name: {name} has no shape information ")
        if batch is not None and array.shape[0] != batch:
            raise invalid_argument(
                f"Tensor name: {name} has inconsistent batch size: {array.shape[0]} expecting: {batch}"
            )
        batch = array.shape[0]


def _render_predictions(outputs: Mapping[str, Array]) -> bytes:
    if len(outputs) == 1:
        ((name, array),) = outputs.items()
        return render_tensor(array, name, lay_out_rows(array.ndim, 1), array.ndim + 1)
    columns = [render_rows(array, name, array.ndim + 2) for name, array in outputs.items()]
    entries = [_render_object(dict(zip(outputs, row, strict=True)), 2) for row in zip(*columns, strict=True)]
    start = break_line(2).encode()
    return _close_list(b",".join(start + entry for entry in entries))


def render_classes(result: Any) -> bytes:
    """Return a ClassificationResult as JSON: for each example a list of `[label, score]`."""
    examples = []
    for example in result.classifications:
        scores = np.array([entry.score for entry in example.classes], np.float32)
        pairs = zip(example.classes, render_rows(scores, "", 0), strict=True)
        examples.append(
            b"[%s]" % b", ".join(b"[%s, %s]" % (quote(entry.label).encode(), text) for entry, text in pairs)
        )
    return _wrap("results", _close_list(b", ".join(examples)))


def render_regressions(result: Any) -> bytes:
    """Return a RegressionResult as JSON: one number an example."""
    values = np.array([regression.value for regression in result.regressions], np.float32)
    return _wrap("results", b"[%s]" % b", ".join(render_rows(values, "", 0)))


def render_status(response: Any) -> bytes:
    """Return a GetModelStatusResponse as JSON."""
    return _render_message(response).encode()


def render_metadata(response: Any) -> bytes:
    """Return a GetModelMetadataResponse, with the SignatureDefs that it holds, as JSON."""
    from tensorflow_serving.apis import get_model_metadata_pb2

    signatures = get_model_metadata_pb2.SignatureDefMap()
    response.metadata["signature_def"].Unpack(signatures)
    spec, definitions = _render_message(response.model_spec), _render_message(signatures)
    return f'{{\n"model_spec":{spec},\n"metadata": {{"signature_def": {definitions}}}\n}}\n'.encode()


def render_error(message: str) -> bytes:
    """Return the JSON body of a failure."""
    return _wrap("error", quote(message).encode("utf-8", "replace"))


def _close_list(entries: bytes) -> bytes:
    return b"[%s%s]" % (entries, break_line(1).encode()) if entries else b"[]"


def _wrap(key: str, value: bytes) -> bytes:
    return _render_object({key: value}, 0)


def _render_object(members: Mapping[str, bytes], depth: int) -> bytes:
    start, end = break_line(depth + 1).encode(), break_line(depth).encode()
    texts = [b"%s%s: %s" % (start, quote(name).encode(), value) for name, value in members.items()]
    return b"{%s%s}" % (b",".join(texts), end)


def _render_message(message: Any) -> str:
    from google.protobuf import json_format

    document = json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return json.dumps(document, indent=1) + "\n"
