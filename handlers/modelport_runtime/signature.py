"""The names, dtypes and shapes of what a model takes and gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

DTYPES = (
    "float16", "float32", "float64",
    "int8", "int16", "int32", "int64",
    "uint8", "uint16", "uint32", "uint64",
    "bool", "string",
)  # fmt: skip
"""The element types that a signature can name, as numpy calls them; ``string`` is an object array of ``str``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """One named tensor.

    Attributes:
        name: As the model has it; any text, dots, slashes and spaces included.
        dtype: One of `DTYPES`.
        shape: One entry a dimension; ``None`` where any size is taken. ``()`` is a scalar.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]

    def to_json(self) -> dict[str, Any]:
        """Give the form that stands in spec files and in artifacts: ``-1`` for a dynamic dimension."""
        return {
            "name": self.name,
            "dtype": self.dtype,
            "shape": [-1 if size is None else size for size in self.shape],
        }

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> TensorSpec:
        """Read what `to_json` wrote."""
        shape = tuple(None if size == -1 else int(size) for size in raw["shape"])
        return cls(name=raw["name"], dtype=raw["dtype"], shape=shape)

    def __str__(self) -> str:
        sizes = ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.name}: {self.dtype}[{sizes}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """All inputs and outputs of a model, in the model's order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def batched(self) -> bool:
        """Whether the first axis of every tensor is dynamic, so that requests can be joined along it."""
        return all(t.shape and t.shape[0] is None for t in self.inputs + self.outputs)

    def to_json(self) -> dict[str, Any]:
        """Give the form that stands in spec files and in artifacts."""
        return {
            "inputs": [t.to_json() for t in self.inputs],
            "outputs": [t.to_json() for t in self.outputs],
        }

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> Signature:
        """Read what `to_json` wrote."""
        return cls(
            inputs=tuple(TensorSpec.from_json(t) for t in raw["inputs"]),
            outputs=tuple(TensorSpec.from_json(t) for t in raw["outputs"]),
        )
