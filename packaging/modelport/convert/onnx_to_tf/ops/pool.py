"""Pools, computed with channels last."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from modelport.convert.onnx_to_tf.lazy import tf
from modelport.convert.onnx_to_tf.node import Node, as_shape, dims, product
from modelport.convert.onnx_to_tf.ops.windows import Window, ceil_pads, read_window, spatial_pads
from modelport.convert.onnx_to_tf.registry import lowers
from modelport.convert.onnx_to_tf.value import Tensor, Value


def _window(node: Node) -> tuple[Window, Tensor]:
    x = node.value(0).last() if node.value(0).constant is None else _turned(node)
    spatial = dims(x)[1:-1]
    window = read_window(node, tuple(node.ints("kernel_shape") or ()), spatial)
    pads = ceil_pads(node, window, spatial)
    return Window(window.kernel, window.strides, window.dilations, pads), x


def _turned(node: Node) -> Tensor:
    return tf.transpose(node.tensor(0), [0, *range(2, node.rank()), 1])


def _plain(window: Window) -> bool:
    return len(window.kernel) == 2 and all(d == 1 for d in window.dilations)


def _slid(x: Tensor, window: Window) -> list[Tensor]:
    """Return, for each element of the kernel, what it meets as the kernel slides over the padded `x`."""
    sizes = dims(x)[1:-1]
    counts = [(size - reach) // s + 1 for size, reach, s in zip(sizes, window.reach, window.strides, strict=True)]
    found = []
    for offsets in itertools.product(*[range(0, r, d) for r, d in zip(window.reach, window.dilations, strict=True)]):
        ends = [o + (c - 1) * s + 1 for o, c, s in zip(offsets, counts, window.strides, strict=True)]
        begin, end = [0, *offsets, 0], as_shape([0, *ends, 0])
        edge = 1 | 1 << (len(offsets) + 1)
        found.append(tf.strided_slice(x, begin, end, [1, *window.strides, 1], begin_mask=edge, end_mask=edge))
    return found


@lowers("MaxPool")
def _max_pool(node: Node) -> Any:
    window, x = _window(node)
    lowest = -np.inf if x.dtype.is_floating else x.dtype.min
    padded = tf.pad(x, spatial_pads(window.pads), constant_values=tf.cast(lowest, x.dtype)) if window.is_padded else x
    if node.wants(1):
        return _with_places(node, x, padded, window)
    if _plain(window) and x.dtype.is_floating:
        return Value(last=_largest(padded, window), rows=node.value(0).rows)
    result = _slid(padded, window)
    return Value(last=tf.reduce_max(tf.stack(result), 0) if len(result) > 1 else result[0], rows=node.value(0).rows)


def _largest(x: Tensor, window: Window) -> Tensor:
    """Return the largest of each window, NaN where one is in it: TensorFlow's own kernel passes over NaN.

    It also begins at the lowest finite number, and so finds that among nothing but -infinity.
    """
    largest = tf.nn.max_pool2d(x, window.kernel, window.strides, "VALID")
    largest = tf.where(largest > x.dtype.min, largest, tf.constant(-np.inf, x.dtype))
    spoiled = tf.nn.max_pool2d(tf.cast(tf.math.is_nan(x), x.dtype), window.kernel, window.strides, "VALID")
    return tf.where(spoiled > 0, tf.constant(np.nan, x.dtype), largest)


def _with_places(node: Node, x: Tensor, padded: Tensor, window: Window) -> tuple[Value, Value]:
    """Return the maxima and where each stood, counted over the whole channels-first input."""
    met = tf.stack(_slid(padded, window))
    n, *spatial, c = dims(x)
    column_major = bool(node.attr("storage_order", 0))
    axes = list(reversed(range(len(spatial)))) if not column_major else list(range(len(spatial)))
    place: Any = tf.zeros([1] * (len(spatial) + 2), tf.int64)
    stride: Any = 1
    for axis in axes:
        shape = [1] * (len(spatial) + 2)
        shape[axis + 1] = -1
        place = place + tf.reshape(tf.range(tf.cast(spatial[axis], tf.int64)), shape) * tf.cast(stride, tf.int64)
        stride = stride * spatial[axis]
    area = tf.cast(product(spatial), tf.int64)
    place = place + tf.range(tf.cast(c, tf.int64)) * area
    batch = tf.reshape(tf.range(tf.cast(n, tf.int64)), [-1, *[1] * (len(spatial) + 1)])
    place = place + batch * area * tf.cast(c, tf.int64)
    places = tf.stack(_slid(tf.pad(place, spatial_pads(window.pads)), window))
    best = tf.argmax(met, 0)
    chosen = tf.one_hot(best, tf.shape(met)[0], on_value=True, off_value=False, axis=0)
    found = tf.reduce_sum(tf.where(chosen, places, tf.zeros_like(places)), 0)
    return Value(last=tf.reduce_max(met, 0), rows=node.value(0).rows), Value(last=found, rows=node.value(0).rows)


@lowers("AveragePool")
def _average_pool(node: Node) -> Value:
    window, x = _window(node)
    total = _summed(tf.pad(x, spatial_pads(window.pads)) if window.is_padded else x, window)
    if not window.is_padded:
        return Value(last=total / int(np.prod(window.kernel)), rows=node.value(0).rows)
    ones = tf.ones(as_shape([1, *dims(x)[1:-1], 1]), x.dtype)
    if int(node.attr("count_include_pad", 0)):
        declared = read_window(node, window.kernel, dims(x)[1:-1]).pads
        ones = tf.pad(ones, spatial_pads(declared), constant_values=1)
        extra = [(0, full[1] - own[1]) for full, own in zip(window.pads, declared, strict=True)]
        ones = tf.pad(ones, spatial_pads(tuple(extra)))
    else:
        ones = tf.pad(ones, spatial_pads(window.pads))
    return Value(last=total / _summed(ones, window), rows=node.value(0).rows)


def _summed(x: Tensor, window: Window) -> Tensor:
    if _plain(window) and x.dtype.is_floating:
        mean = tf.nn.avg_pool2d(x, window.kernel, window.strides, "VALID")
        return mean * int(np.prod(window.kernel))
    return tf.add_n(_slid(x, window))


@lowers("LpPool")
def _lp_pool(node: Node) -> Value:
    window, x = _window(node)
    p = float(node.attr("p", 2))
    total = _summed(tf.pad(tf.pow(tf.abs(x), p), spatial_pads(window.pads)), window)
    return Value(last=tf.pow(total, 1 / p), rows=node.value(0).rows)


@lowers("MaxUnpool")
def _max_unpool(node: Node) -> Tensor:
    x = node.tensor(0)
    kernel = node.ints("kernel_shape") or []
    rank = len(kernel)
    strides = node.ints("strides", default=[1] * rank) or []
    pads = node.ints("pads", default=[0] * (2 * rank)) or []
    n, c, *spatial = dims(x)
    sizes = [
        (size - 1) * s - pads[i] - pads[i + rank] + k
        for i, (size, s, k) in enumerate(zip(spatial, strides, kernel, strict=True))
    ]
    flat = tf.scatter_nd(
        tf.reshape(node.tensor(1), [-1, 1]), tf.reshape(x, [-1]), tf.cast(as_shape([product([n, c, *sizes])]), tf.int64)
    )
    result = tf.reshape(flat, as_shape([n, c, *sizes]))
    wanted = node.optional_constant(2, "output_shape")
    if wanted is None:
        return result
    grown = [(0, int(size) - own) for size, own in zip(wanted[2:], sizes, strict=True)]
    return tf.pad(result, [(0, 0), (0, 0), *grown])
