"""Axes, bounds and steps that the model computes while it runs.

What an op does then depends on numbers that nobody knows while the graph is built; so does the shape of the result,
of which only the rank is kept, and that only where the number of axes is known.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from modelport.convert.onnx_to_tf.lazy import tf
from modelport.convert.onnx_to_tf.node import Node, describe
from modelport.convert.onnx_to_tf.value import Tensor


def is_computed(node: Node, index: int) -> bool:
    """Whether an input is there, and is known only while the model runs."""
    value = node.optional_value(index)
    return value is not None and value.constant is None


def _vector(node: Node, index: int) -> Tensor:
    return tf.reshape(tf.cast(node.tensor(index), tf.int64), [-1])


def _axes(node: Node, index: int, rank: int | Tensor) -> Tensor:
    """Return the axes of an input, counted from the front; the model fails where there is no such axis."""
    axes, rank = _vector(node, index), tf.cast(rank, tf.int64)
    inside = tf.reduce_all(tf.logical_and(axes >= -rank, axes < rank))
    told = [f"{describe(node.op, node.domain, node.name)} names an axis that its input lacks:", axes]
    with tf.control_dependencies([tf.debugging.Assert(inside, told)]):
        return tf.where(axes < 0, axes + rank, axes)


def _of_rank(tensor: Tensor, rank: int, axes: Tensor, each: int) -> Tensor:
    """Return the tensor with its rank noted: `rank`, and `each` more for every axis."""
    if axes.shape[0] is not None:
        tensor.set_shape([None] * (rank + each * axes.shape[0]))
    return tensor


def reduce_at(node: Node, reduce: Callable[[Tensor, Any, bool], Tensor], *, keep: bool) -> Tensor:
    """Reduce the first input over the axes in the second; where that holds none, over all, or over none at all."""
    rank = node.rank()
    axes = _axes(node, 1, rank)
    over = axes
    if not int(node.attr("noop_with_empty_axes", 0)):
        every = tf.where(tf.equal(tf.size(axes), 0), rank, 0)
        over = tf.concat([axes, tf.range(tf.cast(every, tf.int64))], 0)
    # One more dimension, of one, is always summed over: no axes at all would leave out what is done to each element.
    reduced = reduce(tf.expand_dims(node.tensor(0), 0), tf.concat([[0], over + 1], 0), keep)
    if keep:
        return tf.squeeze(reduced, [0])
    return reduced if axes.shape[0] == 0 else _of_rank(reduced, rank, axes, -1)


def squeeze_at(node: Node) -> Tensor:
    """Return the first input without the dimensions, all of size one, that the second names."""
    x, rank = node.tensor(0), node.rank()
    axes = _axes(node, 1, rank)
    dropped = tf.reduce_any(tf.equal(tf.range(rank, dtype=tf.int64)[:, None], axes), 1)
    sizes, told = tf.shape(x), describe(node.op, node.domain, node.name)
    alone = tf.reduce_all(tf.equal(tf.boolean_mask(sizes, dropped), 1))
    with tf.control_dependencies([tf.debugging.Assert(alone, [f"{told} drops a dimension that is not one:", sizes])]):
        squeezed = tf.reshape(x, tf.boolean_mask(sizes, tf.logical_not(dropped)))
    return _of_rank(squeezed, rank, axes, -1)


def unsqueeze_at(node: Node) -> Tensor:
    """Return the first input with dimensions of size one where the second asks for them."""
    x, rank = node.tensor(0), node.rank()
    total = rank + tf.size(_vector(node, 1))
    axes = _axes(node, 1, total)
    kept = tf.reduce_all(tf.not_equal(tf.range(tf.cast(total, tf.int64))[:, None], axes), 1)
    sizes = tf.tensor_scatter_nd_update(tf.ones([total], tf.int32), tf.where(kept), tf.shape(x))
    return _of_rank(tf.reshape(x, sizes), rank, axes, 1)


def slice_at(node: Node) -> Tensor:
    """Cut the first input by the starts, ends, axes and steps in the others."""
    x, rank = node.tensor(0), node.rank()
    far = tf.constant(2**62, tf.int64)
    starts, ends = (tf.clip_by_value(_vector(node, index), -far, far) for index in (1, 2))
    count = tf.size(starts, out_type=tf.int64)
    axes = tf.range(count) if node.optional_value(3) is None else _axes(node, 3, rank)
    steps = tf.ones([count], tf.int64) if node.optional_value(4) is None else _vector(node, 4)

    def along(untouched: Tensor, asked: Tensor) -> Tensor:
        return tf.tensor_scatter_nd_update(untouched, axes[:, None], asked)

    sizes = tf.shape(x, out_type=tf.int64)
    return tf.strided_slice(
        x, along(tf.zeros_like(sizes), starts), along(sizes, ends), along(tf.ones_like(sizes), steps)
    )


def pads_at(node: Node) -> list[Tensor]:
    """Return the pads of every dimension, all that come before and then all that come after, of the axes in input 3."""
    rank = node.rank()
    pairs = tf.transpose(tf.reshape(_vector(node, 1), [2, -1]))
    every = tf.tensor_scatter_nd_update(tf.zeros([rank, 2], tf.int64), _axes(node, 3, rank)[:, None], pairs)
    return tf.unstack(tf.reshape(tf.transpose(every), [-1]), 2 * rank)  # type: ignore[no-any-return]
