"""The array operations that steps are written with, and numpy's set of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

Array = Any
"""An array of the library that a set of operations stands for; it has ``dtype.name``, ``+ - * / //`` and ``>=``."""


class Ops(Protocol):
    """Operations on arrays. ``x`` is an array of any shape; an axis counts from the front or, negative, the back."""

    def constant(self, values: Any, like: Array) -> Array:
        """Give a number, or nested lists of numbers, in the dtype of ``like``."""
        ...

    def cast(self, x: Array, dtype: str) -> Array:
        """Give ``x`` in another numeric dtype."""
        ...

    def exp(self, x: Array) -> Array:
        """Raise e to each element."""
        ...

    def largest(self, x: Array, axis: int) -> Array:
        """Give the largest along an axis, which stays with size 1; minus infinity where there is none."""
        ...

    def total(self, x: Array, axis: int) -> Array:
        """Give the sum along an axis, which stays with size 1."""
        ...

    def nan_as_infinity(self, x: Array) -> Array:
        """Give floating-point numbers with infinity for each NaN."""
        ...

    def arg_max(self, x: Array, axis: int) -> Array:
        """Give the places of the largest as int64, the first of equal ones; ``axis`` goes. ``x`` holds no NaN."""
        ...

    def top(self, x: Array, k: int) -> Array:
        """Give the places of the ``k`` largest along the last axis as int64, largest first, equal ones in order.

        ``x`` holds no NaN.
        """
        ...

    def pick(self, x: Array, places: Array) -> Array:
        """Give the elements at ``places`` of the last axis; the other axes of both are the same."""
        ...

    def take(self, x: Array, places: Array, axis: int) -> Array:
        """Give the slices at ``places``, a vector, along an axis."""
        ...

    def transpose(self, x: Array, order: Sequence[int]) -> Array:
        """Give ``x`` with its axes in another order."""
        ...

    def reshape(self, x: Array, shape: Sequence[int]) -> Array:
        """Give ``x`` in another shape of as many elements."""
        ...

    def size(self, x: Array, axis: int) -> Any:
        """Give the size of an axis: an int, or a scalar int64 array."""
        ...

    def count(self, n: int) -> Array:
        """Give 0 to ``n`` - 1 as int64."""
        ...

    def clamp(self, x: Array, most: Any) -> Array:
        """Give integers, no less than 0 and no more than ``most``."""
        ...

    def look_up(self, names: Sequence[str], places: Array) -> Array:
        """Give the name of each place.

        Raises:
            ValueError: A place is below 0 or has no name (a graph raises when it runs).
        """
        ...


class NumpyOps:
    """`Ops` by numpy."""

    def constant(self, values: Any, like: Array) -> Array:
        """See `Ops.constant`."""
        return np.asarray(values, dtype=like.dtype)

    def cast(self, x: Array, dtype: str) -> Array:
        """See `Ops.cast`."""
        return x.astype(dtype)

    def exp(self, x: Array) -> Array:
        """See `Ops.exp`."""
        return np.exp(x)

    def largest(self, x: Array, axis: int) -> Array:
        """See `Ops.largest`."""
        return np.max(x, axis=axis, keepdims=True, initial=-np.inf)

    def total(self, x: Array, axis: int) -> Array:
        """See `Ops.total`."""
        return np.sum(x, axis=axis, keepdims=True)

    def nan_as_infinity(self, x: Array) -> Array:
        """See `Ops.nan_as_infinity`."""
        return np.where(np.isnan(x), self.constant(np.inf, x), x)

    def arg_max(self, x: Array, axis: int) -> Array:
        """See `Ops.arg_max`."""
        return np.argmax(x, axis=axis).astype(np.int64)

    def top(self, x: Array, k: int) -> Array:
        """See `Ops.top`."""
        # Sorted backwards twice: negating would overflow, and a stable sort keeps equal ones in order only forwards.
        ascending = np.argsort(x[..., ::-1], axis=-1, kind="stable")
        return (x.shape[-1] - 1 - ascending[..., ::-1][..., :k]).astype(np.int64)

    def pick(self, x: Array, places: Array) -> Array:
        """See `Ops.pick`."""
        return np.take_along_axis(x, places, axis=-1)

    def take(self, x: Array, places: Array, axis: int) -> Array:
        """See `Ops.take`."""
        return np.take(x, places, axis=axis)

    def transpose(self, x: Array, order: Sequence[int]) -> Array:
        """See `Ops.transpose`."""
        return np.ascontiguousarray(np.transpose(x, order))

    def reshape(self, x: Array, shape: Sequence[int]) -> Array:
        """See `Ops.reshape`."""
        return np.reshape(x, shape)

    def size(self, x: Array, axis: int) -> Any:
        """See `Ops.size`."""
        return x.shape[axis]

    def count(self, n: int) -> Array:
        """See `Ops.count`."""
        return np.arange(n, dtype=np.int64)

    def clamp(self, x: Array, most: Any) -> Array:
        """See `Ops.clamp`."""
        return np.maximum(np.minimum(x, most), 0)

    def look_up(self, names: Sequence[str], places: Array) -> Array:
        """See `Ops.look_up`."""
        wrong = places[(places < 0) | (places >= len(names))]
        if wrong.size:
            raise ValueError(f"class {wrong.flat[0]} has no name; there are {len(names)} names, for 0 and up")
        found = np.empty(places.shape, dtype=object)
        found[...] = np.asarray(names, dtype=object)[places]
        return found
