"""Steps on numbers: cast, scale, normalize, transpose, rename."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .ops import Array, Ops
from .step import FLOATS, Refused, Step, Typed, find_axis, require_fit, require_floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast(Step):
    """Another dtype: one that holds every value, or a floating one, to whose nearest number values are rounded.

    Attributes:
        dtype: The dtype to give, in the words of a signature.
    """

    kind: ClassVar[str] = "cast"
    dtype: str

    def infer(self, given: Typed) -> tuple[Typed, ...]:
        """See `Step.infer`."""
        source = given.spec.dtype
        if "string" in (source, self.dtype) or not (np.can_cast(source, self.dtype, "safe") or self.dtype in FLOATS):
            raise Refused(
                f"{source} does not become {self.dtype} without changing values; "
                "declare the request in the dtype that the model takes, or use threshold for truth values"
            )
        return (self.typed(self.dtype, given.spec.shape, classes=given.classes),)

    def compute(self, ops: Ops, x: Array) -> tuple[Array, ...]:
        """See `Step.compute`."""
        if self.dtype == "float16" and x.dtype.name != "float16":
            x = ops.cast(x, "float32")  # libraries differ in whether they round once or twice; so all do it twice
        return (ops.cast(x, self.dtype),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale(Step):
    """``x · factor + offset``, in the tensor's own dtype.

    Attributes:
        factor: What each element is multiplied by.
        offset: What is added to the product.
    """

    kind: ClassVar[str] = "scale"
    factor: float = 1.0
    offset: float = 0.0

    def infer(self, given: Typed) -> tuple[Typed, ...]:
        """See `Step.infer`."""
        require_floats(given)
        require_fit(given, factor=[self.factor], offset=[self.offset])
        return (self.typed(given.spec.dtype, given.spec.shape),)

    def compute(self, ops: Ops, x: Array) -> tuple[Array, ...]:
        """See `Step.compute`."""
        return (x * ops.constant(self.factor, x) + ops.constant(self.offset, x),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalize(Step):
    """``(x - mean) / std``, in the tensor's own dtype.

    Attributes:
        mean: One number, or one for each index of ``axis``.
        std: The same.
        axis: The axis of the channels.
    """

    kind: ClassVar[str] = "normalize"
    mean: tuple[float, ...]
    std: tuple[float, ...]
    axis: int = -1

    def infer(self, given: Typed) -> tuple[Typed, ...]:
        """See `Step.infer`."""
        require_floats(given)
        size = given.spec.shape[find_axis(given, self.axis)]
        for what, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, size):
                raise Refused(
                    f"{what} has {len(values)} numbers, and axis {self.axis} of {given.spec} "
                    f"{'has no fixed size' if size is None else f'has {size}'}; give one number, or one for each"
                )
        require_fit(given, mean=self.mean, std=self.std)
        return (self.typed(given.spec.dtype, given.spec.shape),)

    def compute(self, ops: Ops, x: Array) -> tuple[Array, ...]:
        """See `Step.compute`."""
        behind = len(x.shape) - 1 - self.axis if self.axis >= 0 else -1 - self.axis
        mean, std = (_column(values, behind) for values in (self.mean, self.std))
        return ((x - ops.constant(mean, x)) / ops.constant(std, x),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Transpose(Step):
    """The axes in another order.

    Attributes:
        order: For each axis of the result, the axis that it was.
    """

    kind: ClassVar[str] = "transpose"
    order: tuple[int, ...]

    def infer(self, given: Typed) -> tuple[Typed, ...]:
        """See `Step.infer`."""
        shape = given.spec.shape
        if sorted(self.order) != list(range(len(shape))):
            raise Refused(f"order must hold each of 0 to {len(shape) - 1} once, for {given.spec}")
        if shape and shape[0] is None and self.order[0] != 0:
            raise Refused(
                f"axis 0 of {given.spec} counts the rows of a request and stays the first; begin order with 0"
            )
        return (self.typed(given.spec.dtype, tuple(shape[axis] for axis in self.order), classes=given.classes),)

    def compute(self, ops: Ops, x: Array) -> tuple[Array, ...]:
        """See `Step.compute`."""
        return (ops.transpose(x, self.order),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rename(Step):
    """Another name, ``to``, and nothing else."""

    kind: ClassVar[str] = "rename"

    @property
    def consumes(self) -> bool:
        """See `Step.consumes`."""
        return True

    def infer(self, given: Typed) -> tuple[Typed, ...]:
        """See `Step.infer`."""
        return (self.typed(given.spec.dtype, given.spec.shape, classes=given.classes),)

    def compute(self, ops: Ops, x: Array) -> tuple[Array, ...]:  # noqa: ARG002  # every step has this signature
        """See `Step.compute`."""
        return (x,)


def _column(values: Sequence[float], behind: int) -> Array:
    """Give numbers of one axis with ``behind`` axes of size 1 behind it."""
    return np.reshape(np.asarray(values, dtype=np.float64), (len(values), *[1] * behind))
