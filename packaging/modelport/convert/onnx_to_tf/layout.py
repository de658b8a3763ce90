"""Computing with channels last where a value already stands that way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from modelport.convert.onnx_to_tf.lazy import tf
from modelport.convert.onnx_to_tf.node import Node
from modelport.convert.onnx_to_tf.value import Array, Tensor, Value, last_order


def spread(node: Node, function: Callable[..., Tensor], values: Sequence[Value]) -> Value:
    """Apply an element-wise function with ONNX's broadcasting, with channels last if any input stands so."""
    rank = max((len(value.shape) for value in values if value.shape is not None), default=0)
    standing = [value for value in values if value.is_last]
    if not standing or not all(_turns(value, rank) for value in values):
        return Value(function(*[node.walk.tensor(value) for value in values]))
    result = function(*[turned(node, value, rank) for value in values])
    return Value(last=result, rows=common_rows(values))


def common_rows(values: Sequence[Value]) -> Tensor | None:
    """Return how many rows are real in tensors of the same batch; call it once their twins stand."""
    known = list({id(value.rows): value.rows for value in values if value.rows is not None}.values())
    if len(known) < 2:
        return known[0] if known else None
    counts = tf.stack(known)
    return tf.reduce_max(counts) * tf.sign(tf.reduce_min(counts))


def turned(node: Node, value: Value, rank: int) -> Tensor:
    """Return a value with its channels last, ready to broadcast against tensors of `rank` dimensions."""
    if value.constant is None:
        return value.last()
    return node.walk.weights.tensor(turned_constant(node, value.constant, rank))


def turned_constant(node: Node, array: Array, rank: int) -> Array:
    """Return a constant for channels-last tensors, with leading dimensions of one left out."""
    if array.size == 1 or array.ndim < 2:
        # A vector stands along the last spatial dimension, which is second to last once channels are last.
        return array.reshape(()) if array.size == 1 else array.reshape(-1, 1)
    return node.walk.weights.derived(
        array, ("last", rank), lambda: _leading(array.reshape((1,) * (rank - array.ndim) + array.shape), rank)
    )


def _leading(array: Array, rank: int) -> Array:
    moved = np.ascontiguousarray(array.transpose(last_order(rank)))
    while moved.ndim > 1 and moved.shape[0] == 1:
        moved = moved[0]
    return moved


def _turns(value: Value, rank: int) -> bool:
    if value.constant is not None:
        return bool(value.constant.dtype != object)
    return value.shape is not None and len(value.shape) == rank and rank >= 3


def channel_constant(array: Array, rank: int) -> Array:
    """Return a per-channel vector shaped to broadcast against channels-first tensors of `rank` dimensions."""
    return array.reshape(-1, *(1,) * max(rank - 2, 0))


def standing(node: Node, value: Value) -> tuple[Tensor, Any]:
    """Return a value as it stands, and the function that wraps a result in the same order of dimensions."""
    if value.is_last:
        return value.last(), lambda tensor: Value(last=tensor, rows=value.rows)
    return node.walk.tensor(value), Value
