"""Steps that make an answer of scores: softmax, sigmoid, argmax, top_k, threshold, labels.

Where numbers are ordered, NaN counts as infinity, and of equal ones the first comes first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from modelport_runtime.signature import TensorSpec

from .ops import Array, Ops
from .step import FLOATS, Refused, Step, Typed, find_axis, require_fit, require_floats, require_numbers, widened


@dataclass(frozen=True, slots=True, kw_only=True)
class Softmax(Step):
    """Exponentials that sum to 1 along an axis; of float16 computed in float32.

    Attributes:
        axis: The axis of the classes.
    """

    kind: ClassVar[str] = "softmax"
    axis: int = -1

    def infer(self, given: Typed) -> tuple[Typed, ...]:
        """See `Step.infer`."""
        require_floats(given)
        find_axis(given, self.axis)
        return (self.typed(given.spec.dtype, given.spec.shape),)

    def compute(self, ops: Ops, x: Array) -> tuple[Array, ...]:
        """See `Step.compute`."""
        wide = widened(ops, x)
        raised = ops.exp(wide - ops.largest(wide, self.axis))
        return (ops.cast(raised / ops.total(raised, self.axis), x.dtype.name),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sigmoid(Step):
    """``1 / (1 + exp(-x))``; of float16 computed in float32."""

    kind: ClassVar[str] = "sigmoid"

    def infer(self, given: Typed) -> tuple[Typed, ...]:
        """See `Step.infer`."""
        require_floats(given)
        return (self.typed(given.spec.dtype, given.spec.shape),)

    def compute(self, ops: Ops, x: Array) -> tuple[Array, ...]:
        """See `Step.compute`."""
        wide = widened(ops, x)
        one = ops.constant(1.0, wide)
        return (ops.cast(one / (one + ops.exp(-wide)), x.dtype.name),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Argmax(Step):
    """The place of the largest along an axis, as int64; the axis goes.

    Attributes:
        axis: The axis of the classes.
    """

    kind: ClassVar[str] = "argmax"
    axis: int = -1

    def infer(self, given: Typed) -> tuple[Typed, ...]:
        """See `Step.infer`."""
        require_numbers(given)
        axis = find_axis(given, self.axis)
        shape = given.spec.shape
        if shape[axis] == 0:
            raise Refused(f"axis {self.axis} of {given.spec} is empty, so that nothing in it is the largest")
        return (self.typed("int64", shape[:axis] + shape[axis + 1 :], classes=shape[axis]),)

    def compute(self, ops: Ops, x: Array) -> tuple[Array, ...]:
        """See `Step.compute`."""
        return (ops.arg_max(_ordered(ops, x), self.axis),)


@dataclass(frozen=True, slots=True, kw_only=True)
class TopK(Step):
    """The ``k`` largest along the last axis, largest first.

    Attributes:
        k: How many.
        indices: Name of a second result, their places as int64; None for none.
    """

    kind: ClassVar[str] = "top_k"
    k: int
    indices: str | None = None

    @property
    def results(self) -> tuple[str, ...]:
        """See `Step.results`."""
        values = self.tensor if self.to is None else self.to
        return (values,) if self.indices is None else (values, self.indices)

    def infer(self, given: Typed) -> tuple[Typed, ...]:
        """See `Step.infer`."""
        require_numbers(given)
        size = given.spec.shape[find_axis(given, -1)]
        if size is None:
            raise Refused(
                f"the last axis of {given.spec} has no fixed size, and may have fewer than {self.k}; "
                "declare its size in signature.outputs"
            )
        if self.k > size:
            raise Refused(f"k is {self.k}, and the last axis of {given.spec} has {size}; write k: {size} or less")
        shape = (*given.spec.shape[:-1], self.k)
        values = self.typed(given.spec.dtype, shape)
        if self.indices is None:
            return (values,)
        return (values, Typed(spec=TensorSpec(name=self.indices, dtype="int64", shape=shape), classes=size))

    def compute(self, ops: Ops, x: Array) -> tuple[Array, ...]:
        """See `Step.compute`."""
        places = ops.top(_ordered(ops, x), self.k)
        values = ops.pick(x, places)
        return (values,) if self.indices is None else (values, places)


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold(Step):
    """Whether each number is at least ``at``; NaN is not.

    Attributes:
        at: The bound, taken in the tensor's dtype.
    """

    kind: ClassVar[str] = "threshold"
    at: float = 0.5

    def infer(self, given: Typed) -> tuple[Typed, ...]:
        """See `Step.infer`."""
        require_floats(given)
        require_fit(given, at=[self.at])
        return (self.typed("bool", given.spec.shape, classes=2),)

    def compute(self, ops: Ops, x: Array) -> tuple[Array, ...]:
        """See `Step.compute`."""
        return (x >= ops.constant(self.at, x),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels(Step):
    """The name of each class number; of truth values, the first name is that of false.

    Attributes:
        names: The names, for 0 and up.
    """

    kind: ClassVar[str] = "labels"
    names: tuple[str, ...]

    def infer(self, given: Typed) -> tuple[Typed, ...]:
        """See `Step.infer`."""
        dtype = given.spec.dtype
        if dtype in (*FLOATS, "string", "uint64"):
            raise Refused(f"takes class numbers or truth values, and {given.spec} is neither; use argmax before")
        if not self.names:
            raise Refused("has no names, and the spec has no labels; write names here, or labels at the spec's top")
        classes = 2 if dtype == "bool" else given.classes
        if classes is not None and classes != len(self.names):
            raise Refused(
                f"there are {len(self.names)} names, and {given.spec.name!r} chooses among {classes} classes; "
                "give one name for each"
            )
        return (self.typed("string", given.spec.shape),)

    def compute(self, ops: Ops, x: Array) -> tuple[Array, ...]:
        """See `Step.compute`."""
        return (ops.look_up(self.names, ops.cast(x, "int64")),)


def _ordered(ops: Ops, x: Array) -> Array:
    return ops.nan_as_infinity(x) if x.dtype.name in FLOATS else x
