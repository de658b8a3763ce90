"""What a step is: what it takes, what it gives, and how it computes that from `Ops`."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from modelport_runtime.signature import TensorSpec

from .ops import Array, Ops

FLOATS = ("float16", "float32", "float64")


class Refused(ValueError):
    """A step that does not fit its tensor; the message is one sentence with the way out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Typed:
    """A tensor on its way through the steps, before there are numbers.

    Attributes:
        spec: Its name, dtype and shape.
        classes: How many classes its whole numbers choose among, or None where nobody knows.
    """

    spec: TensorSpec
    classes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step(ABC):
    """One step: reads one tensor, gives one or more.

    Attributes:
        kind: The step's key in a spec.
        tensor: Name of the tensor that is read.
        to: Name of the (first) result; None where the result takes the place of ``tensor``.
    """

    kind: ClassVar[str]
    tensor: str
    to: str | None = None

    @property
    def results(self) -> tuple[str, ...]:
        """Name the results, in order."""
        return (self.tensor if self.to is None else self.to,)

    @property
    def consumes(self) -> bool:
        """Whether ``tensor`` is gone afterwards, though no result bears its name."""
        return False

    @abstractmethod
    def infer(self, given: Typed) -> tuple[Typed, ...]:
        """Say what is given for what is taken, result by result.

        Raises:
            Refused: The step cannot take this.
        """

    @abstractmethod
    def compute(self, ops: Ops, x: Array) -> tuple[Array, ...]:
        """Compute the results.

        Raises:
            ValueError: The values are not what the step takes.
        """

    def typed(self, dtype: str, shape: tuple[int | None, ...], *, classes: int | None = None) -> Typed:
        """Describe the first result."""
        return Typed(spec=TensorSpec(name=self.results[0], dtype=dtype, shape=shape), classes=classes)


def require_floats(given: Typed) -> None:
    """Refuse what is no floating point."""
    if given.spec.dtype not in FLOATS:
        raise Refused(f"takes floating point, and {given.spec} is none; cast it before")


def require_numbers(given: Typed) -> None:
    """Refuse truth values and text."""
    if given.spec.dtype in ("bool", "string"):
        raise Refused(f"takes numbers, and {given.spec} holds none")


def find_axis(given: Typed, axis: int) -> int:
    """Give the axis counted from the front.

    Raises:
        Refused: There is no such axis, or it is the one along which requests are joined.
    """
    rank = len(given.spec.shape)
    if not -rank <= axis < rank:
        raise Refused(f"axis {axis} is none of {given.spec}, which has {rank}")
    found = axis % rank
    if found == 0 and given.spec.shape[0] is None:
        raise Refused(
            f"axis 0 of {given.spec} counts the rows of a request, which are independent of each other; "
            "name another axis"
        )
    return found


def require_fit(given: Typed, **values: Sequence[float]) -> None:
    """Refuse numbers that the tensor's dtype holds as infinity, or as 0 though they are none."""
    for what, numbers in values.items():
        for number in numbers:
            with np.errstate(over="ignore", under="ignore"):
                held = float(np.asarray(number, dtype=given.spec.dtype))
            if not math.isfinite(held) or (held == 0) != (number == 0):
                raise Refused(f"{what}: {number} becomes {held} in {given.spec.dtype}; cast to a wider dtype before")


def widened(ops: Ops, x: Array) -> Array:
    """Give float16 as float32, in which sums and exponentials of it are computed; all else as it is."""
    return ops.cast(x, "float32") if x.dtype.name == "float16" else x
