"""Normalizations."""

from __future__ import annotations

from typing import Any

import numpy as np

from modelport.convert.onnx_to_tf.layout import channel_constant, standing
from modelport.convert.onnx_to_tf.lazy import tf
from modelport.convert.onnx_to_tf.node import Node, as_shape, dims
from modelport.convert.onnx_to_tf.ops.elementwise import add
from modelport.convert.onnx_to_tf.registry import lowers
from modelport.convert.onnx_to_tf.value import Tensor, Value


@lowers("BatchNormalization")
def _batch_norm(node: Node) -> Value:
    if int(node.attr("training_mode", 0)):
        raise node.fail("it is in training mode; export the model in evaluation mode")
    epsilon = float(node.attr("epsilon", 1e-5))
    value, rank = node.value(0), node.rank()
    x, wrap = standing(node, value)
    parts = [node.value(i).constant for i in range(1, 5)]
    factor: Any
    offset: Any
    if any(part is None for part in parts):
        scale, bias, mean, var = (tf.cast(node.tensor(i), x.dtype) for i in range(1, 5))
        factor = scale * tf.math.rsqrt(var + tf.cast(epsilon, x.dtype))
        offset = bias - mean * factor
        if not value.is_last:
            shape = [-1, *[1] * max(rank - 2, 0)]
            factor, offset = tf.reshape(factor, shape), tf.reshape(offset, shape)
        return wrap(x * factor + offset)  # type: ignore[no-any-return]
    scale, bias, mean, var = (np.asarray(part, np.float64) for part in parts)
    dtype = x.dtype.as_numpy_dtype
    factor = (scale / np.sqrt(var + epsilon)).astype(dtype)
    offset = (bias - mean * scale / np.sqrt(var + epsilon)).astype(dtype)
    if not value.is_last:
        factor, offset = channel_constant(factor, rank), channel_constant(offset, rank)
    return wrap(add(x * tf.constant(factor), tf.constant(offset)))  # type: ignore[no-any-return]


@lowers("LayerNormalization")
def _layer_norm(node: Node) -> Any:
    axis, rank = node.axis(-1), node.rank()
    x = node.tensor(0)
    wide = tf.float32 if x.dtype.size < 4 and int(node.attr("stash_type", 1)) == 1 else x.dtype
    centred, mean, inverse = _centred(tf.cast(x, wide), list(range(axis, rank)), float(node.attr("epsilon", 1e-5)))
    result = tf.cast(centred * inverse, x.dtype) * node.tensor(1)
    bias = node.optional(2)
    if bias is not None:
        result = add(result, bias)
    return result, mean, inverse


@lowers("RMSNormalization")
def _rms_norm(node: Node) -> Tensor:
    axis, rank = node.axis(-1), node.rank()
    x = node.tensor(0)
    wide = tf.float32 if x.dtype.size < 4 and int(node.attr("stash_type", 1)) == 1 else x.dtype
    real = tf.cast(x, wide)
    mean = tf.reduce_mean(tf.square(real), list(range(axis, rank)), keepdims=True)
    inverse = tf.math.rsqrt(mean + tf.cast(float(node.attr("epsilon", 1e-5)), wide))
    return tf.cast(real * inverse, x.dtype) * node.tensor(1)


def _centred(x: Tensor, axes: list[int], epsilon: float) -> tuple[Tensor, Tensor, Tensor]:
    mean = tf.reduce_mean(x, axes, keepdims=True)
    centred = x - mean
    variance = tf.reduce_mean(tf.square(centred), axes, keepdims=True)
    return centred, mean, tf.math.rsqrt(variance + tf.cast(epsilon, x.dtype))


@lowers("InstanceNormalization")
def _instance_norm(node: Node) -> Value:
    value, rank = node.value(0), node.rank()
    x, wrap = standing(node, value)
    axes = list(range(1, rank - 1)) if value.is_last else list(range(2, rank))
    centred, _, inverse = _centred(x, axes, float(node.attr("epsilon", 1e-5)))
    shape = [-1] if value.is_last else [-1, *[1] * (rank - 2)]
    scale, bias = (tf.reshape(node.tensor(i), shape) for i in (1, 2))
    return wrap(centred * inverse * scale + bias)  # type: ignore[no-any-return]


@lowers("GroupNormalization", since=18)
def _group_norm(node: Node) -> Tensor:
    groups = int(node.attr("num_groups", 1))
    x = node.tensor(0)
    sizes = dims(x)
    channels = sizes[1]
    grouped = tf.reshape(x, as_shape([sizes[0], groups, channels // groups, *sizes[2:]]))
    per_group = node.version < 21
    wide = tf.float32 if x.dtype.size < 4 else x.dtype
    epsilon = float(node.attr("epsilon", 1e-5))
    centred, _, inverse = _centred(tf.cast(grouped, wide), list(range(2, len(sizes) + 1)), epsilon)
    result = tf.cast(centred * inverse, x.dtype)
    shape = [groups if per_group else channels, *[1] * (len(sizes) - 1 if per_group else len(sizes) - 2)]
    scale, bias = (tf.reshape(node.tensor(i), as_shape(shape)) for i in (1, 2))
    if per_group:
        return tf.reshape(result * scale + bias, as_shape(sizes))
    return tf.reshape(result, as_shape(sizes)) * scale + bias


@lowers("LpNormalization")
def _lp_norm(node: Node) -> Tensor:
    axis = node.axis(-1)
    x = node.tensor(0)
    norm = tf.norm(x, ord=int(node.attr("p", 2)), axis=axis, keepdims=True)
    return tf.math.divide_no_nan(x, norm)


@lowers("LRN")
def _local_response(node: Node) -> Value:
    size = int(node.attr("size", 1))
    alpha, beta, bias = (float(node.attr(name, d)) for name, d in (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0)))
    x = node.value(0).last()
    channels = dims(x)[-1]
    squares = tf.pad(tf.square(x), [*[(0, 0)] * (x.shape.rank - 1), ((size - 1) // 2, size // 2)])
    total = tf.add_n([squares[..., i : i + channels] for i in range(size)])
    return Value(last=x / tf.pow(bias + alpha / size * total, beta), rows=node.value(0).rows)
