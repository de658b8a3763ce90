"""Steps on images: resize."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from .ops import Array, Ops
from .step import Refused, Step, Typed, require_floats, widened

AXES = {"nhwc": (1, 2), "nchw": (2, 3)}
"""The axes of height and width in each layout."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resize(Step):
    """Images of another height and width.

    Pixels are areas: output pixel ``i`` of ``n`` lies over input position ``(i + ½) · size / n - ½``. ``bilinear``
    mixes the two pixels about it, those at the edge being repeated outwards; ``nearest`` takes the pixel whose area
    it lies in. Nothing is smoothed when an image shrinks. Positions are computed in whole numbers: they are exact.

    Attributes:
        size: Height and width to give.
        method: ``bilinear`` or ``nearest``.
        layout: ``nhwc`` or ``nchw``.
    """

    kind: ClassVar[str] = "resize"
    size: tuple[int, int]
    method: str = "bilinear"
    layout: str = "nhwc"

    def infer(self, given: Typed) -> tuple[Typed, ...]:
        """See `Step.infer`."""
        if len(given.spec.shape) != len(self.layout):
            raise Refused(f"takes images of 4 axes, {self.layout}, and {given.spec} has {len(given.spec.shape)}")
        if self.method == "bilinear":
            require_floats(given)
        shape = list(given.spec.shape)
        for axis, size in zip(AXES[self.layout], self.size, strict=True):
            if shape[axis] == 0:
                raise Refused(f"{given.spec} has no pixels")
            shape[axis] = size
        return (self.typed(given.spec.dtype, tuple(shape), classes=given.classes),)

    def compute(self, ops: Ops, x: Array) -> tuple[Array, ...]:
        """See `Step.compute`."""
        dtype = x.dtype.name
        along = _mix if self.method == "bilinear" else _nearest
        result = widened(ops, x) if self.method == "bilinear" else x
        for axis, size in zip(AXES[self.layout], self.size, strict=True):
            result = along(ops, result, axis, size)
        return (ops.cast(result, dtype) if result.dtype.name != dtype else result,)


def _nearest(ops: Ops, x: Array, axis: int, wanted: int) -> Array:
    size = _require_pixels(ops.size(x, axis))
    return ops.take(x, (2 * ops.count(wanted) + 1) * size // (2 * wanted), axis)


def _mix(ops: Ops, x: Array, axis: int, wanted: int) -> Array:
    size = _require_pixels(ops.size(x, axis))
    # Positions as fractions of 2 · wanted.
    position = (2 * ops.count(wanted) + 1) * size - wanted
    before = position // (2 * wanted)
    weight = ops.cast(position - before * (2 * wanted), "float64") / (2.0 * wanted)
    rest = [1] * (len(x.shape) - 1 - axis)
    share = ops.reshape(ops.cast(weight, x.dtype.name), (wanted, *rest))
    low = ops.take(x, ops.clamp(before, size - 1), axis)
    high = ops.take(x, ops.clamp(before + 1, size - 1), axis)
    return low + (high - low) * share


def _require_pixels(size: Any) -> Any:
    if isinstance(size, int) and size == 0:
        raise ValueError("resize: the image has no pixels")
    return size
