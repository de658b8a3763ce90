"""Convolutions, all computed with channels last, which is what TensorFlow's CPU kernels want."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from modelport.convert.onnx_to_tf.lazy import tf
from modelport.convert.onnx_to_tf.node import Node, any_size, as_shape, at_least_zero, dims
from modelport.convert.onnx_to_tf.ops.windows import Window, read_window, spatial_pads
from modelport.convert.onnx_to_tf.registry import lowers
from modelport.convert.onnx_to_tf.value import Array, Tensor, Value


@lowers("Conv")
def _conv(node: Node) -> Value:
    value = node.value(0)
    x = _last(node, value)
    shape = node.value(1).shape
    if shape is None or None in shape:
        raise node.fail("the shape of its kernel is not known")
    window = read_window(node, tuple(int(k) for k in shape[2:] if k is not None), dims(x)[1:-1])
    result = convolve(node, x, 1, int(node.attr("group", 1)), window)
    bias = node.optional(2)
    return Value(last=result if bias is None else tf.nn.bias_add(result, bias), rows=node.value(0).rows)


def _last(node: Node, value: Value) -> Tensor:
    if value.constant is None:
        return value.last()
    rank = value.constant.ndim
    return node.walk.weights.tensor(node.walk.weights.permuted(value.constant, [0, *range(2, rank), 1]))


def kernel_last(node: Node, index: int, first: int = 1) -> Tensor:
    """Return a kernel with its spatial dimensions first, then those at `first` and at the other of 0 and 1."""
    value = node.value(index)
    order = [*range(2, node.rank(index)), first, 1 - first]
    if value.constant is None:
        return tf.transpose(node.tensor(index), order)
    return node.walk.weights.tensor(node.walk.weights.permuted(value.constant, order))


def convolve(node: Node, x: Tensor, index: int, groups: int, window: Window) -> Tensor:
    """Convolve a channels-last tensor with the kernel at input `index`, in one to three spatial dimensions."""
    rank = len(window.kernel)
    if not window.is_fixed:
        x, window = tf.pad(x, spatial_pads(window.pads)), window.without_pads()
    if rank == 1:
        x, window = tf.expand_dims(x, 1), _lifted(window)
        kernel = tf.expand_dims(kernel_last(node, index), 0)
        return tf.squeeze(_convolve_2d(x, kernel, groups, window), 1)
    if rank == 2:
        return _convolve_2d(x, kernel_last(node, index), groups, window)
    if rank == 3:
        return _convolve_3d(node, x, index, groups, window)
    raise node.fail(f"it has {rank} spatial dimensions; TensorFlow has kernels for one to three")


def _lifted(window: Window) -> Window:
    return Window((1, *window.kernel), (1, *window.strides), (1, *window.dilations), ((0, 0), *window.pads))


def _convolve_2d(x: Tensor, kernel: Tensor, groups: int, window: Window) -> Tensor:
    height, width, per_group, out = kernel.shape.as_list()
    padding: Any = "SAME" if window.is_same else spatial_pads(window.pads)
    if not window.is_padded:
        padding = "VALID"
    even = window.strides[0] == window.strides[1] and window.dilations == (1, 1)
    if groups > 1 and per_group == 1 and even:
        # ONNX counts the outputs of one input channel together, and so does TensorFlow.
        depthwise = tf.reshape(kernel, [height, width, groups, out // groups])
        if not isinstance(padding, str):
            # Grappler fuses the bias into the op, forgets its explicit padding, and ends the process.
            x, padding = tf.pad(x, padding), "VALID"
        return tf.nn.depthwise_conv2d(x, depthwise, [1, *window.strides, 1], padding)
    return tf.nn.conv2d(x, kernel, window.strides, padding, dilations=window.dilations)


def _convolve_3d(node: Node, x: Tensor, index: int, groups: int, window: Window) -> Tensor:
    kernel = _dilated(node, kernel_last(node, index), index, window)
    x = tf.pad(x, spatial_pads(window.pads))
    parts = [*zip(tf.split(x, groups, -1), tf.split(kernel, groups, -1), strict=True)]
    if kernel.shape[3] == 1 and len(set(window.strides)) > 1:
        # A channel of zeros more: oneDNN goes wrong with one where such strides leave a dimension of one.
        parts = [
            (tf.concat([part, tf.zeros_like(part)], -1), tf.concat([weight, tf.zeros_like(weight)], 3))
            for part, weight in parts
        ]
    done = [tf.nn.conv3d(part, weight, [1, *window.strides, 1], "VALID") for part, weight in parts]
    return done[0] if groups == 1 else tf.concat(done, -1)


def _dilated(node: Node, kernel: Tensor, index: int, window: Window) -> Tensor:
    """Return the kernel with zeros between its elements, where TensorFlow's CPU kernel knows no dilation."""
    if all(d == 1 for d in window.dilations):
        return kernel
    array: Array = node.constant(index, "kernel")
    wide = np.zeros((*array.shape[:2], *window.reach), array.dtype)
    wide[(slice(None), slice(None), *(slice(None, None, d) for d in window.dilations))] = array
    order = [*range(2, array.ndim), *((1, 0) if kernel.shape[-1] == array.shape[0] else (0, 1))]
    return tf.constant(wide.transpose(order))


@lowers("ConvTranspose")
def _conv_transpose(node: Node) -> Value:
    x = _last(node, node.value(0))
    shape = node.value(1).shape
    if shape is None or None in shape:
        raise node.fail("the shape of its kernel is not known")
    kernel_sizes = tuple(int(k) for k in shape[2:] if k is not None)
    rank, groups = len(kernel_sizes), int(node.attr("group", 1))
    strides = tuple(node.ints("strides", default=[1] * rank) or ())
    dilations = tuple(node.ints("dilations", default=[1] * rank) or ())
    window = Window(kernel_sizes, strides, dilations, ((0, 0),) * rank)
    kernel = _dilated(node, kernel_last(node, 1), 1, window)
    if rank == 1:
        x, kernel, window = tf.expand_dims(x, 1), tf.expand_dims(kernel, 0), _lifted(window)
    full = _spread_out(x, kernel, groups, window)
    if rank == 1:
        full = tf.squeeze(full, 1)
    result = _trimmed(node, full, dims(x)[-1 - rank : -1], strides)
    bias = node.optional(2)
    return Value(last=result if bias is None else tf.nn.bias_add(result, bias), rows=node.value(0).rows)


def _spread_out(x: Tensor, kernel: Tensor, groups: int, window: Window) -> Tensor:
    """Return the transposed convolution without any padding, per group: the CPU kernels know no groups."""
    sizes = dims(x)
    reach = window.reach
    full = [(size - 1) * s + r for size, s, r in zip(sizes[1:-1], window.strides, reach, strict=True)]
    run = tf.nn.conv2d_transpose if len(reach) == 2 else tf.nn.conv3d_transpose
    out = kernel.shape[-2]
    parts = zip(tf.split(x, groups, -1), tf.split(kernel, groups, -1), strict=True)
    done = [
        run(part, weight, as_shape([sizes[0], *full, out]), list(window.strides), "VALID") for part, weight in parts
    ]
    return done[0] if groups == 1 else tf.concat(done, -1)


def _trimmed(node: Node, full: Tensor, spatial: Sequence[int | Tensor], strides: tuple[int, ...]) -> Tensor:
    """Cut the pads away and add what ``output_padding`` or ``output_shape`` ask for."""
    rank = len(strides)
    extra = node.ints("output_padding", default=[0] * rank) or []
    pads = node.ints("pads", default=[0] * (2 * rank)) or []
    wanted = node.ints("output_shape")
    auto = node.attr("auto_pad", b"NOTSET")
    sizes = dims(full)[1:-1]
    begin: list[Any] = []
    length: list[Any] = []
    grow: list[tuple[int, Any]] = []
    for i, size in enumerate(sizes):
        target = wanted[-rank:][i] if wanted else None
        if target is None and auto in {b"SAME_UPPER", b"SAME_LOWER"}:
            target = spatial[i] * strides[i]
        if target is None:
            low, keep, more = pads[i], size + extra[i] - pads[i] - pads[i + rank], extra[i] - pads[i + rank]
        else:
            total = at_least_zero(size + extra[i] - target)
            low, keep = total // 2 if auto == b"SAME_UPPER" else total - total // 2, target
            more = low + keep - size
        grow.append((0, at_least_zero(more)))
        begin.append(low)
        length.append(keep)
    padded = tf.pad(full, spatial_pads(tuple(grow))) if any(any_size(pair) for pair in grow) else full
    if not any_size(begin) and all(
        isinstance(a, int) and isinstance(b, int) and a == b for a, b in zip(length, dims(padded)[1:-1], strict=True)
    ):
        return padded
    return tf.slice(padded, as_shape([0, *begin, 0]), as_shape([-1, *length, full.shape[-1]]))
