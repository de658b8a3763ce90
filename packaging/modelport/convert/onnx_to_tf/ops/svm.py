"""Support vector machines of ``ai.onnx.ml``."""

from __future__ import annotations

from typing import Any

import numpy as np

from modelport.convert.onnx_to_tf.lazy import tf
from modelport.convert.onnx_to_tf.node import Node
from modelport.convert.onnx_to_tf.ops.classical import real_rows
from modelport.convert.onnx_to_tf.ops.scores import labels, transform
from modelport.convert.onnx_to_tf.registry import ML, lowers
from modelport.convert.onnx_to_tf.value import Array, Tensor


def _numbers(node: Node, name: str) -> Array:
    return np.array(node.attr(name, None) or [], dtype=np.float64)


def _kernel(node: Node, x: Tensor, vectors: Array) -> Tensor:
    """Return the kernel of each row with each support vector, [batch, vectors], in float64."""
    gamma, coef0, degree = [*_numbers(node, "kernel_params"), 0.0, 0.0, 0.0][:3]
    kind = node.attr("kernel_type", b"LINEAR")
    if kind == b"RBF":
        difference = x[:, None, :] - vectors
        return tf.exp(-gamma * tf.reduce_sum(tf.square(difference), -1))
    dot = tf.matmul(x, vectors.T.copy())
    if kind == b"POLY":
        return tf.pow(gamma * dot + coef0, degree)
    return tf.tanh(gamma * dot + coef0) if kind == b"SIGMOID" else dot


@lowers("SVMRegressor", domain=ML)
def _regressor(node: Node) -> Tensor:
    x = tf.cast(real_rows(node), tf.float64)
    coefficients, rho = _numbers(node, "coefficients"), _numbers(node, "rho")
    count = int(node.attr("n_supports", 0))
    if count:
        given = _kernel(node, x, _numbers(node, "support_vectors").reshape(count, -1))
    else:
        given = _kernel(node, x, coefficients.reshape(1, -1))
    result = tf.matmul(given, coefficients.reshape(-1, 1)) if count else given
    result = result + rho[0]
    if int(node.attr("one_class", 0)):
        result = tf.where(result > 0, tf.ones_like(result), -tf.ones_like(result))
    return tf.cast(transform(node, result), tf.float32)


@lowers("SVMClassifier", domain=ML)
def _classifier(node: Node) -> Any:
    x = tf.cast(real_rows(node), tf.float64)
    names = labels(node, ints="classlabels_ints")
    rho = _numbers(node, "rho")
    per_class = list(node.attr("vectors_per_class", None) or [])
    if not per_class:
        return _linear(node, x, names, rho)
    total = sum(per_class)
    kernel = _kernel(node, x, _numbers(node, "support_vectors").reshape(total, -1))
    margins = _margins(kernel, _numbers(node, "coefficients").reshape(-1, total), per_class, rho)
    votes = _votes(margins, len(per_class))
    if node.attr("prob_a", None):
        a, b = _numbers(node, "prob_a"), _numbers(node, "prob_b")
        chances = _coupled(tf.sigmoid(-(margins * a + b)), len(per_class))
        scores = chances
    else:
        scores = tf.concat([-margins, margins], 1) if len(per_class) == 2 else margins
    return tf.gather(names, tf.argmax(votes, 1)), tf.cast(transform(node, scores), tf.float32)


def _linear(node: Node, x: Tensor, names: Array, rho: Array) -> Any:
    coefficients = _numbers(node, "coefficients").reshape(len(names), -1)
    scores = _kernel(node, x, coefficients) + rho[0]
    return tf.gather(names, tf.argmax(scores, 1)), tf.cast(transform(node, scores), tf.float32)


def _margins(kernel: Tensor, coefficients: Array, per_class: list[int], rho: Array) -> Tensor:
    """Return the decision of each pair of classes, [batch, pairs]: one matrix product, as each pair is linear."""
    starts = np.concatenate([[0], np.cumsum(per_class)])
    columns = []
    for i in range(len(per_class)):
        for j in range(i + 1, len(per_class)):
            column = np.zeros(starts[-1])
            column[starts[i] : starts[i + 1]] = coefficients[j - 1, starts[i] : starts[i + 1]]
            column[starts[j] : starts[j + 1]] = coefficients[i, starts[j] : starts[j + 1]]
            columns.append(column)
    return tf.matmul(kernel, np.stack(columns, 1)) + rho[: len(columns)]


def _pairs(count: int) -> list[tuple[int, int]]:
    return [(i, j) for i in range(count) for j in range(i + 1, count)]


def _votes(margins: Tensor, count: int) -> Tensor:
    won = tf.cast(margins > 0, tf.float64)
    first, second = np.zeros((len(_pairs(count)), count)), np.zeros((len(_pairs(count)), count))
    for place, (i, j) in enumerate(_pairs(count)):
        first[place, i] = second[place, j] = 1
    return tf.matmul(won, first) + tf.matmul(1 - won, second)


def _coupled(chances: Tensor, count: int) -> Tensor:
    """Return class probabilities from those of each pair, by the iteration of Wu, Lin and Weng that libsvm uses.

    Its stopping rule is part of the answer, so every row stops by itself.
    """
    low = 1e-7
    chances = tf.clip_by_value(chances, low, 1 - low)
    place = {pair: k for k, pair in enumerate(_pairs(count))}
    zero = tf.zeros_like(chances[:, 0])
    matrix = [[zero] * count for _ in range(count)]
    for (i, j), k in place.items():
        matrix[i][j], matrix[j][i] = chances[:, k], 1 - chances[:, k]
    r = tf.stack([tf.stack(row, -1) for row in matrix], 1)
    across = tf.transpose(r, [0, 2, 1])
    q = tf.linalg.set_diag(-across * r, tf.reduce_sum(tf.square(across), -1))
    start = tf.ones_like(r[:, 0]) / count

    def residual(p: Tensor) -> tuple[Tensor, Tensor]:
        qp = tf.linalg.matvec(q, p)
        return qp, tf.reduce_sum(p * qp, -1)

    def going(p: Tensor) -> Tensor:
        qp, pqp = residual(p)
        return tf.reduce_max(tf.abs(qp - pqp[:, None]), -1) >= 0.005 / count

    def turn(step: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
        new = p
        qp, pqp = residual(p)
        for t in range(count):
            diagonal = q[:, t, t]
            change = (pqp - qp[:, t]) / diagonal
            new = new + change[:, None] * tf.one_hot(t, count, dtype=new.dtype)
            pqp = (pqp + change * (change * diagonal + 2 * qp[:, t])) / (1 + change) ** 2
            qp = (qp + change[:, None] * q[:, t]) / (1 + change)[:, None]
            new = new / (1 + change)[:, None]
        return step + 1, tf.where(going(p)[:, None], new, p)

    _, p = tf.while_loop(
        lambda step, p: tf.logical_and(step < max(100, count), tf.reduce_any(going(p))), turn, (tf.constant(0), start)
    )
    return p
