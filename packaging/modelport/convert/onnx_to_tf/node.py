"""One ONNX node as the lowering functions see it."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from modelport.convert.onnx_to_tf.lazy import tf
from modelport.convert.onnx_to_tf.value import Array, Tensor, Value
from modelport.errors import ConversionError

if TYPE_CHECKING:
    from modelport.convert.onnx_to_tf.walk import Walk

Default = TypeVar("Default")


class NodeRefused(ConversionError):
    """A node cannot be lowered; the message names its op and itself."""


class Node:
    """A node with its inputs looked up.

    Attributes:
        op: Name of the op.
        domain: Its domain, empty for ONNX's own.
        name: The node's name, or its first output where it has none: what messages call it.
        version: Opset version in force for the domain.
        inputs: One per declared input, None for an optional one that was left out.
        outputs: Names of the results, empty for one that nobody wants.
        walk: The lowering in progress.
    """

    def __init__(
        self, walk: Walk, proto: Any, version: int, inputs: Sequence[Value | None], attributes: Mapping[str, Any]
    ) -> None:
        self.op: str = proto.op_type
        self.domain: str = proto.domain
        self.name: str = proto.name or next((name for name in proto.output if name), "")
        self.version = version
        self.inputs = tuple(inputs)
        self.outputs: tuple[str, ...] = tuple(proto.output)
        self.walk = walk
        self._attributes = attributes

    def fail(self, reason: str) -> NodeRefused:
        """Return the error to raise, with op, node and domain named."""
        return NodeRefused(f"cannot lower {describe(self.op, self.domain, self.name)} to TensorFlow: {reason}")

    def attr(self, name: str, default: Default) -> Any:
        """Return an attribute, or `default` where the node does not set it."""
        return self._attributes.get(name, default)

    def having(self, **attributes: Any) -> Node:
        """Return the same node with other attributes."""
        other = copy.copy(self)
        other._attributes = {**self._attributes, **attributes}  # noqa: SLF001 - a copy of itself
        return other

    def wants(self, index: int) -> bool:
        """Whether the output of that index is named, and so may be used."""
        return index < len(self.outputs) and bool(self.outputs[index])

    def optional_value(self, index: int) -> Value | None:
        """Return an input, or None where it is left out."""
        return self.inputs[index] if index < len(self.inputs) else None

    def value(self, index: int) -> Value:
        """Return an input that must be there."""
        value = self.optional_value(index)
        if value is None:
            raise self.fail(f"input {index} is missing")
        return value

    def tensor(self, index: int) -> Tensor:
        """Return an input as a tensor in ONNX's order of dimensions."""
        return self.walk.tensor(self.value(index))

    def optional(self, index: int) -> Tensor | None:
        """Return an input as a tensor, or None where it is left out."""
        value = self.optional_value(index)
        return None if value is None else self.walk.tensor(value)

    def constant(self, index: int, what: str) -> Array:
        """Return an input that TensorFlow needs to know now; `what` names it in the message."""
        constant = self.value(index).constant
        if constant is None:
            raise self.fail(f"its {what} (input {index}) is computed while the model runs; it must be a constant")
        return constant

    def optional_constant(self, index: int, what: str) -> Array | None:
        """Return an input that must be constant if it is there."""
        return None if self.optional_value(index) is None else self.constant(index, what)

    def ints(self, name: str, index: int | None = None, default: Sequence[int] | None = None) -> list[int] | None:
        """Return integers that are an attribute in older opsets and a constant input in newer ones."""
        if name in self._attributes:
            raw = self._attributes[name]
            return [raw] if isinstance(raw, int) else [int(item) for item in raw]
        if index is not None:
            found = self.optional_constant(index, name)
            if found is not None:
                return [int(item) for item in found.reshape(-1)]
        return None if default is None else list(default)

    def rank(self, index: int = 0) -> int:
        """Return the number of dimensions of an input, which must be known."""
        shape = self.value(index).shape
        if shape is None:
            raise self.fail(f"the number of dimensions of input {index} is not known; declare the shapes of the inputs")
        return len(shape)

    def axis(self, default: int, index: int = 0, name: str = "axis") -> int:
        """Return the axis attribute, counted from the front."""
        axis = int(self.attr(name, default))
        rank = self.rank(index)
        if not -rank <= axis <= max(rank, 0):
            raise self.fail(f"{name} {axis} lies outside the {rank} dimensions of its input")
        return axis + rank if axis < 0 else axis


def describe(op: str, domain: str, name: str) -> str:
    """Return how messages name a node."""
    where = f" of domain {domain!r}" if domain else ""
    return f"op {op}{where} (node {name!r})"


def dims(tensor: Tensor) -> list[int | Tensor]:
    """Return each dimension as an int where it is known and as a scalar int32 tensor where not."""
    known = tensor.shape.as_list()
    if None not in known:
        return [int(size) for size in known]
    dynamic = tf.shape(tensor)
    return [dynamic[i] if size is None else int(size) for i, size in enumerate(known)]


def product(sizes: Sequence[int | Tensor]) -> int | Tensor:
    """Return the product of dimensions as `dims` gives them."""
    result: int | Tensor = 1
    for size in sizes:
        result = size if isinstance(result, int) and result == 1 else result * size
    return result


def any_size(sizes: Sequence[int | Tensor]) -> bool:
    """Whether any of the sizes is, or may turn out to be, another than zero."""
    return any(not isinstance(size, int) or size != 0 for size in sizes)


def at_least_zero(size: int | Tensor) -> int | Tensor:
    """Return the size, or zero where it is negative."""
    return max(size, 0) if isinstance(size, int) else tf.maximum(size, 0)


def as_shape(sizes: Sequence[int | Tensor]) -> Any:
    """Return dimensions as TensorFlow takes a shape: an array where all are known, else one int32 vector."""
    if all(isinstance(size, int) for size in sizes):
        return np.array(sizes, dtype=np.int32 if all(abs(int(s)) < 2**31 for s in sizes) else np.int64)
    return tf.stack([tf.cast(size, tf.int32) for size in sizes])
