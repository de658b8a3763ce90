"""Tensors as JSON: the answers of predict, in rows or in columns, with NaN and Infinity as such."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping

import numpy as np

from modelport_tfserving.server.statuses import invalid_argument
from modelport_tfserving.server.tensors import Array, encoded_name

_NON_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
# What the real server writes: no half precision, no complex numbers, and no 16 bit unsigned ones.
_WRITABLE = frozenset(
    {
        *map(np.dtype, ("bool", "object", "float32", "float64")),
        *map(np.dtype, ("int8", "int16", "int32", "int64", "uint8", "uint32", "uint64")),
    }
)


def render_outputs(outputs: Mapping[str, Array], *, rows: bool) -> bytes:
    """Return the JSON body of a predict answer: `predictions`, one entry a row, or `outputs`, one a tensor.

    A single output is written without its name. Raises INVALID_ARGUMENT for outputs that do not form rows, and for
    a type that the REST API cannot carry.
    """
    if not rows:
        columns = {name: _nest(render_values(array, name), array.shape)[0] for name, array in outputs.items()}
        body = next(iter(columns.values())) if len(columns) == 1 else _render_object(columns)
        return f'{{"outputs": {body}}}'.encode("utf-8", "surrogateescape")
    batch: int | None = None
    for name, array in outputs.items():
        if array.ndim == 0:
            raise invalid_argument(f"Tensor name: {name} has no shape information ")
        if batch is not None and array.shape[0] != batch:
            raise invalid_argument(
                f"Tensor name: {name} has inconsistent batch size: {array.shape[0]} expecting: {batch}"
            )
        batch = array.shape[0]
    parts = {name: _nest(render_values(array, name), array.shape, keep=1) for name, array in outputs.items()}
    entries = (
        next(iter(parts.values()))
        if len(parts) == 1
        else [_render_object(dict(zip(parts, row, strict=True))) for row in zip(*parts.values(), strict=True)]
    )
    return f'{{"predictions": [{", ".join(entries)}]}}'.encode("utf-8", "surrogateescape")


def render_values(array: Array, name: str = "") -> list[str]:
    """Return the elements of an array as JSON texts, flat; strings of a name in `_bytes` as base64 objects."""
    if array.dtype not in _WRITABLE:
        raise invalid_argument(f"Failed to write JSON value for tensor type: {encoded_name(array.dtype)}")
    flat = array.ravel()
    if array.dtype == np.float32:
        return _render_singles(flat)
    if array.dtype == np.float64:
        return [_NON_FINITE.get(text, text) for text in map(repr, flat.tolist())]
    if array.dtype == bool:
        return ["true" if value else "false" for value in flat.tolist()]
    if array.dtype != object:
        return list(map(str, flat.tolist()))
    if name.endswith("_bytes"):
        return [f'{{"b64": "{base64.b64encode(value).decode()}"}}' for value in flat.tolist()]
    return [json.dumps(value.decode("utf-8", "surrogateescape"), ensure_ascii=False) for value in flat.tolist()]


def _render_singles(flat: Array) -> list[str]:
    """Return float32 values in six significant digits where those read back as the same float32, else in nine."""
    values = flat.astype(np.float64)
    with np.errstate(all="ignore"):
        power = np.floor(np.log10(np.abs(values))) - 5
        # Only positive powers of ten are exact; with others, a tie between two float32 could go the wrong way.
        up, down = 10.0 ** np.maximum(power, 0), 10.0 ** np.maximum(-power, 0)
        short = (np.rint(values / up * down) / down * up).astype(np.float32) == flat
    texts = [
        f"{value:g}" if six else f"{value:.9g}" for value, six in zip(values.tolist(), short.tolist(), strict=True)
    ]
    # A whole number keeps a fraction, so that readers do not take it for an integer.
    return [_NON_FINITE.get(text) or (f"{text}.0" if text[1:].isdigit() or text.isdigit() else text) for text in texts]


def _render_object(members: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{json.dumps(name)}: {text}" for name, text in members.items()) + "}"


def _nest(texts: list[str], shape: tuple[int, ...], *, keep: int = 0) -> list[str]:
    """Return flat texts as lists nested by shape; the first `keep` axes stay unnested."""
    for axis in range(len(shape) - 1, keep - 1, -1):
        size = shape[axis]
        if size == 0:
            texts = ["[]"] * math.prod(shape[:axis])
        else:
            texts = [f"[{', '.join(texts[at : at + size])}]" for at in range(0, len(texts), size)]
    return texts
