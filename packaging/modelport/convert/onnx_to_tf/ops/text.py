"""Strings."""

from __future__ import annotations

import itertools

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
    if limit == 0:
        raise node.fail("it splits nothing (maxsplit is 0), which to TensorFlow means no limit")
    parts = tf.strings.split(tf.reshape(x, [-1]), sep=separator or None, maxsplit=limit)
    if not separator:  # what is split at white space is never empty; TensorFlow leaves such a rest at the limit
        parts = tf.ragged.boolean_mask(parts, tf.not_equal(parts, ""))
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


@lowers("TfIdfVectorizer")
def _count_ngrams(node: Node) -> Tensor:
    """Count n-grams by comparing each window of the input with each n-gram of the pool."""
    x = node.tensor(0)
    rows = x[None, :] if x.shape.rank == 1 else x
    width = rows.shape[1]
    if width is None:
        raise node.fail("the number of words in a row is not known")
    counts = tf.concat(_found_ngrams(node, rows, int(width)), 1)
    places = np.array(node.attr("ngram_indexes", []), np.int32)
    mode, weights = node.attr("mode", b""), node.attr("weights", None)
    shown = tf.cast(counts > 0 if mode == b"IDF" else counts, tf.float32)
    if mode != b"TF" and weights:
        shown = shown * np.array(weights, np.float32)
    result = tf.transpose(tf.math.unsorted_segment_sum(tf.transpose(shown), places, int(places.max()) + 1))
    return result[0] if x.shape.rank == 1 else result


def _found_ngrams(node: Node, rows: Tensor, width: int) -> list[Tensor]:
    """Return how often each n-gram of the pool stands in each row: [rows, n-grams] for each n, from one on."""
    starts = [*node.attr("ngram_counts", []), None]
    strings = node.attr("pool_strings", None)
    pool = np.array(list(strings), object) if strings else np.array(node.attr("pool_int64s", []), np.int64)
    words = rows if strings else tf.cast(rows, tf.int64)
    shortest, longest = int(node.attr("min_gram_length", 1)), int(node.attr("max_gram_length", 1))
    skips = int(node.attr("max_skip_count", 0))
    found = []
    for n, (start, end) in enumerate(itertools.pairwise(starts), start=1):
        ngrams = pool[start:end].reshape(-1, n)
        total = tf.zeros(tf.stack([tf.shape(rows)[0], len(ngrams)]), tf.int32)
        for distance in range(1, (skips if n > 1 else 0) + 2):
            count = width - (n - 1) * distance
            if count < 1 or not shortest <= n <= longest or not len(ngrams):
                continue
            steps = np.arange(count)[:, None] + distance * np.arange(n)
            same = tf.reduce_all(tf.equal(tf.gather(words, steps, axis=1)[:, :, None, :], ngrams), -1)
            total += tf.reduce_sum(tf.cast(same, tf.int32), 1)
        found.append(total)
    return found
