"""Strings."""

from __future__ import annotations

import numpy as np

from modelport.convert.onnx_to_tf.lazy import tf
from modelport.convert.onnx_to_tf.node import Node
from modelport.convert.onnx_to_tf.registry import lowers
from modelport.convert.onnx_to_tf.value import Tensor


@lowers("StringConcat")
def _concat(node: Node) -> Tensor:
    first, second = node.tensor(0), node.tensor(1)
    shape = tf.broadcast_dynamic_shape(tf.shape(first), tf.shape(second))  # a join broadcasts scalars alone
    return tf.strings.join([tf.broadcast_to(first, shape), tf.broadcast_to(second, shape)])


@lowers("RegexFullMatch")
def _full_match(node: Node) -> Tensor:
    return tf.strings.regex_full_match(node.tensor(0), node.attr("pattern", b"").decode())


@lowers("StringSplit")
def _split(node: Node) -> tuple[Tensor, Tensor]:
    x = node.tensor(0)
    separator, limit = node.attr("delimiter", b"").decode(), int(node.attr("maxsplit", -1))
    parts = tf.strings.split(tf.reshape(x, [-1]), sep=separator or None, maxsplit=limit)
    shape = tf.shape(x)
    width = tf.cast(parts.bounding_shape()[1], tf.int32)
    whole = tf.reshape(parts.to_tensor(""), tf.concat([shape, [width]], 0))
    return whole, tf.reshape(parts.row_lengths(), shape)


@lowers("StringNormalizer")
def _normalize(node: Node) -> Tensor:
    x = node.tensor(0)
    stopwords = np.array(list(node.attr("stopwords", [])), dtype=object)
    change = {b"LOWER": tf.strings.lower, b"UPPER": tf.strings.upper}.get(node.attr("case_change_action", b"NONE"))
    sensitive = bool(node.attr("is_case_sensitive", 0))
    if stopwords.size:
        if x.shape.rank == 2 and x.shape[0] != 1:
            raise node.fail("stop words leave rows of different lengths; TensorFlow's tensors have one length")
        words = tf.reshape(x, [-1])
        compared = words if sensitive else tf.strings.lower(words, encoding="utf-8")
        stops = stopwords if sensitive else np.array([word.lower() for word in stopwords], dtype=object)
        kept = tf.boolean_mask(words, tf.logical_not(tf.reduce_any(tf.equal(compared[:, None], stops), 1)))
        words = tf.cond(tf.size(kept) > 0, lambda: kept, lambda: tf.constant([""]))
        x = words if x.shape.rank == 1 else words[None, :]
    return x if change is None else change(x, encoding="utf-8")
