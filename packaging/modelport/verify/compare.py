"""How far two answers are apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Tensors = Mapping[str, Array]

ROUNDING_ATOL, ROUNDING_RTOL = 1e-5, 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The largest differences between an answer and what it should be.

    Attributes:
        max_abs: Largest absolute difference; infinite where a value is missing, or is NaN on one side only, or where
            texts differ.
        max_rel: Largest difference relative to the right value, over values of at least ``atol``.
        faults: Sentences on what is out of tolerance, one an output.
    """

    max_abs: float
    max_rel: float
    faults: tuple[str, ...]


def compare(answer: Tensors, right: Tensors, *, atol: float, rtol: float) -> Difference:
    """Compare all outputs: numbers within ``atol + rtol · |right|``; whole numbers, truth values and text exactly."""
    parts = [_compare_output(name, answer.get(name), value, atol, rtol) for name, value in right.items()]
    extra = [f"{name}: the framework gives no such output" for name in answer if name not in right]
    return Difference(
        max_abs=max((part.max_abs for part in parts), default=0.0),
        max_rel=max((part.max_rel for part in parts), default=0.0),
        faults=(*(fault for part in parts for fault in part.faults), *extra),
    )


def compare_joined(answer: Tensors, right: Tensors, *, atol: float, rtol: float) -> Difference:
    """As `compare`, for rows that were computed beside others than the right ones were: those are rounded otherwise.

    At least ``1e-5 + 1e-4 · |right|`` is let go, and four roundings of the coarsest dtype.
    """
    steps = [float(np.finfo(value.dtype).eps) for value in right.values() if value.dtype.kind == "f"]
    return compare(
        answer, right, atol=max(atol, ROUNDING_ATOL), rtol=max([rtol, ROUNDING_RTOL, *(4 * s for s in steps)])
    )


def _compare_output(name: str, answer: Array | None, right: Array, atol: float, rtol: float) -> Difference:
    if answer is None:
        return _fault(f"{name}: missing in the answer")
    if answer.shape != right.shape:
        return _fault(f"{name}: shape {list(answer.shape)}, should be {list(right.shape)}")
    if answer.dtype != right.dtype and not (_is_text(answer) and _is_text(right)):
        return _fault(f"{name}: dtype {answer.dtype}, should be {right.dtype}")
    if right.dtype.kind in "OUSb":
        different = int(np.count_nonzero(np.asarray(answer != right)))
        return _fault(f"{name}: {different} of {right.size} values differ") if different else _equal()
    return _compare_numbers(name, answer, right, atol, rtol)


def _is_text(array: Array) -> bool:
    return array.dtype.kind in "OUS"


def _compare_numbers(name: str, answer: Array, right: Array, atol: float, rtol: float) -> Difference:
    if right.size == 0:
        return _equal()
    if right.dtype.kind in "iu" and answer.dtype.kind in "iu":
        # Python's integers: the difference of two 64-bit ones may not fit into 64 bits.
        gap = np.abs(answer.astype(object) - right.astype(object)).astype(np.float64)
        allowed: Array = np.zeros(right.shape)
    else:
        got, want = answer.astype(np.float64), right.astype(np.float64)
        same = (got == want) | (np.isnan(got) & np.isnan(want))
        with np.errstate(invalid="ignore"):
            gap = np.where(same, 0.0, np.abs(got - want))
        gap = np.where(np.isnan(gap), np.inf, gap)
        allowed = atol + rtol * np.where(np.isfinite(want), np.abs(want), 0.0)
    size = np.abs(right.astype(np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.where((size >= max(atol, 1e-300)) & np.isfinite(size), gap / size, 0.0)
    bad = gap > allowed
    faults: tuple[str, ...] = ()
    if bad.any():
        place = tuple(int(i) for i in np.unravel_index(int(np.argmax(np.where(bad, gap, -1.0))), gap.shape))
        share = f"{int(bad.sum())} of {right.size} values out of tolerance (atol {atol:g}, rtol {rtol:g})"
        faults = (f"{name}{list(place)}: {answer[place]}, should be {right[place]}; {share}",)
    return Difference(max_abs=float(gap.max()), max_rel=float(relative.max()), faults=faults)


def _equal() -> Difference:
    return Difference(max_abs=0.0, max_rel=0.0, faults=())


def _fault(sentence: str) -> Difference:
    return Difference(max_abs=float("inf"), max_rel=float("inf"), faults=(sentence,))


def scores(answer: Tensors) -> Array | None:
    """Give the first output that looks like class scores: floats of shape [rows, classes > 1]."""
    for value in answer.values():
        if value.dtype.kind == "f" and value.ndim == 2 and value.shape[1] > 1:
            return value
    return None


def argmax_agreement(answer: Tensors, right: Tensors) -> float | None:
    """Share of rows whose highest score stands in the same place; None where there are no scores."""
    got, want = scores(answer), scores(right)
    if got is None or want is None or got.shape != want.shape or not len(want):
        return None
    return float(np.mean(got.argmax(axis=1) == want.argmax(axis=1)))


def accuracy(answer: Tensors, truth: Array, names: Sequence[str]) -> float | None:
    """Share of rows that are right.

    Args:
        answer: All outputs. One value a row that is no float is the predicted class; else the highest score is.
        truth: The right class of each row: its name, or its place; a place may be written as a float, ``2.0``.
        names: Names of the classes, where the spec has them.

    Returns:
        None where no output tells a class for each row.
    """
    truth = _one_a_row(truth)
    flat = {name: _one_a_row(value) for name, value in answer.items()}
    predicted = next((v for v in flat.values() if v.dtype.kind in "biuOUS" and v.shape == truth.shape), None)
    if predicted is None:
        found = scores(answer)
        if found is None or truth.shape != found.shape[:1]:
            return None
        predicted = found.argmax(axis=1)
    if _is_text(predicted) != _is_text(truth):
        predicted, truth = _named(predicted, names), _named(truth, names)
    return float(
        np.mean([_class_of(a) == _class_of(b) for a, b in zip(predicted.tolist(), truth.tolist(), strict=True)])
    )


def _one_a_row(values: Array) -> Array:
    """Give a column ``[rows, 1]`` as ``[rows]``, and anything else as it is."""
    return values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values


def _named(classes: Array, names: Sequence[str]) -> Array:
    """Give places as names, where the spec has names for all of them."""
    if _is_text(classes):
        return classes
    places = [_class_of(value) for value in classes.tolist()]
    known = {str(place): name for place, name in enumerate(names)}
    named = all(place in known for place in places)
    return np.array([known[place] for place in places] if named else classes.astype(str), dtype=object)


def _class_of(value: Any) -> str:
    """Give one class as text: ``2``, ``2.0`` and ``"2"`` are the same one, and so are ``True`` and ``1``."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if isinstance(value, float | bool) and value == value // 1:
        return str(int(value))
    return str(value)


def join(parts: Sequence[Tensors]) -> dict[str, Array]:
    """Join answers along the first axis; scalars are stacked, and outputs whose other sizes vary are left out."""
    joined = {}
    for name in parts[0]:
        arrays = [part[name] for part in parts]
        if len({array.shape[1:] for array in arrays}) == 1:
            joined[name] = np.concatenate(arrays) if arrays[0].ndim else np.stack(arrays)
    return joined
