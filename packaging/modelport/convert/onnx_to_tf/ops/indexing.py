"""Picking and placing elements by index."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from modelport.convert.onnx_to_tf.dtypes import compute
from modelport.convert.onnx_to_tf.lazy import tf
from modelport.convert.onnx_to_tf.node import Node, as_shape, dims, product
from modelport.convert.onnx_to_tf.registry import lowers
from modelport.convert.onnx_to_tf.value import Tensor, Value

#: How long the slices may be that `Unique` sorts: each element costs an op.
_SORTED_ELEMENTS = 256


def wrapped(node: Node, index: int, size: int | Tensor) -> Tensor:
    """Return an index input with negative indices counted from the end."""
    constant = node.value(index).constant
    if constant is not None and (isinstance(size, int) or not (constant < 0).any()):
        return tf.constant(np.where(constant < 0, constant + size, constant) if isinstance(size, int) else constant)
    indices = node.tensor(index)
    return tf.where(indices < 0, indices + tf.cast(size, indices.dtype), indices)


@lowers("Gather")
def _gather(node: Node) -> Tensor:
    axis = node.axis(0)
    x = node.tensor(0)
    return tf.gather(x, wrapped(node, 1, dims(x)[axis]), axis=axis)


@lowers("GatherElements")
def _gather_elements(node: Node) -> Tensor:
    axis, rank = node.axis(0), node.rank()
    x = node.tensor(0)
    indices = wrapped(node, 1, dims(x)[axis])
    if rank == 1:
        return tf.gather(x, indices)
    asked = dims(indices)
    lengths = [size if i == axis else asked[i] for i, size in enumerate(dims(x))]
    x = tf.slice(x, [0] * rank, as_shape(lengths))
    order = [*(i for i in range(rank) if i != axis), axis]
    picked = tf.gather(tf.transpose(x, order), tf.transpose(indices, order), batch_dims=rank - 1, axis=rank - 1)
    return tf.transpose(picked, np.argsort(order))


@lowers("GatherND")
def _gather_nd(node: Node) -> Tensor:
    batch = int(node.attr("batch_dims", 0))
    x = node.tensor(0)
    rows = _wrapped_rows(node, 1, x, batch)
    end = batch + rows.shape[-1]

    def nothing() -> Tensor:
        return tf.zeros(tf.concat([tf.shape(rows)[:-1], tf.shape(x)[end:]], 0), x.dtype)

    return _unless_empty(x, end, nothing, lambda: tf.gather_nd(x, rows, batch_dims=batch))


def _unless_empty(x: Tensor, start: int, nothing: Callable[[], Tensor], otherwise: Callable[[], Tensor]) -> Tensor:
    """Return `nothing` where a dimension from `start` on is empty: TensorFlow's kernels refuse rows of no elements."""
    if all(x.shape.as_list()[start:]):
        return otherwise()
    return tf.cond(tf.reduce_all(tf.greater(tf.shape(x)[start:], 0)), otherwise, nothing)


def _wrapped_rows(node: Node, index: int, x: Tensor, batch: int = 0) -> Tensor:
    """Return rows of coordinates with negative ones counted from the end."""
    rows = node.tensor(index)
    width = rows.shape[-1]
    if width is None:
        raise node.fail("the length of its index rows is not known")
    sizes = tf.cast(as_shape(dims(x)[batch : batch + width]), rows.dtype)
    return tf.where(rows < 0, rows + sizes, rows)


@lowers("ScatterND")
def _scatter_nd(node: Node) -> Tensor:
    x = node.tensor(0)
    return _scattered(node, x, _wrapped_rows(node, 1, x), node.tensor(2))


@lowers("ScatterElements", "Scatter")
def _scatter_elements(node: Node) -> Tensor:
    axis, rank = node.axis(0), node.rank()
    x = node.tensor(0)
    indices = wrapped(node, 1, dims(x)[axis])
    grid = tf.meshgrid(
        *[tf.range(tf.cast(size, indices.dtype), dtype=indices.dtype) for size in dims(indices)], indexing="ij"
    )
    grid[axis] = indices
    rows = tf.reshape(tf.stack(grid, -1), [-1, rank])
    return _scattered(node, x, rows, tf.reshape(node.tensor(2), [-1]))


def _scattered(node: Node, x: Tensor, rows: Tensor, updates: Tensor) -> Tensor:
    return _unless_empty(x, rows.shape[-1], lambda: tf.identity(x), lambda: _placed(node, x, rows, updates))


def _placed(node: Node, x: Tensor, rows: Tensor, updates: Tensor) -> Tensor:
    how = node.attr("reduction", b"none").decode()
    if how == "mul":
        return _multiplied(x, rows, updates)
    kernel, name = {
        "none": ("TensorScatterUpdate", "tensor_scatter_nd_update"),
        "add": ("TensorScatterAdd", "tensor_scatter_nd_add"),
        "min": ("TensorScatterMin", "tensor_scatter_nd_min"),
        "max": ("TensorScatterMax", "tensor_scatter_nd_max"),
    }[how]
    return compute(kernel, lambda a, b: getattr(tf, name)(a, rows, b), x, updates)


def _multiplied(x: Tensor, rows: Tensor, updates: Tensor) -> Tensor:
    """Multiply updates in: the product of all that fall on one place, by segments."""
    width = rows.shape[-1]
    sizes = dims(x)
    strides = [product(sizes[i + 1 : width]) for i in range(width)]
    rows = tf.reshape(rows, [-1, width])
    place = tf.add_n([rows[:, i] * tf.cast(stride, rows.dtype) for i, stride in enumerate(strides)])
    inner = as_shape([-1, *sizes[width:]])
    factors = tf.math.unsorted_segment_prod(tf.reshape(updates, inner), place, product(sizes[:width]))
    return x * tf.reshape(factors, as_shape(sizes))


@lowers("TensorScatter")
def _tensor_scatter(node: Node) -> Tensor:
    axis, rank = node.axis(-2), node.rank()
    order = [0, axis, *(i for i in range(1, rank) if i != axis)]
    cache, update = (tf.transpose(node.tensor(i), order) for i in (0, 1))
    batch, size = (tf.cast(length, tf.int64) for length in dims(cache)[:2])
    start = node.optional(2)
    steps = tf.range(tf.cast(dims(update)[1], tf.int64))[None, :]
    places = steps + (tf.zeros([batch, 1], tf.int64) if start is None else start[:, None])
    if node.attr("mode", b"linear") == b"circular":
        places = tf.math.floormod(places, size)
    rows = tf.stack([tf.zeros_like(places) + tf.range(batch)[:, None], places], -1)
    kernel = "TensorScatterUpdate"
    placed = compute(kernel, lambda held, new: tf.tensor_scatter_nd_update(held, rows, new), cache, update)
    return tf.transpose(placed, np.argsort(order))


@lowers("OneHot")
def _one_hot(node: Node) -> Tensor:
    constant = node.value(1).constant
    depth = tf.reshape(tf.cast(node.tensor(1), tf.int32), []) if constant is None else int(constant.reshape(-1)[0])
    off, on = tf.unstack(node.tensor(2), num=2)
    indices = node.tensor(0)
    whole = tf.cast(indices, tf.int64)
    whole = tf.where(whole < 0, whole + tf.cast(depth, tf.int64), whole)
    axis = int(node.attr("axis", -1)) % (node.rank() + 1)
    return tf.one_hot(whole, depth, on_value=on, off_value=off, axis=axis)


@lowers("NonZero")
def _non_zero(node: Node) -> Tensor:
    x = node.tensor(0)
    x = tf.reshape(x, [1]) if x.shape.rank == 0 else x
    return tf.transpose(tf.where(x if x.dtype == tf.bool else tf.not_equal(x, tf.zeros_like(x))))


@lowers("Compress")
def _compress(node: Node) -> Tensor:
    x = node.tensor(0)
    kept = tf.reshape(tf.where(node.tensor(1)), [-1])
    if node.attr("axis", None) is None:
        return tf.gather(tf.reshape(x, [-1]), kept)
    return tf.gather(x, kept, axis=node.axis(0))


@lowers("TopK")
def _top_k(node: Node) -> Any:
    axis, rank = node.axis(-1), node.rank()
    count = node.optional_value(1)
    if count is None:
        k: Any = int(node.attr("k", 1))
    else:
        k = (
            int(count.constant.reshape(-1)[0])
            if count.constant is not None
            else tf.cast(tf.reshape(node.tensor(1), []), tf.int32)
        )
    x = node.tensor(0)
    order = [*(i for i in range(rank) if i != axis), axis]
    moved = x if axis == rank - 1 else tf.transpose(x, order)
    if int(node.attr("largest", 1)):
        values, places = tf.math.top_k(moved, k)
    else:
        flip = tf.negative if x.dtype.is_floating else tf.bitwise.invert
        values, places = tf.math.top_k(flip(moved), k)
        values = flip(values)
    if axis != rank - 1:
        back = np.argsort(order)
        values, places = tf.transpose(values, back), tf.transpose(places, back)
    return Value(values), Value(tf.cast(places, tf.int64))


@lowers("Unique")
def _unique(node: Node) -> Any:
    if node.attr("axis", None) is not None and node.rank() > 1:
        return _unique_slices(node)
    flat = tf.reshape(node.tensor(0), [-1])
    values, where, counts = tf.unique_with_counts(flat, out_idx=tf.int64)
    order = tf.argsort(values) if int(node.attr("sorted", 1)) else tf.range(tf.size(values))
    rank = tf.argsort(order)
    positions = tf.range(tf.size(flat, out_type=tf.int64))
    first = tf.math.unsorted_segment_min(positions, where, tf.size(values))
    back = tf.cast(tf.gather(rank, where), tf.int64)
    return tf.gather(values, order), tf.gather(first, order), back, tf.gather(counts, order)


def _unique_slices(node: Node) -> Any:
    """Return the different slices along an axis, sorted by their elements."""
    axis = node.axis(0)
    x = node.tensor(0)
    values, where, counts = tf.raw_ops.UniqueWithCountsV2(x=x, axis=[axis], out_idx=tf.int64)
    order = _sorted_slices(node, values, axis) if int(node.attr("sorted", 1)) else tf.range(tf.size(counts))
    positions = tf.range(tf.size(where, out_type=tf.int64))
    first = tf.math.unsorted_segment_min(positions, where, tf.size(counts))
    back = tf.cast(tf.gather(tf.argsort(order), where), tf.int64)
    return tf.gather(values, order, axis=axis), tf.gather(first, order), back, tf.gather(counts, order)


def _sorted_slices(node: Node, values: Tensor, axis: int) -> Tensor:
    """Return the order in which slices stand sorted: by their last element, then by the one before it, and so on."""
    sizes = [size for i, size in enumerate(node.value(0).shape or ()) if i != axis]
    length = int(np.prod([size or 0 for size in sizes]))
    if None in sizes or not 0 < length <= _SORTED_ELEMENTS:
        raise node.fail(
            f"it sorts slices, whose number of elements must be known and at most {_SORTED_ELEMENTS}; "
            "export it with sorted=False"
        )
    columns = tf.reshape(tf.transpose(values, [*(i for i in range(node.rank()) if i != axis), axis]), [length, -1])
    order = tf.range(tf.shape(columns)[1])
    for column in reversed(range(length)):
        order = tf.gather(order, tf.argsort(tf.gather(columns[column], order), stable=True))
    return order
