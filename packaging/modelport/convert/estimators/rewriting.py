"""An estimator as skl2onnx can take it: the same answers, without what it stumbles over."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np


def simplify(estimator: Any) -> Any:
    """Give an estimator that answers alike: the same one, or a copy with parts replaced."""
    estimator = _found(estimator)
    parts = list(_parts(estimator))
    if any(_unbounded(part) or _small_classes(part) or _listed_weights(part) for part in parts):
        estimator = copy.deepcopy(estimator)
        for part in _parts(estimator):
            _simplify_part(part)
    return estimator


def _found(estimator: Any) -> Any:
    """Put what a search found, or a wrapper froze, in its place; also as a pipeline's step."""
    if hasattr(estimator, "best_estimator_"):
        return _found(estimator.best_estimator_)
    if type(estimator).__name__ == "FrozenEstimator":
        return _found(estimator.estimator)
    if not hasattr(estimator, "steps"):
        return estimator
    steps = [(name, _found(step)) for name, step in estimator.steps]
    if all(new is old for (_, new), (_, old) in zip(steps, estimator.steps, strict=True)):
        return estimator
    changed = copy.copy(estimator)
    changed.steps = steps
    return changed


def _parts(value: Any) -> Iterator[Any]:
    """Give an estimator and all that are inside it, whatever attributes and lists they stand in."""
    if isinstance(value, list | tuple | np.ndarray | dict):
        for member in value.values() if isinstance(value, dict) else value:
            if _may_hold(member):
                yield from _parts(member)
    elif hasattr(value, "fit") or hasattr(value, "calibrators"):  # a calibrated classifier's pieces have no fit
        yield value
        for member in vars(value).values():
            if _may_hold(member):
                yield from _parts(member)


def _may_hold(value: Any) -> bool:
    objects = isinstance(value, np.ndarray) and value.dtype.kind == "O"
    return (
        objects or isinstance(value, list | tuple | dict) or hasattr(value, "calibrators")
        or (hasattr(value, "fit") and not isinstance(value, type))
    )  # fmt: skip


def _simplify_part(part: Any) -> None:
    if _unbounded(part):
        # A split into missing and present has an infinite threshold, at which skl2onnx searches for the next number
        # for ever. Every number that scikit-learn takes is at most float32's largest, so that one parts them alike.
        largest = float(np.finfo(np.float32).max)
        np.clip(part.tree_.threshold, -largest, largest, out=part.tree_.threshold)
    for name in _small_classes(part):
        setattr(part, name, vars(part)[name].astype(np.int64))
    if _listed_weights(part):
        part.weights = np.asarray(part.weights)


def _unbounded(part: Any) -> bool:
    threshold = getattr(getattr(part, "tree_", None), "threshold", None)
    return threshold is not None and bool(np.isinf(threshold).any())


def _small_classes(part: Any) -> list[str]:
    """Name the attributes that hold classes in a dtype that some of skl2onnx's converters take for text."""
    held = ((name, vars(part).get(name)) for name in ("classes_", "classes"))
    return [
        name for name, value in held
        if isinstance(value, np.ndarray) and value.dtype.kind in "iub" and value.dtype != np.int64
    ]  # fmt: skip


def _listed_weights(part: Any) -> bool:
    """Tell whether a vote's weights are a list, which skl2onnx takes for an array."""
    return type(part).__name__.startswith("Voting") and isinstance(part.weights, list | tuple)
