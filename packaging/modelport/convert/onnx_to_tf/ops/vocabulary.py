"""Where a text or a number stands among known ones: found by bisection, for a hash table would need an initializer."""

from __future__ import annotations

import numpy as np

from modelport.convert.onnx_to_tf.lazy import tf
from modelport.convert.onnx_to_tf.value import Array, Tensor
from modelport.errors import ConversionError

#: Buckets of hashes: with the first of these no two of the known texts share one, by all chance.
_BUCKETS = (2**63 - 1, 2**63 - 25, 2**63 - 165)


def find_text(x: Tensor, known: Array) -> tuple[Tensor, Tensor]:
    """Return where each text of `x` stands in `known`, and whether it does; of equal ones the first counts.

    Texts are looked for by their hashes, and what is found is compared whole.
    """
    texts, first = np.unique(np.array([_encoded(text) for text in known], object), return_index=True)
    buckets, hashes = _hash(texts)
    order = np.argsort(hashes)
    place, _ = find_number(tf.strings.to_hash_bucket_fast(x, buckets), hashes[order])
    found = tf.equal(tf.gather(tf.constant(texts[order]), place), x)
    return tf.gather(tf.constant(first[order].astype(np.int64)), place), found


def find_number(x: Tensor, known: Array) -> tuple[Tensor, Tensor]:
    """Return where each whole number of `x` stands in `known`, which rises, and whether it does."""
    rising = tf.constant(known.astype(np.int64))
    # tf.searchsorted does not take nothing to look for.
    places = tf.raw_ops.LowerBound(sorted_inputs=rising[None], values=tf.reshape(x, [1, -1]), out_type=tf.int64)
    place = tf.reshape(places, tf.shape(x))
    place = tf.minimum(place, np.int64(len(known) - 1))
    return place, tf.equal(tf.gather(rising, place), x)


def _encoded(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


def _hash(texts: Array) -> tuple[int, Array]:
    """Return a number of buckets with which all texts have hashes of their own, and these.

    Raises:
        ConversionError: There is none.
    """
    from tensorflow.python.eager import context  # tf.init_scope does not leave a plain graph

    for buckets in _BUCKETS:
        with context.eager_mode(), tf.device("CPU:0"):
            hashes: Array = tf.strings.to_hash_bucket_fast(tf.constant(texts), buckets).numpy()
        if len(np.unique(hashes)) == len(hashes):
            return buckets, hashes
    raise ConversionError("two of the texts that it looks up have the same hash, so that one would never be found")
