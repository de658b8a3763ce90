"""Whether arrays are what a signature says, and the sentences for those that are not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .signature import TensorSpec

Array = np.ndarray[Any, Any]


class InvalidInput(ValueError):
    """A request that the model cannot take; the message is one sentence for whoever sent it."""


class TooLarge(InvalidInput):
    """A request that is longer than the server takes."""


class ModelFailed(RuntimeError):
    """The model, or code beside it, failed on a request that looked right."""


def check_inputs(
    tensors: Sequence[TensorSpec], inputs: Mapping[str, Any], *, max_batch_size: int | None = None
) -> dict[str, Array]:
    """Give the inputs as arrays of exactly the declared dtypes, in the declared order.

    Args:
        tensors: What the model takes.
        inputs: Arrays, or what numpy makes arrays of, by name.
        max_batch_size: The most rows along the first axis, where that axis is dynamic in every input.

    Returns:
        Arrays in native byte order; text is an object array of ``str`` (``bytes`` where it is no UTF-8).

    Raises:
        InvalidInput: A name, a dtype, a value, a shape or a batch size does not fit.
    """
    if inputs.keys() != {t.name for t in tensors}:
        raise InvalidInput(_describe_names(tensors, inputs))
    arrays = {t.name: conform(t, inputs[t.name], "input") for t in tensors}
    if all(t.shape and t.shape[0] is None for t in tensors):
        _check_batch(tensors, arrays, max_batch_size)
    return arrays


def check_outputs(tensors: Sequence[TensorSpec], outputs: Mapping[str, Any], *, what: str) -> dict[str, Array]:
    """Give the outputs as arrays of exactly the declared dtypes, in the declared order.

    Args:
        tensors: What was declared.
        outputs: What came, by name.
        what: Who made them, for the message: ``the model``, ``postprocess``.

    Raises:
        ModelFailed: The outputs are not what was declared.
    """
    if outputs.keys() != {t.name for t in tensors}:
        given, declared = _quoted(outputs), _quoted(t.name for t in tensors)
        raise ModelFailed(f"{what} gave {given or 'nothing'}; the signature declares {declared}")
    try:
        return {t.name: conform(t, outputs[t.name], "output") for t in tensors}
    except InvalidInput as error:
        raise ModelFailed(f"{what} contradicts the signature: {error}") from error


def conform(tensor: TensorSpec, value: Any, side: str) -> Array:
    """Give one value as an array of the declared dtype and shape.

    Casts within a kind and to a wider kind; an integer is never changed, a finite number never becomes infinite
    and a fraction never becomes an integer.

    Raises:
        InvalidInput: It does not fit.
    """
    what = f"{side} {tensor.name!r}"
    array = value if isinstance(value, np.ndarray) else to_array(value, tensor.dtype, what)
    if tensor.dtype == "string":
        array = _to_strings(array, what)
    elif array.dtype != tensor.dtype or not array.dtype.isnative:
        array = _cast(array, np.dtype(tensor.dtype), what)
    shape = array.shape
    if len(shape) != len(tensor.shape) or any(
        want is not None and want != got for want, got in zip(tensor.shape, shape, strict=True)
    ):
        raise InvalidInput(f"{what} must have shape {show_shape(tensor.shape)}, got {show_shape(shape)}")
    return array


def to_array(value: Any, dtype: str | None, what: str) -> Array:
    """Make an array of nested lists, numbers or text.

    Args:
        value: The value.
        dtype: The declared dtype, or None where nobody knows it.
        what: What it is, for the message: ``input 'x'``.

    Raises:
        InvalidInput: The lists are ragged, or hold what no tensor can.
    """
    try:
        # Left to itself numpy makes text of a number that stands beside text.
        array = np.array(value, dtype=object) if dtype == "string" else np.asarray(value)
    except (ValueError, TypeError, OverflowError) as error:
        raise InvalidInput(f"{what} is ragged: nested lists must have the same lengths at every level") from error
    if array.dtype.kind in "US":
        array = np.array(value, dtype=object)
    if array.dtype.kind == "O" and not isinstance(value, np.ndarray):
        _check_elements(array, what)
    if array.dtype.kind == "f" and dtype is not None and "int" in dtype:
        array = _to_integers(array, value, np.dtype(dtype), what)
    if array.size == 0 and dtype is not None and dtype != "string":
        array = array.astype(dtype)  # an empty list has no dtype of its own
    return array


def show_shape(shape: Sequence[int | None]) -> str:
    """Give a shape for people: ``[?, 64]``."""
    return "[" + ", ".join("?" if size is None else str(size) for size in shape) + "]"


def rows_of(signature_inputs: Sequence[TensorSpec], arrays: Mapping[str, Array]) -> int:
    """Count the rows of checked inputs: the length of the first dynamic first axis, 1 where there is none."""
    for tensor in signature_inputs:
        if tensor.shape and tensor.shape[0] is None:
            return int(arrays[tensor.name].shape[0])
    return 1


def _describe_names(tensors: Sequence[TensorSpec], inputs: Mapping[str, Any]) -> str:
    names = {t.name for t in tensors}
    missing = [t.name for t in tensors if t.name not in inputs]
    unknown = [name for name in inputs if name not in names]
    parts = []
    if missing:
        parts.append(f"missing: {_quoted(missing)}")
    if unknown:
        parts.append(f"unknown: {_quoted(unknown)}")
    return f"wrong input names ({'; '.join(parts)}); the model takes {_quoted(t.name for t in tensors)}"


def _quoted(names: Any) -> str:
    return ", ".join(repr(name) for name in names)


def _check_batch(tensors: Sequence[TensorSpec], arrays: Mapping[str, Array], max_batch_size: int | None) -> None:
    rows: int | None = None
    for tensor in tensors:
        size = arrays[tensor.name].shape[0]
        if size == 0:
            raise InvalidInput(
                f"input {tensor.name!r} is an empty batch: its first axis has size 0, at least 1 is needed"
            )
        if max_batch_size is not None and size > max_batch_size:
            raise InvalidInput(f"input {tensor.name!r} has {size} rows; one request may hold at most {max_batch_size}")
        if rows is not None and size != rows:
            raise InvalidInput(
                f"input {tensor.name!r} has {size} rows, but input {tensors[0].name!r} has {rows}; "
                "the first axes must be equally long"
            )
        rows = size


def _to_integers(array: Array, value: Any, dtype: np.dtype[Any], what: str) -> Array:
    """Read anew what numpy made floats of, because it was integers beyond int64 beside smaller ones."""
    objects = np.array(value, dtype=object)
    if not objects.size or not all(isinstance(element, int) for element in objects.flat):
        return array
    try:
        return objects.astype(dtype)
    except OverflowError as error:
        raise InvalidInput(f"{what} holds integers that do not fit into {dtype}") from error


def _check_elements(array: Array, what: str) -> None:
    odd = [element for element in array.flat if not isinstance(element, str | bytes | np.str_)]
    if any(isinstance(element, list | tuple | np.ndarray) for element in odd):
        raise InvalidInput(f"{what} is ragged: nested lists must have the same lengths at every level")
    if any(element is None for element in odd):
        raise InvalidInput(f"{what} holds null, which no tensor can; where the model takes missing numbers, write NaN")
    if odd:
        raise InvalidInput(f"{what} holds {str(odd[0])[:40]}, which fits no dtype, or stands beside text")


def _to_strings(array: Array, what: str) -> Array:
    kind = array.dtype.kind
    if kind == "U":
        return array.astype(object)
    if kind not in "SO" and array.size:
        raise InvalidInput(f"{what} must be text, got {array.dtype}")
    strings = np.empty(array.shape, dtype=object)
    strings.reshape(-1)[:] = [_text_of(element, what) for element in array.reshape(-1).tolist()]
    return strings


def _text_of(element: Any, what: str) -> str | bytes:
    if isinstance(element, str):
        return str(element)
    if not isinstance(element, bytes):
        shown = "null" if element is None else f"{element!r:.40}"
        raise InvalidInput(f"{what} must be text, but holds {shown}")
    try:
        return element.decode()
    except UnicodeDecodeError:
        return bytes(element)


def _cast(array: Array, dtype: np.dtype[Any], what: str) -> Array:
    source = array.dtype
    # numpy calls a signed to an unsigned integer no same kind; in range it is harmless.
    integers = source.kind in "iu" and dtype.kind in "iu"
    if source.kind not in "biuf" or not (integers or np.can_cast(source.newbyteorder("="), dtype, "same_kind")):
        given = {"U": "text", "S": "text", "O": "text or objects"}.get(source.kind, str(source))
        raise InvalidInput(f"{what} must be {dtype}, got {given}")
    if not array.size:
        return array.astype(dtype)
    if dtype.kind == "f" and source.kind in "iu":
        return _cast_to_float(array, dtype, what)
    if np.can_cast(source, dtype, "safe"):
        return array.astype(dtype)
    if dtype.kind in "iu":
        return _cast_integers(array, dtype, what)
    with np.errstate(over="ignore"):
        cast = array.astype(dtype)
    _refuse_lost(np.isinf(cast) & np.isfinite(array), array, dtype, what)
    return cast


def _cast_to_float(array: Array, dtype: np.dtype[Any], what: str) -> Array:
    with np.errstate(over="ignore"):
        cast = array.astype(dtype)
    exact = 2 ** (np.finfo(dtype).nmant + 1)  # every integer up to here is one of the floats
    if not -exact <= array.min() <= array.max() <= exact:
        # Long double holds every 64-bit integer; numpy's own word for int64 to float64 is safe, which it is not.
        _refuse_lost(cast.astype(np.longdouble) != array.astype(np.longdouble), array, dtype, what)
    return cast


def _refuse_lost(lost: Array, array: Array, dtype: np.dtype[Any], what: str) -> None:
    if lost.any():
        raise InvalidInput(f"{what}: {array[lost].flat[0]} does not fit into {dtype} without being changed")


def _cast_integers(array: Array, dtype: np.dtype[Any], what: str) -> Array:
    limits = np.iinfo(dtype)
    for value in (int(array.min()), int(array.max())):
        if not limits.min <= value <= limits.max:
            raise InvalidInput(f"{what}: {value} does not fit into {dtype} ({limits.min} to {limits.max})")
    return array.astype(dtype)
