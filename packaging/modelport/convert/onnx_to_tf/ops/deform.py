"""DeformConv: a convolution whose kernel reads between the pixels, at places that the model computes."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from modelport.convert.onnx_to_tf.lazy import tf
from modelport.convert.onnx_to_tf.node import Node, as_shape, dims
from modelport.convert.onnx_to_tf.ops.vision import picked
from modelport.convert.onnx_to_tf.registry import lowers
from modelport.convert.onnx_to_tf.value import Tensor


@lowers("DeformConv")
def _deform_conv(node: Node) -> Tensor:
    kernel = node.tensor(1)
    shape: list[int] = [size for size in node.value(1).shape or () if size is not None]
    if len(shape) != 4:
        raise node.fail("the shape of its kernel must be known and have two spatial dimensions")
    out, per_group, high, wide = shape
    n, groups = dims(node.tensor(0))[0], int(node.attr("group", 1))
    rows, columns = dims(node.tensor(2))[2:]
    read = tf.reshape(_sampled(node, (high, wide)), as_shape([n, groups, per_group * high * wide, rows * columns]))
    weights = tf.reshape(kernel, [groups, out // groups, per_group * high * wide])
    result = tf.reshape(tf.matmul(weights, read), as_shape([n, out, rows, columns]))
    bias = node.optional(3)
    return result if bias is None else result + tf.reshape(bias, [1, -1, 1, 1])


def _sampled(node: Node, kernel: tuple[int, int]) -> Tensor:
    """Return what each element of the kernel reads at each place, zero outside: [n * offset groups, c each, points]."""
    x = node.tensor(0)
    shares, taps = int(node.attr("offset_group", 1)), kernel[0] * kernel[1]
    n, c, *sizes = dims(x)
    offset = node.tensor(2)
    counts = dims(offset)[2:]
    offset = tf.reshape(offset, as_shape([n * shares, taps, 2, *counts]))
    places = [
        tf.reshape(_grid(node, axis, kernel, counts[axis], x.dtype) + offset[:, :, axis], as_shape([n * shares, -1]))
        for axis in (0, 1)
    ]
    pixels = tf.reshape(x, as_shape([n * shares, c // shares, *sizes]))
    lowest = [tf.floor(place) for place in places]
    parts = []
    for steps in itertools.product((0.0, 1.0), repeat=2):
        corner = [low + tf.cast(step, x.dtype) for low, step in zip(lowest, steps, strict=True)]
        near = [1 - tf.abs(place - own) for place, own in zip(places, corner, strict=True)]
        parts.append(picked(pixels, corner, b"zeros", corners=True) * (near[0] * near[1])[:, None])
    found = tf.add_n(parts)
    mask = node.optional(4)
    return found if mask is None else found * tf.reshape(mask, as_shape([n * shares, 1, -1]))


def _grid(node: Node, axis: int, kernel: tuple[int, int], count: int | Tensor, dtype: Any) -> Tensor:
    """Return where the kernel lies along an axis before it is moved: [taps, rows, 1] or [taps, 1, columns]."""
    stride = (node.ints("strides", default=[1, 1]) or [])[axis]
    apart = (node.ints("dilations", default=[1, 1]) or [])[axis]
    before = (node.ints("pads", default=[0] * 4) or [])[axis]
    elements = np.indices(kernel)[axis].reshape(-1, 1) * apart - before
    along = tf.cast(tf.range(count) * stride + elements, dtype)
    return along[:, :, None] if axis == 0 else along[:, None, :]
