"""Quantized models: the ops that go to small integers and back, and those that compute on them."""

from __future__ import annotations

from typing import Any

from modelport.convert.onnx_to_tf.dtypes import tf_dtype
from modelport.convert.onnx_to_tf.lazy import tf
from modelport.convert.onnx_to_tf.node import Node, dims
from modelport.convert.onnx_to_tf.ops.conv import convolve
from modelport.convert.onnx_to_tf.ops.elementwise import cast
from modelport.convert.onnx_to_tf.ops.matrix import multiply
from modelport.convert.onnx_to_tf.ops.windows import read_window
from modelport.convert.onnx_to_tf.registry import lowers
from modelport.convert.onnx_to_tf.value import Tensor, Value

_INTEGERS = ("int8", "uint8", "int16", "uint16", "int32")
_INT4 = {"int4": (-8, 7), "uint4": (0, 15)}
_FLOAT8 = ("float8_e4m3fn", "float8_e5m2")
_KNOWN = {*_INTEGERS, *_INT4, *_FLOAT8}


def _along(node: Node, parameter: Tensor, x: Tensor) -> Tensor:
    """Return a scale or zero point shaped to broadcast against `x`: one for all, per axis, or per block."""
    if parameter.shape.rank == 0 or parameter.shape.num_elements() == 1:
        return tf.reshape(parameter, [])
    axis = int(node.attr("axis", 1)) % x.shape.rank
    if parameter.shape.rank == 1:
        return tf.reshape(parameter, [-1 if i == axis else 1 for i in range(x.shape.rank)])
    block = int(node.attr("block_size", 0))
    if not block:
        return parameter
    return tf.gather(parameter, tf.range(dims(x)[axis]) // block, axis=axis)


def _quantized(scaled: Tensor, zero: Tensor | None, target: Any) -> Tensor:
    rounded = tf.round(scaled)
    if zero is not None:
        rounded = rounded + cast(zero, rounded.dtype)
    low, high = _INT4.get(target.name) or (target.min, target.max)
    return cast(tf.clip_by_value(rounded, float(low), float(high)), target)


@lowers("QuantizeLinear")
def _quantize(node: Node) -> Tensor:
    x = node.tensor(0)
    scale, zero = node.tensor(1), node.optional(2)
    asked = int(node.attr("output_dtype", 0))
    target = zero.dtype if zero is not None else tf_dtype(asked) if asked else tf.uint8
    if target.name not in _KNOWN:
        raise node.fail(f"it quantizes to {target.name}; TensorFlow computes with {', '.join(sorted(_KNOWN))}")
    x = x if x.dtype.is_floating and x.dtype.size >= 4 else tf.cast(x, tf.float32)
    scaled = x / tf.cast(_along(node, scale, x), x.dtype)
    if target.name in _FLOAT8:
        return cast(scaled, target, saturate=bool(node.attr("saturate", 1)))
    return _quantized(scaled, None if zero is None else _along(node, zero, x), target)


@lowers("DequantizeLinear")
def _dequantize(node: Node) -> Tensor:
    x, scale, zero = node.tensor(0), node.tensor(1), node.optional(2)
    if x.dtype.name not in _KNOWN:
        raise node.fail(f"it reads {x.dtype.name}; TensorFlow computes with {', '.join(sorted(_KNOWN))}")
    middle = tf.float32 if x.dtype.name in _FLOAT8 else tf.int32
    wide = tf.cast(x, middle)
    if zero is not None:
        wide = wide - _along(node, tf.cast(zero, middle), x)
    asked = int(node.attr("output_dtype", 0))
    result = tf.cast(wide, tf.float32) * tf.cast(_along(node, scale, x), tf.float32)
    return tf.cast(result, tf_dtype(asked) if asked else scale.dtype)


@lowers("DynamicQuantizeLinear")
def _dynamic_quantize(node: Node) -> tuple[Tensor, Tensor, Tensor]:
    x = node.tensor(0)
    low, high = tf.minimum(tf.reduce_min(x), 0.0), tf.maximum(tf.reduce_max(x), 0.0)
    scale = (high - low) / 255.0
    scale = tf.where(tf.equal(scale, 0), tf.ones_like(scale), scale)
    zero = tf.cast(tf.clip_by_value(tf.round(-low / scale), 0.0, 255.0), tf.uint8)
    return _quantized(x / scale, zero, tf.uint8), scale, zero


def _centred(node: Node, index: int, zero_index: int, *, column: bool = False) -> Tensor:
    """Return a quantized input minus its zero point, in int32."""
    x = tf.cast(node.tensor(index), tf.int32)
    zero = node.optional(zero_index)
    if zero is None:
        return x
    zero = tf.cast(zero, tf.int32)
    if column and zero.shape.rank == 1:
        zero = zero[:, None]
    return x - zero


@lowers("QLinearMatMul")
def _matmul(node: Node) -> Tensor:
    product = multiply(_centred(node, 0, 2, column=True), _centred(node, 3, 5))
    factor = tf.cast(node.tensor(1), tf.float32) * tf.cast(node.tensor(4), tf.float32)
    factor = factor / tf.cast(node.tensor(6), tf.float32)
    zero = node.tensor(7)
    return _quantized(tf.cast(product, tf.float32) * factor, zero, zero.dtype)


def _convolved(node: Node, kernel: int, zeros: tuple[int, int]) -> Tensor:
    """Convolve in float64, which holds every sum of products of 8-bit numbers exactly; channels last."""
    x = tf.cast(_centred(node, 0, zeros[0]), tf.float64)
    weights = tf.cast(node.tensor(kernel), tf.float64)
    zero = node.optional(zeros[1])
    if zero is not None:
        zero = tf.cast(zero, tf.float64)
        weights = weights - (tf.reshape(zero, [-1, *[1] * (weights.shape.rank - 1)]) if zero.shape.rank == 1 else zero)
    turned = Value(x)
    plain = node.having()
    plain.inputs = (turned, Value(weights))
    window = read_window(node, tuple(weights.shape.as_list()[2:]), dims(x)[2:])
    result = convolve(plain, turned.last(), 1, int(node.attr("group", 1)), window)
    return Value(last=result, rows=turned.rows).plain()


@lowers("ConvInteger")
def _conv_integer(node: Node) -> Tensor:
    return tf.cast(_convolved(node, 1, (2, 3)), tf.int32)


@lowers("QLinearConv")
def _conv(node: Node) -> Tensor:
    result = _convolved(node, 3, (2, 5))
    per_channel = [1, -1, *[1] * (result.shape.rank - 2)]
    bias = node.optional(8)
    if bias is not None:
        result = result + tf.reshape(tf.cast(bias, result.dtype), per_channel)
    factor = node.tensor(1) * node.tensor(4) / node.tensor(6)
    factor = tf.reshape(factor, per_channel) if factor.shape.rank == 1 else factor
    zero = node.tensor(7)
    return _quantized(tf.cast(result, tf.float32) * factor, zero, zero.dtype)
