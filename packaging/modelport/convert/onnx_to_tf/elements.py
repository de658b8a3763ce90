"""Shapes followed element by element.

A model's batch is not known when it is converted, the rest of a shape mostly is. Where a graph computes with shapes,
`Value.elements` keeps what is known, so that a reshape still tells TensorFlow its static dimensions and constants stay
constants.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from modelport.convert.onnx_to_tf.lazy import tf
from modelport.convert.onnx_to_tf.node import Node, dims
from modelport.convert.onnx_to_tf.value import Tensor, Value, first_order

Elements = tuple[int | Tensor, ...]
_LIMIT = 64


def _floor(a: Any, b: Any) -> Any:
    if isinstance(a, int) and isinstance(b, int):
        return int(np.trunc(a / b)) if b else 0
    return tf.cast(tf.truncatediv(tf.cast(a, tf.int64), tf.cast(b, tf.int64)), tf.int64)


_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "Add": operator.add,
    "Sub": operator.sub,
    "Mul": operator.mul,
    "Div": _floor,
}
_INT64 = 7  # how ONNX counts its element types


def follow(node: Node) -> Value | None:
    """Return the node's result where it only handles elements of shapes, else None."""
    handle = _FOLLOWED.get(node.op) if node.domain in {"", "ai.onnx"} else None
    if handle is None:
        return None
    if node.op != "Shape" and not any(value is not None and value.elements is not None for value in node.inputs):
        return None
    return handle(node)


def _known(value: Value | None) -> Elements | None:
    """Return the elements of a shape-like value or of a small integer constant."""
    if value is None:
        return None
    if value.elements is not None:
        return value.elements
    constant = value.constant
    if constant is None or constant.dtype.kind not in "iu" or constant.ndim > 1 or constant.size > _LIMIT:
        return None
    return tuple(int(item) for item in constant.reshape(-1))


def _shape(node: Node) -> Value | None:
    value = node.value(0)
    shape = value.shape
    if shape is None:
        return None
    start, end = int(node.attr("start", 0)), node.attr("end", None)
    window = slice(start, None if end is None else int(end))
    if None not in shape[window]:
        return Value(np.array(shape[window], dtype=np.int64))
    return Value.of_elements([_wide(size) for size in _sizes(node, value)[window]])


def _sizes(node: Node, value: Value) -> list[int | Tensor]:
    if not value.is_last:
        return dims(node.tensor(0))
    standing = dims(value.last())
    sizes = [standing[i] for i in first_order(len(standing))]
    return sizes if value.rows is None else [value.rows, *sizes[1:]]


def _wide(size: int | Tensor) -> int | Tensor:
    return size if isinstance(size, int) else tf.cast(size, tf.int64)


def _gather(node: Node) -> Value | None:
    held, index = node.value(0).elements, node.value(1).constant
    if held is None or node.value(0).scalar or index is None or index.ndim > 1:
        return None
    return Value.of_elements([held[int(i)] for i in index.reshape(-1)], scalar=index.ndim == 0)


def _slice(node: Node) -> Value | None:
    held = node.value(0).elements
    bounds = [node.optional_value(i) for i in (1, 2, 4)]
    known = [None if value is None else value.constant for value in bounds]
    if held is None or known[0] is None or known[1] is None or (bounds[2] is not None and known[2] is None):
        return None
    step = 1 if known[2] is None else int(known[2].reshape(-1)[0])
    start, end = int(known[0].reshape(-1)[0]), int(known[1].reshape(-1)[0])
    if step < 1:
        return None
    return Value.of_elements(held[start:end:step]) if held[start:end:step] else Value(np.zeros(0, np.int64))


def _concat(node: Node) -> Value | None:
    parts = [_known(value) for value in node.inputs]
    if any(part is None for part in parts):
        return None
    return Value.of_elements([element for part in parts if part is not None for element in part])


def _arithmetic(node: Node) -> Value | None:
    left, right = node.value(0), node.value(1)
    a, b = _known(left), _known(right)
    if a is None or b is None or (len(a) != len(b) and 1 not in {len(a), len(b)}):
        return None
    size = max(len(a), len(b))
    pairs = zip(a if len(a) == size else a * size, b if len(b) == size else b * size, strict=True)
    scalar = left.shape == () and right.shape == ()
    return Value.of_elements([_ARITHMETIC[node.op](x, y) for x, y in pairs], scalar=scalar)


def _held(node: Node) -> Elements:
    """Return the elements of the first input; none where another input is the one that has elements."""
    return node.value(0).elements or ()


def _cast(node: Node) -> Value | None:
    return node.value(0) if _held(node) and int(node.attr("to", _INT64)) == _INT64 else None


def _identity(node: Node) -> Value | None:
    return node.value(0) if _held(node) else None


def _unsqueeze(node: Node) -> Value | None:
    axes = node.ints("axes", 1) or []
    return Value.of_elements(_held(node)) if node.value(0).scalar and len(axes) == 1 else None


def _squeeze(node: Node) -> Value | None:
    return Value.of_elements(_held(node), scalar=True) if len(_held(node)) == 1 else None


def _reshape(node: Node) -> Value | None:
    target = node.value(1).constant
    if not _held(node) or target is None or target.ndim != 1 or target.size > 1:
        return None
    return Value.of_elements(_held(node), scalar=target.size == 0)


_FOLLOWED: dict[str, Callable[[Node], Value | None]] = {
    "Shape": _shape,
    "Gather": _gather,
    "Slice": _slice,
    "Concat": _concat,
    "Cast": _cast,
    "Identity": _identity,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Reshape": _reshape,
    **dict.fromkeys(_ARITHMETIC, _arithmetic),
}
