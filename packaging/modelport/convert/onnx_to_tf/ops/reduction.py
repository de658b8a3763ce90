"""Sums, means and extremes over axes; softmax and what resembles it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from modelport.convert.onnx_to_tf.dtypes import compute
from modelport.convert.onnx_to_tf.lazy import tf
from modelport.convert.onnx_to_tf.node import Node, as_shape, dims, product
from modelport.convert.onnx_to_tf.ops.computed import is_computed, reduce_at
from modelport.convert.onnx_to_tf.registry import lowers
from modelport.convert.onnx_to_tf.value import Tensor, Value, last_order

Reduce = Callable[[Tensor, Any, bool], Tensor]


def _sum(x: Tensor, axes: Any, keep: bool) -> Tensor:
    return compute("Sum", lambda t: tf.reduce_sum(t, axes, keepdims=keep), x)


def _max(x: Tensor, axes: Any, keep: bool) -> Tensor:
    if x.dtype == tf.bool:
        return tf.reduce_any(x, axes, keepdims=keep)
    return compute("Max", lambda t: tf.reduce_max(t, axes, keepdims=keep), x)


def _min(x: Tensor, axes: Any, keep: bool) -> Tensor:
    if x.dtype == tf.bool:
        return tf.reduce_all(x, axes, keepdims=keep)
    return compute("Min", lambda t: tf.reduce_min(t, axes, keepdims=keep), x)


def _mean(x: Tensor, axes: Any, keep: bool) -> Tensor:
    return compute("Mean", lambda t: tf.reduce_mean(t, axes, keepdims=keep), x)


def _prod(x: Tensor, axes: Any, keep: bool) -> Tensor:
    return compute("Prod", lambda t: tf.reduce_prod(t, axes, keepdims=keep), x)


def _log_sum_exp(x: Tensor, axes: Any, keep: bool) -> Tensor:
    real = x if x.dtype.is_floating else tf.cast(x, tf.float64)
    return tf.cast(tf.reduce_logsumexp(real, axes, keepdims=keep), x.dtype)


def _log_sum(x: Tensor, axes: Any, keep: bool) -> Tensor:
    real = x if x.dtype.is_floating else tf.cast(x, tf.float64)
    return tf.cast(tf.math.log(tf.reduce_sum(real, axes, keepdims=keep)), x.dtype)


def _l2(x: Tensor, axes: Any, keep: bool) -> Tensor:
    real = x if x.dtype.is_floating else tf.cast(x, tf.float64)
    return tf.cast(tf.sqrt(tf.reduce_sum(tf.square(real), axes, keepdims=keep)), x.dtype)


_REDUCTIONS: dict[str, Reduce] = {
    "ReduceSum": _sum,
    "ReduceMax": _max,
    "ReduceMin": _min,
    "ReduceMean": _mean,
    "ReduceProd": _prod,
    "ReduceLogSumExp": _log_sum_exp,
    "ReduceLogSum": _log_sum,
    "ReduceL1": lambda x, axes, keep: _sum(x if x.dtype.is_unsigned else tf.abs(x), axes, keep),
    "ReduceL2": _l2,
    "ReduceSumSquare": lambda x, axes, keep: _sum(tf.square(x), axes, keep),
}


@lowers(*_REDUCTIONS)
def _reduce(node: Node) -> Value:
    reduce = _REDUCTIONS[node.op]
    if is_computed(node, 1):
        return Value(reduce_at(node, reduce, keep=bool(node.attr("keepdims", 1))))
    axes = node.ints("axes", 1)
    if not axes and int(node.attr("noop_with_empty_axes", 0)):
        # No axes: ONNX still applies what comes before and after the sum, element by element.
        unreduced = tf.expand_dims(node.tensor(0), 0)
        return Value(reduce(unreduced, [0], False))
    return reduce_value(node, reduce, axes, bool(node.attr("keepdims", 1)))


def reduce_value(node: Node, reduce: Reduce, axes: list[int] | None, keep: bool) -> Value:
    """Reduce the first input in the order in which it stands, where the result allows that."""
    value = node.value(0)
    rank = node.rank() if axes else 0
    if value.is_last and axes and 0 not in {axis % rank for axis in axes}:
        order = last_order(rank)
        moved = sorted(order.index(axis % rank) for axis in axes)
        if keep:
            return Value(last=reduce(value.last(), moved, True), rows=value.rows)
        left = [axis for axis in order if axis not in {a % rank for a in axes}]
        if left == sorted(left):
            return Value(value.real_rows(reduce(value.last(), moved, False)))
    tensor = node.tensor(0)
    return Value(reduce(tensor, axes or None, keep))


@lowers("GlobalAveragePool", "GlobalMaxPool")
def _global_pool(node: Node) -> Value:
    axes = list(range(2, node.rank()))
    return reduce_value(node, _mean if node.op == "GlobalAveragePool" else _max, axes, keep=True)


@lowers("GlobalLpPool")
def _global_lp_pool(node: Node) -> Value:
    p = float(node.attr("p", 2))
    axes = list(range(2, node.rank()))
    return reduce_value(
        node, lambda x, a, keep: tf.pow(tf.reduce_sum(tf.pow(tf.abs(x), p), a, keepdims=keep), 1 / p), axes, keep=True
    )


@lowers("ArgMax", "ArgMin")
def _arg(node: Node) -> Tensor:
    axis = node.axis(0)
    x = node.tensor(0)
    last = bool(node.attr("select_last_index", 0))
    if last:
        x = tf.reverse(x, [axis])
    kernel, search = ("ArgMax", tf.argmax) if node.op == "ArgMax" else ("ArgMin", tf.argmin)
    found = compute(kernel, lambda t: search(t, axis, output_type=tf.int64), x, restore=False)
    if last:
        found = tf.shape(x, out_type=tf.int64)[axis] - 1 - found
    return tf.expand_dims(found, axis) if int(node.attr("keepdims", 1)) else found


def softmax(x: Tensor, axis: int = -1) -> Tensor:
    """Return the shares along an axis; NaN for all where NaN or infinity stands among them, or nothing but -infinity.

    TensorFlow's own kernel then gives zeros beside the NaN. The largest number minus itself is zero, or else NaN.
    """

    def shares(t: Tensor) -> Tensor:
        largest = tf.reduce_max(t, axis, keepdims=True)
        return tf.nn.softmax(t, axis) + (largest - largest)

    return compute("Softmax", shares, x)


def _hardmax(x: Tensor, axis: int) -> Tensor:
    depth = tf.shape(x)[axis]
    return tf.one_hot(tf.argmax(x, axis), depth, on_value=tf.cast(1, x.dtype), off_value=tf.cast(0, x.dtype), axis=axis)


_SOFTMAX: dict[str, Callable[[Tensor, int], Tensor]] = {
    "Softmax": softmax,
    "LogSoftmax": lambda x, axis: compute("LogSoftmax", lambda t: tf.nn.log_softmax(t, axis), x),
    "Hardmax": _hardmax,
}


@lowers(*_SOFTMAX, since=13)
def _softmax(node: Node) -> Value:
    axis = node.axis(-1)
    value = node.value(0)
    if value.is_last and axis > 0:
        place = last_order(node.rank()).index(axis)
        return Value(last=_SOFTMAX[node.op](value.last(), place), rows=value.rows)
    return Value(_SOFTMAX[node.op](node.tensor(0), axis))


@lowers(*_SOFTMAX)
def _softmax_over_the_rest(node: Node) -> Tensor:
    """Until opset 12 the axis and all after it are taken together."""
    axis = node.axis(1)
    x = node.tensor(0)
    sizes = dims(x)
    rows = tf.reshape(x, as_shape([product(sizes[:axis]), product(sizes[axis:])]))
    return tf.reshape(_SOFTMAX[node.op](rows, 1), as_shape(sizes))


@lowers("CumSum", "CumProd")
def _cumulate(node: Node) -> Tensor:
    axis = tf.reshape(node.tensor(1), [])
    exclusive, reverse = bool(node.attr("exclusive", 0)), bool(node.attr("reverse", 0))
    kernel, run = ("Cumsum", tf.cumsum) if node.op == "CumSum" else ("Cumprod", tf.math.cumprod)
    return compute(kernel, lambda x: run(x, axis, exclusive=exclusive, reverse=reverse), node.tensor(0))
