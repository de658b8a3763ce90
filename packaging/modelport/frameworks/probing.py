"""What a model tells of itself, as far as it does."""

from __future__ import annotations

from dataclasses import dataclass

from modelport_runtime.signature import Signature, TensorSpec

NAME, DTYPE, SHAPE = "name", "dtype", "shape"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbedTensor:
    """One input or output, as far as the model tells.

    Attributes:
        name: A name to use; binding unless ``free`` holds ``name``.
        dtype: One of `modelport_runtime.signature.DTYPES`, or None.
        shape: Sizes, ``None`` for a dynamic one; or None where even the rank is not known.
        free: Aspects (``name``, ``dtype``, ``shape``) in which the spec may say otherwise: the value here is what
            is taken when the spec says nothing.
        optional: The model answers without it.
    """

    name: str
    dtype: str | None = None
    shape: tuple[int | None, ...] | None = None
    free: frozenset[str] = frozenset()
    optional: bool = False

    def tensor(self) -> TensorSpec | None:
        """Give the whole tensor, or None where something is not known."""
        if self.dtype is None or self.shape is None:
            return None
        return TensorSpec(name=self.name, dtype=self.dtype, shape=self.shape)


Tensors = tuple[ProbedTensor, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Both sides of a model, as far as it tells.

    Attributes:
        inputs: Inputs in the model's order, or None where not even their number is known.
        outputs: The same for outputs.
        choosable: Further outputs that the model can give; a spec may declare any of these and of ``outputs``.
        columns: Names of the columns that an estimator was fitted on; each may be an input of its own.
        packages: Import names of the libraries that the model's own file needs beside its framework.
        notes: Sentences worth telling, for people.
    """

    inputs: Tensors | None = None
    outputs: Tensors | None = None
    choosable: Tensors = ()
    columns: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def signature(self) -> Signature | None:
        """Give the whole signature, or None where something is not known."""
        inputs, outputs = complete(self.inputs), complete(self.outputs)
        if inputs is None or outputs is None:
            return None
        return Signature(inputs=inputs, outputs=outputs)


def complete(tensors: Tensors | None) -> tuple[TensorSpec, ...] | None:
    """Give whole tensors, or None where something of any is not known."""
    if tensors is None:
        return None
    known = [tensor for probed in tensors if not probed.optional and (tensor := probed.tensor()) is not None]
    needed = sum(not probed.optional for probed in tensors)
    return tuple(known) if known and len(known) == needed else None
