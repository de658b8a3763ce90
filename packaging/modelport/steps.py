"""Pre- and postprocessing as a spec declares it, checked: which tensors there are after each step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from modelport.errors import SpecError
from modelport.spec.schema import PostprocessSection, PreprocessSection, StepEntry
from modelport_runtime.signature import TensorSpec
from modelport_runtime.steps import STEPS, Refused, Step, Typed
from modelport_runtime.steps.pipeline import place_results

Tensors = tuple[TensorSpec, ...]


def plan_preprocess(
    section: PreprocessSection, inputs: Tensors, labels: Sequence[str]
) -> tuple[tuple[Step, ...], Tensors]:
    """Give the steps of preprocessing, and what requests hold.

    Args:
        section: The spec's section.
        inputs: What the model takes.
        labels: The spec's names of classes.

    Raises:
        SpecError: A step does not fit, or what comes out is not what the model takes.
    """
    served = tuple(entry.tensor() for entry in section.inputs) if section.inputs else inputs
    steps = _read_steps(section.steps, labels)
    scope = _follow("preprocess", steps, served)
    for wanted in inputs:
        given = scope.get(wanted.name)
        if given is None:
            raise SpecError(
                f"preprocess: the model takes {wanted.name!r}, and after the steps there are only "
                f"{_names(scope)}; name a step's result so, with to"
            )
        if not _fits(given.spec, wanted):
            raise SpecError(
                f"preprocess: the model takes {wanted}, and the steps give {given.spec}; {_cure(given, wanted)}"
            )
    used = {step.tensor for step in steps} | {tensor.name for tensor in inputs}
    for name in (tensor.name for tensor in served if tensor.name not in used):
        raise SpecError(f"preprocess.inputs: {name!r} is read by no step, and the model does not take it; remove it")
    return steps, served


def plan_postprocess(
    section: PostprocessSection, outputs: Tensors, labels: Sequence[str]
) -> tuple[tuple[Step, ...], Tensors]:
    """Give the steps of postprocessing, and what answers hold.

    Args:
        section: The spec's section.
        outputs: What the model gives.
        labels: The spec's names of classes.

    Raises:
        SpecError: A step does not fit, or an output that is asked for is not there.
    """
    steps = _read_steps(section.steps, labels)
    scope = _follow("postprocess", steps, outputs)
    for index, name in enumerate(section.outputs or ()):
        if name not in scope:
            raise SpecError(f"postprocess.outputs[{index}]: after the steps there is no {name!r}, only {_names(scope)}")
    return steps, tuple(scope[name].spec for name in section.outputs or scope)


def _read_steps(entries: Sequence[StepEntry], labels: Sequence[str]) -> tuple[Step, ...]:
    steps = []
    for entry in entries:
        kind, section = entry.chosen
        settings = section.model_dump()
        if kind == "labels" and settings["names"] is None:
            settings["names"] = tuple(labels)
        steps.append(STEPS[kind](**settings))
    return tuple(steps)


def _follow(side: str, steps: Sequence[Step], tensors: Tensors) -> dict[str, Typed]:
    """Give the tensors that there are after all steps, by name.

    Raises:
        SpecError: A step does not fit; the message begins with its key.
    """
    scope = {tensor.name: Typed(spec=tensor) for tensor in tensors}
    for index, step in enumerate(steps):
        key = f"{side}.steps[{index}].{step.kind}"
        if step.tensor not in scope:
            raise SpecError(f"{key}: there is no {step.tensor!r} here, only {_names(scope)}")
        taken = [name for name in step.results if name in scope and name != step.tensor]
        if taken:
            raise SpecError(f"{key}: there already is a {taken[0]!r}; give the result another name")
        try:
            results = step.infer(scope[step.tensor])
        except Refused as error:
            raise SpecError(f"{key}: {error}") from error
        scope = place_results(step, scope, results)
    return scope


def _fits(given: TensorSpec, wanted: TensorSpec) -> bool:
    return (
        given.dtype == wanted.dtype
        and len(given.shape) == len(wanted.shape)
        and all(want in (None, have) for have, want in zip(given.shape, wanted.shape, strict=True))
    )


def _cure(given: Typed, wanted: TensorSpec) -> str:
    if given.spec.dtype != wanted.dtype:
        return f"cast it to {wanted.dtype}, or declare the request's dtype in preprocess.inputs"
    return "resize or transpose it, or declare the request's shape in preprocess.inputs"


def _names(scope: Mapping[str, Typed]) -> str:
    return ", ".join(map(repr, scope))
