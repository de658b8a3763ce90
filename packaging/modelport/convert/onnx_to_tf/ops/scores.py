"""From raw scores to what classifiers of ``ai.onnx.ml`` answer: labels, and scores after their transform."""

from __future__ import annotations

from typing import Any

import numpy as np

from modelport.convert.onnx_to_tf.lazy import tf
from modelport.convert.onnx_to_tf.node import Node
from modelport.convert.onnx_to_tf.ops.reduction import softmax
from modelport.convert.onnx_to_tf.value import Tensor


def transform(node: Node, scores: Tensor) -> Tensor:
    """Apply ``post_transform`` to scores, [batch, classes]."""
    how = node.attr("post_transform", b"NONE").decode()
    if how == "LOGISTIC":
        return tf.sigmoid(scores)
    if how == "SOFTMAX":
        return softmax(scores)
    if how == "SOFTMAX_ZERO":
        absent = tf.equal(scores, 0)
        exponent = tf.where(absent, tf.cast(-np.inf, scores.dtype), scores)
        return tf.where(absent, tf.zeros_like(scores), softmax(exponent))
    if how == "PROBIT":
        return tf.math.ndtri(scores)
    return scores


def labels(node: Node, *, ints: str = "classlabels_int64s", strings: str = "classlabels_strings") -> Any:
    """Return the class labels as an array."""
    named = node.attr(strings, None)
    if named:
        return np.array(list(named), dtype=object)
    return np.array(node.attr(ints, None) or [], dtype=np.int64)


def both_classes(node: Node, score: Tensor, *, positive_only: bool) -> tuple[Tensor, Tensor]:
    """Return which of two classes wins and both scores, from the one score of the second class, [batch, 1].

    Args:
        node: The classifier.
        score: The second class's score.
        positive_only: The score is a share of one, not a margin around zero.
    """
    if positive_only:
        return tf.cast(score[:, 0] > 0.5, tf.int32), tf.concat([1 - score, score], 1)
    won = tf.cast(score[:, 0] > 0, tf.int32)
    if node.attr("post_transform", b"NONE") == b"LOGISTIC":
        return won, tf.concat([tf.sigmoid(-score), tf.sigmoid(score)], 1)
    return won, tf.concat([-score, score], 1)
