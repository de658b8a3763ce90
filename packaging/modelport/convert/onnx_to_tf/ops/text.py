"""Strings."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable

import numpy as np

from modelport.convert.onnx_to_tf.lazy import tf
from modelport.convert.onnx_to_tf.node import Node
from modelport.convert.onnx_to_tf.ops.vocabulary import find_number, find_text
from modelport.convert.onnx_to_tf.registry import lowers
from modelport.convert.onnx_to_tf.value import Array, Tensor

#: A class of characters, once or several times, then any number of times.
_RUNS = re.compile(r"\[([^\[\]^][^\[\]]*)\](?:\[\1\])*\+")


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
    return x if change is None else _changed(x, change)


def _changed(x: Tensor, change: Callable[..., Tensor]) -> Tensor:
    """Change the case of texts; TensorFlow ends one at its first NUL, so that the parts between are changed."""
    nul = tf.constant(np.array("\0", object))  # numpy's own text would end before it, as would an op's attribute
    parts = tf.strings.split(tf.reshape(x, [-1]), nul)
    ended = parts.with_values(tf.strings.join([change(parts.values, encoding="utf-8"), nul]))
    joined = tf.strings.reduce_join(ended, axis=-1)
    sizes = tf.strings.length(joined) - 1
    return tf.reshape(tf.strings.substr(joined, tf.zeros_like(sizes), sizes), tf.shape(x))


@lowers("Tokenizer", domain="com.microsoft")
def _tokenize(node: Node) -> Tensor:
    """Cut texts into runs of a class of characters: what is none of them is where words end."""
    runs = _RUNS.fullmatch(node.attr("tokenexp", b"").decode())
    if runs is None or _takes_blanks(runs[1]) or node.attr("mark", 0) or node.attr("mincharnum", 1) > 1:
        raise node.fail(
            "its words are no runs of a class of characters without the blank, such as [a-z]+ or [a-z][a-z]+; write "
            "that part with other ops, or give words in place of texts"
        )
    x = node.tensor(0)
    kept = tf.strings.regex_replace(tf.reshape(x, [-1]), f"[^{runs[1]}]+", " ")
    words = tf.strings.split(kept, " ")
    shortest = len(runs[0]) // (len(runs[1]) + 2)
    long_enough = tf.strings.length(words.values, unit="UTF8_CHAR") >= shortest
    words = tf.ragged.boolean_mask(words, words.with_values(long_enough))
    matrix = words.to_tensor(node.attr("pad_value", b""))
    return tf.reshape(matrix, tf.concat([tf.shape(x), tf.shape(matrix)[1:]], 0))


def _takes_blanks(characters: str) -> bool:
    """Tell whether the blank, which is put between words here, is in a class of characters, as RE2 reads it."""
    from tensorflow.python.eager import context  # tf.init_scope does not leave a plain graph

    with context.eager_mode(), tf.device("CPU:0"):
        return bool(tf.strings.regex_full_match(" ", f"[{characters}]"))


@lowers("TfIdfVectorizer")
def _count_ngrams(node: Node) -> Tensor:
    """Count n-grams: words become numbers, n-grams one number each, which is looked for among the pool's."""
    x = node.tensor(0)
    rows = x[None, :] if x.shape.rank == 1 else x
    counts = tf.concat(_found_ngrams(node, rows), 1)
    places = np.array(node.attr("ngram_indexes", []), np.int32)
    mode, weights = node.attr("mode", b""), node.attr("weights", None)
    shown = tf.cast(counts > 0 if mode == b"IDF" else counts, tf.float32)
    if mode != b"TF" and weights:
        shown = shown * np.array(weights, np.float32)
    if len(set(places.tolist())) == int(places.max()) + 1 == len(places):
        result = tf.gather(shown, np.argsort(places), axis=1)
    else:
        result = tf.transpose(tf.math.unsorted_segment_sum(tf.transpose(shown), places, int(places.max()) + 1))
    return result[0] if x.shape.rank == 1 else result


def _found_ngrams(node: Node, rows: Tensor) -> list[Tensor]:
    """Return how often each n-gram of the pool stands in each row: [rows, n-grams] for each n, from one on."""
    starts = [*node.attr("ngram_counts", []), None]
    strings = node.attr("pool_strings", None)
    pool = np.array(list(strings), object) if strings else np.array(node.attr("pool_int64s", []), np.int64)
    different, numbers = np.unique(pool, return_inverse=True)
    place, known = find_text(rows, different) if strings else find_number(tf.cast(rows, tf.int64), different)
    words = tf.where(known, place, np.int64(len(different)))
    base, width = len(different) + 1, tf.shape(rows)[1]
    shortest, longest = int(node.attr("min_gram_length", 1)), int(node.attr("max_gram_length", 1))
    skips = int(node.attr("max_skip_count", 0))
    found = []
    for n, (start, end) in enumerate(itertools.pairwise(starts), start=1):
        ngrams = numbers.reshape(-1)[start:end].reshape(-1, n)
        if not len(ngrams):
            continue
        total = tf.zeros(tf.stack([tf.shape(rows)[0], len(ngrams)]), tf.int32)
        if base**n >= 1 << 63:
            raise node.fail(f"its pool has {len(different)} words, too many for n-grams of {n}")
        powers = np.array([base**k for k in range(n)], np.int64)
        for distance in range(1, (skips if n > 1 else 0) + 2):
            if not shortest <= n <= longest:
                continue
            count = tf.maximum(width - (n - 1) * distance, 0)
            windows = tf.add_n([words[:, k * distance : k * distance + count] * powers[k] for k in range(n)])
            total += _counted(windows, (ngrams * powers).sum(1))
        found.append(total)
    return found


def _counted(windows: Tensor, ngrams: Array) -> Tensor:
    """Return how often each of some whole numbers stands in each row, [rows, numbers]."""
    different, which = np.unique(ngrams, return_inverse=True)
    place, known = find_number(windows, different)
    rows = tf.shape(windows, out_type=tf.int64)[0]
    cells = place + tf.range(rows)[:, None] * len(different)
    flat = tf.math.unsorted_segment_sum(
        tf.reshape(tf.cast(known, tf.int32), [-1]), tf.reshape(cells, [-1]), rows * len(different)
    )
    return tf.gather(tf.reshape(flat, tf.stack([rows, np.int64(len(different))])), which.reshape(-1), axis=1)
