"""Constants on their way into the TensorFlow graph: small ones as constants, large ones as variables."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from modelport.convert.onnx_to_tf.lazy import tf
from modelport.convert.onnx_to_tf.value import Array, Tensor


class Weights:
    """Makes each constant a tensor once.

    A GraphDef cannot hold 2 GB, so whatever is larger than `variable_bytes` becomes a variable, whose contents stand
    beside the graph.

    Attributes:
        variables: Name and contents of each variable, in the order in which they were made.
    """

    def __init__(self, graph: Any, variable_bytes: int) -> None:
        self._graph = graph
        self._variable_bytes = variable_bytes
        self._eager = 0
        self._tensors: dict[int, tuple[Array, Tensor]] = {}
        self._derived: dict[tuple[int, Hashable], tuple[Array, Array]] = {}
        self.variables: dict[str, Array] = {}
        self.handles: dict[str, Tensor] = {}

    @contextmanager
    def eagerly(self) -> Iterator[None]:
        """Within, constants become eager tensors that no graph remembers."""
        self._eager += 1
        try:
            yield
        finally:
            self._eager -= 1

    def tensor(self, array: Array) -> Tensor:
        """Return the tensor of a constant."""
        if self._eager:
            return tf.constant(array)
        known = self._tensors.get(id(array))
        if known is None:
            with self._graph.as_default(), tf.name_scope("weights/"):
                made = self._variable(array) if self._is_large(array) else tf.constant(array)
            known = self._tensors[id(array)] = (array, made)
        return known[1]

    def derived(self, array: Array, form: Hashable, make: Callable[[], Array]) -> Array:
        """Return another form of a constant, made once: the same array for the same `form`."""
        key = (id(array), form)
        if key not in self._derived:
            self._derived[key] = (array, make())
        return self._derived[key][1]

    def permuted(self, array: Array, order: Sequence[int]) -> Array:
        """Return a transposed copy of a constant."""
        return self.derived(array, tuple(order), lambda: np.ascontiguousarray(array.transpose(order)))

    def _is_large(self, array: Array) -> bool:
        return array.dtype != object and array.nbytes > self._variable_bytes

    def _variable(self, array: Array) -> Tensor:
        name = f"weight_{len(self.variables)}"
        dtype = tf.as_dtype(array.dtype)
        handle = tf.raw_ops.VarHandleOp(dtype=dtype, shape=array.shape, shared_name=name, container="", name=name)
        self.variables[name] = array
        self.handles[name] = handle
        value = tf.raw_ops.ReadVariableOp(resource=handle, dtype=dtype)
        value.set_shape(array.shape)
        return value
