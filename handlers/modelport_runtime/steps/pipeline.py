"""Steps in a row: their effect on arrays, and their form in ``modelport.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from . import classes, images, numbers
from .ops import Array, NumpyOps, Ops
from .step import Step

STEPS: Mapping[str, type[Step]] = {
    step.kind: step
    for step in (
        numbers.Cast,
        numbers.Scale,
        numbers.Normalize,
        images.Resize,
        numbers.Transpose,
        classes.Softmax,
        classes.Sigmoid,
        classes.Argmax,
        classes.TopK,
        classes.Threshold,
        classes.Labels,
        numbers.Rename,
    )
}
"""All steps, by their key in a spec."""


def apply_steps(steps: Sequence[Step], tensors: Mapping[str, Array], ops: Ops) -> dict[str, Array]:
    """Apply steps in order; give all tensors that there are then, by name.

    Raises:
        ValueError: The values are not what a step takes.
    """
    scope = dict(tensors)
    for step in steps:
        results = step.compute(ops, scope[step.tensor])
        scope = place_results(step, scope, results)
    return scope


def place_results(step: Step, scope: Mapping[str, Any], results: Sequence[Any]) -> dict[str, Any]:
    """Give the tensors by name after a step: a result in the place of the tensor that it replaces, else at the end."""
    named = dict(zip(step.results, results, strict=True))
    placed: dict[str, Any] = {}
    for name, value in scope.items():
        if name == step.tensor and step.consumes:
            placed |= named
        else:
            placed[name] = named.get(name, value)
    return placed | named


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """Steps as a function of numpy arrays.

    Attributes:
        steps: In order.
        names: The tensors to give, in order.
    """

    steps: tuple[Step, ...]
    names: tuple[str, ...]

    def __call__(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        """Apply the steps.

        Raises:
            ValueError: The values are not what a step takes.
        """
        with np.errstate(all="ignore"):  # infinities and NaN are answers here
            scope = apply_steps(self.steps, tensors, NumpyOps())
        return {name: scope[name] for name in self.names}


def step_to_json(step: Step) -> dict[str, Any]:
    """Give a step as plain JSON values."""
    values = {field.name: getattr(step, field.name) for field in fields(step)}
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
    return {"step": step.kind, **plain}


def step_from_json(raw: Mapping[str, Any]) -> Step:
    """Read what `step_to_json` wrote."""
    values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in raw.items() if name != "step"}
    return STEPS[raw["step"]](**values)
