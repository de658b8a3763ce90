"""Example inputs of different sizes, made from a sample or from nothing but the signature."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from modelport.errors import ConversionError

Array = np.ndarray[Any, Any]
Run = Callable[[Sequence[Array]], list[Array]]

#: Sizes to try for dynamic dimensions other than the first, where no sample tells one.
_SIZES = (8, 32, 64, 224)
_BATCH = 3


class InputSpec(Protocol):
    """What is asked of an input: its name, numpy's name for its dtype, its shape with None where any size goes."""

    @property
    def name(self) -> str:
        """Name in the signature."""

    @property
    def dtype(self) -> str:
        """Numpy's name for the element type, or ``string``."""

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Size of each dimension, None for a dynamic one."""


def find_example(inputs: Sequence[InputSpec], sample: Mapping[str, Array] | None, run: Run) -> list[Array]:
    """Return inputs on which the model runs, with every dynamic dimension at least 2: 0 and 1 are special to torch.

    Raises:
        ConversionError: The model runs on none that could be thought of.
    """
    problem: Exception | None = None
    for size in _SIZES:
        example = [_example(spec, (sample or {}).get(spec.name), size) for spec in inputs]
        try:
            run(example)
        except Exception as error:  # noqa: BLE001 - whatever the model raises means: not with this size
            problem = problem or error
        else:
            return example
    # The last line is what went wrong; TorchScript tells the whole way there before it.
    reason = (str(problem).strip().splitlines() or [""])[-1]
    made = "inputs made from its signature" if sample is None else "the spec's samples"
    raise ConversionError(
        f"the model does not run on {made} ({type(problem).__name__}: {reason}); "
        "give samples and a signature that the model takes"
    ) from problem


def other_examples(inputs: Sequence[InputSpec], example: Sequence[Array], run: Run) -> Iterator[list[Array]]:
    """Yield the example with other sizes: another batch, one row, and other sizes of the other dynamic dimensions.

    Sizes that are equal stay equal. What the model itself refuses is left out.

    Raises:
        ConversionError: The first dimension is called dynamic, and the model takes no other batch.
    """
    sizes = {array.shape[axis] for spec, array in zip(inputs, example, strict=True) for axis in _free(spec)}
    batched = any(spec.shape and spec.shape[0] is None for spec in inputs)
    changes = [dict.fromkeys([size], other) for size in sizes for other in (size + 1, size * 2, size - 1)]
    batches = [
        [_resized(spec, array, batch, {}) for spec, array in zip(inputs, example, strict=True)]
        for batch in ((1, 5) if batched else ())
    ]
    taken = [varied for varied in batches if _runs(run, varied)]
    if batched and not taken:
        raise ConversionError(
            f"the model runs on {_BATCH} rows, but neither on 1 nor on 5: its batch is fixed. Declare that size, or "
            "make a model that takes any (torch.export with dynamic_shapes; x.flatten(1), not x.view(8, -1))"
        )
    yield from taken
    for change in changes:
        varied = [_resized(spec, array, _BATCH, change) for spec, array in zip(inputs, example, strict=True)]
        if _runs(run, varied):
            yield varied


def _runs(run: Run, example: Sequence[Array]) -> bool:
    try:
        run(example)
    except Exception:  # noqa: BLE001 - as above
        return False
    return True


def _free(spec: InputSpec) -> list[int]:
    """Return the dynamic axes other than the first."""
    return [axis for axis, size in enumerate(spec.shape) if size is None and axis > 0]


def _example(spec: InputSpec, sample: Array | None, size: int) -> Array:
    if sample is not None and sample.ndim == len(spec.shape) and sample.size:
        array = np.asarray(sample, dtype=spec.dtype)
        return _resized(spec, array, _BATCH, {1: 2})
    shape = [known if known is not None else (_BATCH if axis == 0 else size) for axis, known in enumerate(spec.shape)]
    if spec.dtype == "string":
        return np.full(shape, "a", object)
    generator = np.random.default_rng(0)
    if np.dtype(spec.dtype).kind == "f":
        return generator.standard_normal(shape).astype(spec.dtype)
    return generator.integers(0, 2, shape).astype(spec.dtype)


def _resized(spec: InputSpec, array: Array, batch: int, change: Mapping[int, int]) -> Array:
    """Return the array with its dynamic dimensions at other sizes, filled by repeating or cutting."""
    for axis, size in enumerate(spec.shape):
        if size is None:
            old = array.shape[axis]
            new = batch if axis == 0 else change.get(old, old)
            array = np.take(array, np.arange(new) % old, axis=axis)
    return np.ascontiguousarray(array)
