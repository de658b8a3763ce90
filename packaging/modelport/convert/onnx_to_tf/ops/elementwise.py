"""Arithmetic, comparison, logic and element-wise functions."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from modelport.convert.onnx_to_tf.dtypes import compute, tf_dtype
from modelport.convert.onnx_to_tf.layout import spread
from modelport.convert.onnx_to_tf.lazy import tf
from modelport.convert.onnx_to_tf.node import Node
from modelport.convert.onnx_to_tf.registry import lowers
from modelport.convert.onnx_to_tf.value import Tensor, Value

#: ONNX op -> TensorFlow's kernel and the function that calls it, both named in tf or tf.math.
_UNARY = {
    "Abs": ("Abs", "abs"), "Neg": ("Neg", "negative"), "Exp": ("Exp", "exp"), "Log": ("Log", "log"),
    "Sqrt": ("Sqrt", "sqrt"), "Reciprocal": ("Reciprocal", "reciprocal"), "Floor": ("Floor", "floor"),
    "Ceil": ("Ceil", "ceil"), "Round": ("Round", "round"), "Sign": ("Sign", "sign"), "Sin": ("Sin", "sin"),
    "Cos": ("Cos", "cos"), "Tan": ("Tan", "tan"), "Asin": ("Asin", "asin"), "Acos": ("Acos", "acos"),
    "Atan": ("Atan", "atan"), "Sinh": ("Sinh", "sinh"), "Cosh": ("Cosh", "cosh"), "Tanh": ("Tanh", "tanh"),
    "Asinh": ("Asinh", "asinh"), "Acosh": ("Acosh", "acosh"), "Atanh": ("Atanh", "atanh"), "Erf": ("Erf", "erf"),
    "Sigmoid": ("Sigmoid", "sigmoid"), "Softplus": ("Softplus", "softplus"), "Softsign": ("Softsign", "softsign"),
}  # fmt: skip
_BINARY = {
    "Sub": ("Sub", "subtract"), "Mul": ("Mul", "multiply"), "And": ("LogicalAnd", "logical_and"),
    "Or": ("LogicalOr", "logical_or"),
}  # fmt: skip
_COMPARISON = {
    "Equal": ("Equal", "equal"), "Less": ("Less", "less"), "LessOrEqual": ("LessEqual", "less_equal"),
    "Greater": ("Greater", "greater"), "GreaterOrEqual": ("GreaterEqual", "greater_equal"),
}  # fmt: skip
_VARIADIC = {"Max": ("Maximum", "maximum"), "Min": ("Minimum", "minimum"), "Sum": ("AddV2", "add")}
_BITWISE = {
    "BitwiseAnd": "bitwise_and", "BitwiseOr": "bitwise_or", "BitwiseXor": "bitwise_xor",
}  # fmt: skip


def _math(name: str) -> Any:
    return getattr(tf.math, name)


def unary(node: Node, kernel: str, function: Callable[[Tensor], Tensor]) -> Value:
    """Apply a function to the one input, in whichever order its dimensions stand."""
    return spread(node, lambda x: compute(kernel, function, x), [node.value(0)])


def _pair(node: Node) -> list[Value]:
    return [node.value(0), node.value(1)]


@lowers(*_UNARY)
def _unary(node: Node) -> Value:
    kernel, name = _UNARY[node.op]
    dtype = node.value(0).dtype
    if (node.op in {"Floor", "Ceil", "Round"} and not dtype.is_floating) or (node.op == "Abs" and dtype.is_unsigned):
        return node.value(0)
    if node.op == "Sign" and dtype.is_unsigned:
        return spread(node, lambda x: tf.cast(tf.not_equal(x, 0), dtype), [node.value(0)])
    if node.op == "Erf" and dtype == tf.float64:
        # TensorFlow's kernel makes NaN of infinity; from 6 on, the nearest double is 1.
        return spread(node, lambda x: tf.math.erf(tf.clip_by_value(x, -6.0, 6.0)), [node.value(0)])
    return unary(node, kernel, _math(name))


@lowers(*_BINARY)
def _binary(node: Node) -> Value:
    kernel, name = _BINARY[node.op]
    return spread(node, functools.partial(compute, kernel, _math(name)), _pair(node))


@lowers("Add")
def _add(node: Node) -> Value:
    return spread(node, add, _pair(node))


def add(left: Tensor, right: Tensor) -> Tensor:
    """Add; a bias along the last dimension with the op that TensorFlow fuses into a matmul or convolution."""
    for tensor, bias in ((left, right), (right, left)):
        if _is_bias(tensor, bias):
            return tf.nn.bias_add(tensor, tf.reshape(bias, [-1]) if bias.shape.rank > 1 else bias)
    return compute("AddV2", tf.math.add, left, right)


def _is_bias(tensor: Tensor, bias: Tensor) -> bool:
    if tensor.shape.rank is None or not bias.shape.is_fully_defined() or not tensor.dtype.is_floating:
        return False
    size = bias.shape.num_elements()
    return (
        2 <= tensor.shape.rank <= 5
        and 1 <= bias.shape.rank <= tensor.shape.rank
        and bool(bias.shape[-1] == size == tensor.shape[-1])
    )


@lowers(*_COMPARISON)
def _compare(node: Node) -> Value:
    kernel, name = _COMPARISON[node.op]
    return spread(node, functools.partial(compute, kernel, _math(name), restore=False), _pair(node))


@lowers(*_VARIADIC)
def _variadic(node: Node) -> Value:
    kernel, name = _VARIADIC[node.op]
    values = [value for value in node.inputs if value is not None]
    return spread(node, lambda *given: functools.reduce(functools.partial(compute, kernel, _math(name)), given), values)


@lowers("Mean")
def _mean(node: Node) -> Value:
    values = [value for value in node.inputs if value is not None]
    return spread(node, lambda *given: tf.add_n(_same_shape(given)) / len(given), values)


def _same_shape(tensors: tuple[Tensor, ...]) -> list[Tensor]:
    zero = functools.reduce(tf.math.add, [tf.zeros_like(tensor) for tensor in tensors])
    return [tensor + zero for tensor in tensors]


@lowers(*_BITWISE)
def _bitwise(node: Node) -> Value:
    return spread(node, getattr(tf.bitwise, _BITWISE[node.op]), _pair(node))


@lowers("BitwiseNot")
def _bitwise_not(node: Node) -> Value:
    return spread(node, tf.bitwise.invert, [node.value(0)])


@lowers("BitShift")
def _bit_shift(node: Node) -> Value:
    left = node.attr("direction", b"") == b"LEFT"
    move = tf.bitwise.left_shift if left else tf.bitwise.right_shift

    def shift(x: Tensor, by: Tensor) -> Tensor:
        """Shift; what goes beyond the width leaves nothing but the sign, which TensorFlow leaves open."""
        zero = tf.zeros_like(x)
        within = tf.logical_and(by >= 0, by < 8 * x.dtype.size)
        beyond = zero if left else tf.where(x < 0, tf.bitwise.invert(zero), zero)
        return tf.where(within, move(x, tf.where(within, by, tf.zeros_like(by))), beyond)

    return spread(node, shift, _pair(node))


@lowers("Xor")
def _xor(node: Node) -> Value:
    return spread(node, tf.math.not_equal, _pair(node))


@lowers("Not")
def _not(node: Node) -> Value:
    return spread(node, tf.math.logical_not, [node.value(0)])


@lowers("Div")
def _div(node: Node) -> Value:
    if node.value(0).dtype.is_floating:
        return spread(node, functools.partial(compute, "RealDiv", tf.math.divide), _pair(node))
    return spread(node, functools.partial(compute, "TruncateDiv", tf.truncatediv), _pair(node))


@lowers("Mod")
def _mod(node: Node) -> Value:
    if int(node.attr("fmod", 0)) and not node.value(0).dtype.is_unsigned:
        return spread(node, functools.partial(compute, "TruncateMod", tf.truncatemod), _pair(node))
    return spread(node, functools.partial(compute, "FloorMod", tf.math.floormod), _pair(node))


@lowers("Pow")
def _pow(node: Node) -> Value:
    base, exponent = _pair(node)
    if base.dtype == exponent.dtype:
        power = tf.math.pow if base.dtype.is_floating or base.dtype.is_unsigned else _whole_power
        return spread(node, functools.partial(compute, "Pow", power), [base, exponent])
    wide = base.dtype if base.dtype.is_floating else tf.float64
    return spread(
        node, lambda x, y: tf.cast(tf.math.pow(tf.cast(x, wide), tf.cast(y, wide)), base.dtype), [base, exponent]
    )


def _whole_power(x: Tensor, y: Tensor) -> Tensor:
    """Return the power of signed integers, cut to an integer; TensorFlow's own refuses negative exponents."""
    fraction = tf.where(tf.equal(tf.abs(x), 1), tf.math.pow(x, tf.bitwise.bitwise_and(y, 1)), tf.zeros_like(x))
    return tf.where(y < 0, fraction, tf.math.pow(x, tf.maximum(y, 0)))


@lowers("Relu")
def _relu(node: Node) -> Value:
    # Not tf.nn.relu: a server fuses that into the convolution before it, and the fused kernel makes zeros of NaN.
    return unary(node, "Maximum", lambda x: tf.maximum(x, tf.zeros([], x.dtype)))


@lowers("LeakyRelu")
def _leaky_relu(node: Node) -> Value:
    alpha = float(node.attr("alpha", 0.01))
    return unary(node, "LeakyRelu", lambda x: tf.nn.leaky_relu(x, alpha))


@lowers("PRelu")
def _prelu(node: Node) -> Value:
    return spread(node, lambda x, slope: tf.where(x < 0, x * slope, x), _pair(node))


@lowers("Elu")
def _elu(node: Node) -> Value:
    alpha = float(node.attr("alpha", 1.0))
    if alpha == 1.0:
        return unary(node, "Elu", tf.nn.elu)
    return unary(node, "Expm1", lambda x: tf.where(x < 0, alpha * tf.math.expm1(tf.minimum(x, 0)), x))


@lowers("Celu")
def _celu(node: Node) -> Value:
    alpha = float(node.attr("alpha", 1.0))
    return unary(
        node, "Expm1", lambda x: tf.nn.relu(x) + tf.minimum(alpha * tf.math.expm1(x / alpha), tf.zeros_like(x))
    )


@lowers("Selu")
def _selu(node: Node) -> Value:
    alpha = float(node.attr("alpha", 1.6732632423543772))
    gamma = float(node.attr("gamma", 1.0507009873554805))
    return unary(
        node, "Expm1", lambda x: gamma * tf.where(x > 0, x, alpha * tf.math.expm1(tf.minimum(x, tf.zeros_like(x))))
    )


@lowers("Gelu")
def _gelu(node: Node) -> Value:
    approximate = node.attr("approximate", b"none") == b"tanh"
    return unary(node, "Erf", lambda x: tf.nn.gelu(x, approximate=approximate))


@lowers("HardSigmoid")
def _hard_sigmoid(node: Node) -> Value:
    alpha, beta = float(node.attr("alpha", 0.2)), float(node.attr("beta", 0.5))
    return unary(node, "Maximum", lambda x: tf.clip_by_value(alpha * x + beta, 0, 1))


@lowers("HardSwish")
def _hard_swish(node: Node) -> Value:
    return unary(node, "Maximum", lambda x: x * tf.clip_by_value(x / 6 + 0.5, 0, 1))


@lowers("Mish")
def _mish(node: Node) -> Value:
    return unary(node, "Softplus", lambda x: x * tf.tanh(tf.math.softplus(x)))


@lowers("Swish")
def _swish(node: Node) -> Value:
    alpha = float(node.attr("alpha", 1.0))
    return unary(node, "Sigmoid", lambda x: x * tf.sigmoid(alpha * x))


@lowers("ThresholdedRelu")
def _thresholded_relu(node: Node) -> Value:
    alpha = float(node.attr("alpha", 1.0))
    return unary(node, "Maximum", lambda x: tf.where(x > alpha, x, tf.zeros_like(x)))


@lowers("Shrink")
def _shrink(node: Node) -> Value:
    bias, lambd = float(node.attr("bias", 0.0)), float(node.attr("lambd", 0.5))

    def shrink(x: Tensor) -> Tensor:
        real = x if x.dtype.is_floating else tf.cast(x, tf.float32)
        zero = tf.zeros_like(real)
        return tf.cast(tf.where(real < -lambd, real + bias, tf.where(real > lambd, real - bias, zero)), x.dtype)

    return unary(node, "Maximum", shrink)


@lowers("Clip", since=11)
def _clip(node: Node) -> Value:
    low, high = node.optional_value(1), node.optional_value(2)

    def clip(x: Tensor) -> Tensor:
        if low is not None:
            x = compute("Maximum", tf.maximum, x, tf.reshape(node.walk.tensor(low), []))
        return x if high is None else compute("Minimum", tf.minimum, x, tf.reshape(node.walk.tensor(high), []))

    return spread(node, clip, [node.value(0)])


@lowers("Clip")
def _clip_by_attributes(node: Node) -> Value:
    low, high = node.attr("min", -np.inf), node.attr("max", np.inf)
    return unary(node, "Maximum", lambda x: tf.minimum(tf.maximum(x, low), high))


@lowers("IsNaN")
def _is_nan(node: Node) -> Value:
    return spread(node, lambda x: compute("IsNan", tf.math.is_nan, x, restore=False), [node.value(0)])


@lowers("IsInf")
def _is_inf(node: Node) -> Value:
    positive, negative = bool(node.attr("detect_positive", 1)), bool(node.attr("detect_negative", 1))

    def is_inf(x: Tensor) -> Tensor:
        found = tf.math.is_inf(x)
        if not positive:
            found = tf.logical_and(found, x < 0)
        return found if negative else tf.logical_and(found, x > 0)

    return spread(node, is_inf, [node.value(0)])


@lowers("Where")
def _where(node: Node) -> Value:
    return spread(node, tf.where, [node.value(0), node.value(1), node.value(2)])


@lowers("Cast")
def _cast(node: Node) -> Value:
    try:
        target = tf_dtype(int(node.attr("to", 1)))
    except ValueError as error:
        raise node.fail(str(error)) from error
    return _cast_to(node, target)


@lowers("CastLike")
def _cast_like(node: Node) -> Value:
    return _cast_to(node, node.value(1).dtype)


def _cast_to(node: Node, target: Any) -> Value:
    saturate = bool(node.attr("saturate", 1))
    return spread(node, functools.partial(cast, target=target, saturate=saturate), [node.value(0)])


@lowers("BitCast")
def _bit_cast(node: Node) -> Value:
    target, source = tf_dtype(int(node.attr("to", 1))), node.value(0).dtype
    if target == tf.bool or target.size != source.size or tf.string in {source, target}:
        raise node.fail(f"the bits of {source.name} cannot be read as {target.name}")
    return spread(node, lambda x: tf.cast(x, target) if x.dtype == tf.bool else tf.bitcast(x, target), [node.value(0)])


@functools.cache
def _try_cast(source: Any, target: Any) -> None:
    """Raise TypeError for a cast that TensorFlow would refuse, or do otherwise than ONNX, while the model runs."""
    from tensorflow.python.eager import context  # tf.init_scope does not leave a plain graph

    if tf.string in {source, target}:
        return
    try:
        with context.eager_mode():
            tf.cast(tf.constant(np.zeros(1, source.as_numpy_dtype)), target)
    except (tf.errors.UnimplementedError, tf.errors.NotFoundError, TypeError) as error:
        raise TypeError(f"there is no cast from {source.name} to {target.name}") from error


#: The largest numbers of 8-bit floats.
_FLOAT8 = {"float8_e4m3fn": 448.0, "float8_e5m2": 57344.0}
_INT4 = {"int4", "uint4"}


def cast(tensor: Tensor, target: Any, *, saturate: bool = True) -> Tensor:
    """Cast as ONNX does, strings included; 8-bit floats take their largest number for what is beyond it."""
    if tensor.dtype == target:
        return tf.identity(tensor)
    if target.name in _FLOAT8:
        tensor = tensor if tensor.dtype.is_floating else tf.cast(tensor, tf.float64)
        limit = tf.cast(_FLOAT8[target.name], tensor.dtype) if saturate and tensor.dtype.name not in _FLOAT8 else None
        tensor = tensor if limit is None else tf.minimum(tf.maximum(tensor, -limit), limit)
    elif {tensor.dtype.name, target.name} & _INT4:
        return _cast_int4(tensor, target)
    _try_cast(tensor.dtype, target)
    if target == tf.string:
        return _as_string(tensor)
    if tensor.dtype == tf.string:
        wide = target if target in {tf.float32, tf.float64, tf.int32, tf.int64} else tf.float64
        return tf.cast(tf.strings.to_number(tensor, wide), target)
    return tf.cast(tensor, target)


def _as_string(tensor: Tensor) -> Tensor:
    """Write numbers as ONNX Runtime does: real ones with up to eight digits, truth as 1 and 0."""
    if not tensor.dtype.is_floating:
        return tf.as_string(tf.cast(tensor, tf.int32) if tensor.dtype == tf.bool else tensor)
    real = tensor if tensor.dtype.size >= 4 else tf.cast(tensor, tf.float32)
    text = tf.as_string(real, precision=8, shortest=True)
    text = tf.where(tf.math.is_inf(real), tf.where(real > 0, "INF", "-INF"), text)
    return tf.where(tf.math.is_nan(real), "NaN", text)


def _cast_int4(tensor: Tensor, target: Any) -> Tensor:
    """Cast to or from integers of 4 bits, which TensorFlow casts to and from integers only."""
    if tensor.dtype.name in _INT4:
        return cast(tf.cast(tensor, tf.int32), target)
    low = tf.bitwise.bitwise_and(cast(tensor, tf.int32), 15)  # what does not fit loses its higher bits
    return tf.cast(low if target.name == "uint4" else tf.bitwise.bitwise_xor(low, 8) - 8, target)


@lowers("Identity", "Dropout")
def _identity(node: Node) -> Any:
    if node.op == "Identity":
        return node.value(0)
    training = node.optional_value(2)
    if training is not None and (training.constant is None or bool(training.constant)):
        raise node.fail("it is in training mode; export the model in evaluation mode")
    return node.value(0), Value(tf.ones_like(node.tensor(0), dtype=tf.bool)) if node.wants(1) else Value()
