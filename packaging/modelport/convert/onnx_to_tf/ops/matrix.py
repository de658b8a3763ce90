"""Matrix products."""

from __future__ import annotations

from typing import Any

import numpy as np

from modelport.convert.onnx_to_tf.dtypes import compute
from modelport.convert.onnx_to_tf.lazy import tf
from modelport.convert.onnx_to_tf.node import Node, as_shape, dims, product
from modelport.convert.onnx_to_tf.ops.elementwise import add
from modelport.convert.onnx_to_tf.registry import lowers
from modelport.convert.onnx_to_tf.value import Tensor


def multiply(left: Tensor, right: Tensor) -> Tensor:
    """Multiply as numpy.matmul does, vectors and broadcast batches included."""
    if left.shape.rank == 1 or right.shape.rank == 1:
        a = left[None, :] if left.shape.rank == 1 else left
        b = right[:, None] if right.shape.rank == 1 else right
        result = multiply(a, b)
        if right.shape.rank == 1:
            result = tf.squeeze(result, -1)
        return tf.squeeze(result, -1 if right.shape.rank == 1 else -2) if left.shape.rank == 1 else result
    if right.shape.rank == 2 and left.shape.rank is not None and left.shape.rank > 2:
        sizes = dims(left)
        rows = tf.reshape(left, as_shape([product(sizes[:-1]), sizes[-1]]))
        return tf.reshape(multiply(rows, right), as_shape([*sizes[:-1], dims(right)[-1]]))
    kernel = "MatMul" if left.shape.rank == 2 == right.shape.rank else "BatchMatMulV2"
    return compute(kernel, tf.matmul, left, right)


@lowers("MatMul")
def _matmul(node: Node) -> Tensor:
    return multiply(node.tensor(0), node.tensor(1))


@lowers("Gemm")
def _gemm(node: Node) -> Tensor:
    alpha, beta = float(node.attr("alpha", 1.0)), float(node.attr("beta", 1.0))
    trans_a, trans_b = bool(node.attr("transA", 0)), bool(node.attr("transB", 0))
    a, b = node.tensor(0), _right(node, trans_b)

    result = compute("MatMul", lambda x, y: tf.matmul(x, y, transpose_a=trans_a), a, b)
    if alpha != 1.0:
        result = _scaled(result, alpha)
    bias = node.optional(2)
    if bias is None or beta == 0.0:
        return result
    return add(result, bias if beta == 1.0 else _scaled(bias, beta))


def _right(node: Node, transposed: bool) -> Tensor:
    """Return the right matrix, turned now where it is a constant."""
    constant = node.value(1).constant
    if not transposed:
        return node.tensor(1)
    if constant is None:
        return tf.transpose(node.tensor(1))
    return node.walk.weights.tensor(node.walk.weights.permuted(constant, [1, 0]))


def _scaled(tensor: Tensor, factor: float) -> Tensor:
    if tensor.dtype.is_floating:
        return tensor * tf.cast(factor, tensor.dtype)
    return tf.cast(tf.cast(tensor, tf.float64) * factor, tensor.dtype)


@lowers("Einsum")
def _einsum(node: Node) -> Tensor:
    equation = node.attr("equation", b"").decode().replace(" ", "")
    tensors = [node.tensor(i) for i in range(len(node.inputs))]
    return compute("Einsum", lambda *given: tf.einsum(equation, *given), *tensors)


@lowers("Det")
def _det(node: Node) -> Tensor:
    return tf.linalg.det(node.tensor(0))


def _zero_point(node: Node, index: int) -> Any:
    point = node.optional(index)
    return np.int32(0) if point is None else tf.cast(point, tf.int32)


@lowers("MatMulInteger")
def _matmul_integer(node: Node) -> Tensor:
    a = tf.cast(node.tensor(0), tf.int32)
    b = tf.cast(node.tensor(1), tf.int32)
    zero_a = _zero_point(node, 2)
    if getattr(zero_a, "shape", ()) != () and zero_a.shape.rank == 1:
        zero_a = zero_a[:, None]
    return multiply(a - zero_a, b - _zero_point(node, 3))
