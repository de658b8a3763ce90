"""The array operations of a spec's steps as plain TensorFlow ops, which `modelport.convert.graph_ends` builds from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from modelport.convert.onnx_to_tf.lazy import tf

Tensor = Any  # a tf.Tensor; TensorFlow has no types to check against


class TensorFlowOps:
    """`modelport_runtime.steps.ops.Ops` by TensorFlow; every tensor has a known rank."""

    def constant(self, values: Any, like: Tensor) -> Tensor:
        """See `Ops.constant`."""
        return tf.constant(np.asarray(values, dtype=like.dtype.as_numpy_dtype))

    def cast(self, x: Tensor, dtype: str) -> Tensor:
        """See `Ops.cast`."""
        return tf.cast(x, dtype)

    def exp(self, x: Tensor) -> Tensor:
        """See `Ops.exp`."""
        return tf.exp(x)

    def largest(self, x: Tensor, axis: int) -> Tensor:
        """See `Ops.largest`."""
        return tf.reduce_max(x, axis, keepdims=True)

    def total(self, x: Tensor, axis: int) -> Tensor:
        """See `Ops.total`."""
        return tf.reduce_sum(x, axis, keepdims=True)

    def nan_as_infinity(self, x: Tensor) -> Tensor:
        """See `Ops.nan_as_infinity`."""
        return tf.where(tf.math.is_nan(x), self.constant(np.inf, x), x)

    def arg_max(self, x: Tensor, axis: int) -> Tensor:
        """See `Ops.arg_max`."""
        return tf.argmax(x, axis, output_type=tf.int64)

    def top(self, x: Tensor, k: int) -> Tensor:
        """See `Ops.top`."""
        return tf.cast(tf.math.top_k(x, k).indices, tf.int64)

    def pick(self, x: Tensor, places: Tensor) -> Tensor:
        """See `Ops.pick`."""
        return tf.gather(x, places, batch_dims=x.shape.rank - 1, axis=-1)

    def take(self, x: Tensor, places: Tensor, axis: int) -> Tensor:
        """See `Ops.take`."""
        return tf.gather(x, places, axis=axis)

    def transpose(self, x: Tensor, order: Sequence[int]) -> Tensor:
        """See `Ops.transpose`."""
        return tf.transpose(x, order)

    def reshape(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        """See `Ops.reshape`."""
        return tf.reshape(x, shape)

    def size(self, x: Tensor, axis: int) -> Any:
        """See `Ops.size`."""
        known = x.shape[axis]
        return tf.shape(x, out_type=tf.int64)[axis] if known is None else known

    def count(self, n: int) -> Tensor:
        """See `Ops.count`."""
        return tf.range(n, dtype=tf.int64)

    def clamp(self, x: Tensor, most: Any) -> Tensor:
        """See `Ops.clamp`."""
        return tf.maximum(tf.minimum(x, tf.cast(most, tf.int64)), tf.constant(0, tf.int64))

    def look_up(self, names: Sequence[str], places: Tensor) -> Tensor:
        """See `Ops.look_up`; a gather on a CPU refuses what lies outside."""
        return tf.gather(tf.constant([name.encode() for name in names], tf.string), places)
