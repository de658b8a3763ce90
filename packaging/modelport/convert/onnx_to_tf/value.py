"""What flows along an edge of the ONNX graph while it is lowered."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from modelport.convert.onnx_to_tf.lazy import tf

Array = np.ndarray[Any, Any]
Tensor = Any  # a tf.Tensor; TensorFlow has no types to check against


def last_order(rank: int) -> list[int]:
    """Return the permutation from channels-first to channels-last."""
    return [0, *range(2, rank), 1]


def first_order(rank: int) -> list[int]:
    """Return the permutation from channels-last to channels-first."""
    return [0, rank - 1, *range(1, rank - 1)]


class Value:
    """One ONNX value: a constant, a tensor, or a tensor that so far exists only with its channels last.

    A tensor's channels-last twin is made once and kept, so that convolutions, pools and what stands between them
    never transpose back and forth. Of an empty batch the twin holds one row of zeros, which is cut off on the way
    back: TensorFlow's oneDNN convolutions answer an empty batch with a wrong shape.

    Attributes:
        rows: How many rows of the twin are real, a scalar tensor; None where the batch is fixed.
        elements: For a small integer vector or scalar made from shapes: its elements, each an int where it is known
            and a scalar tensor where not. None for everything else.
        items: The members, for an ONNX sequence.
    """

    __slots__ = ("_last", "_plain", "elements", "items", "rows", "scalar")

    def __init__(
        self, plain: Array | Tensor | None = None, *, last: Tensor | None = None, rows: Tensor | None = None
    ) -> None:
        self._plain = plain
        self._last = last
        self.rows = rows
        self.elements: tuple[int | Tensor, ...] | None = None
        self.scalar = False
        self.items: tuple[Value, ...] | None = None

    @classmethod
    def of_elements(cls, elements: Sequence[int | Tensor], *, scalar: bool = False) -> Value:
        """Return an int64 vector (or scalar) of which only some elements may be known; a constant if all are."""
        if all(isinstance(element, int) for element in elements):
            array = np.array(elements[0] if scalar else elements, dtype=np.int64)
            return cls(array)
        tensors = [tf.cast(element, tf.int64) for element in elements]
        value = cls(tensors[0] if scalar else tf.stack(tensors))
        value.elements = tuple(elements)
        value.scalar = scalar
        return value

    @classmethod
    def of_items(cls, items: Sequence[Value]) -> Value:
        """Return an ONNX sequence."""
        value = cls()
        value.items = tuple(items)
        return value

    @property
    def constant(self) -> Array | None:
        """The constant, or None for what is known only when the model runs."""
        return self._plain if isinstance(self._plain, np.ndarray) else None

    @property
    def is_last(self) -> bool:
        """Whether the channels-last twin exists already."""
        return self._last is not None

    def plain(self) -> Array | Tensor:
        """Return the value in ONNX's own order of dimensions."""
        last = self._last
        if self._plain is None and last is not None:
            with contextlib.nullcontext() if tf.executing_eagerly() else last.graph.as_default():
                self._plain = self.real_rows(tf.transpose(last, first_order(last.shape.rank)))
        return self._plain

    def real_rows(self, tensor: Tensor) -> Tensor:
        """Return a tensor that was computed row by row from the twin, without the row that stands for none."""
        return tensor if self.rows is None else tensor[: self.rows]

    def last(self) -> Tensor:
        """Return the value with its channels last. Only for tensors of at least three dimensions."""
        if self._last is None:
            plain: Tensor = self._plain
            with contextlib.nullcontext() if tf.executing_eagerly() else plain.graph.as_default():
                if plain.shape[0] is None:
                    self.rows = tf.shape(plain)[0]
                    missing = tf.maximum(1 - self.rows, 0)
                    plain = tf.pad(plain, [[0, missing], *[[0, 0]] * (plain.shape.rank - 1)])
                self._last = tf.transpose(plain, last_order(plain.shape.rank))
        return self._last

    @property
    def dtype(self) -> Any:
        """TensorFlow's type of the elements."""
        known: Tensor = self._plain if self._plain is not None else self._last
        return tf.as_dtype(known.dtype) if known.dtype != object else tf.string

    @property
    def shape(self) -> tuple[int | None, ...] | None:
        """Static shape in ONNX's order, None for an unknown dimension, or None when the rank is unknown."""
        if self._plain is not None:
            shape = self._plain.shape
            if isinstance(shape, tuple):
                return shape
            return None if shape.rank is None else tuple(shape.as_list())
        known = self._last.shape.as_list()  # type: ignore[union-attr]
        return tuple(known[i] for i in first_order(len(known)))
