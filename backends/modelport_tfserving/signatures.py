"""Signatures for Classify and Regress, planned: which outputs they give, and whether Examples can carry the inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from modelport.convert.graph_ends import ExampleSignature
from modelport.errors import SpecError
from modelport_tfserving.options import ClassifyOptions, RegressOptions, SignaturesOptions

if TYPE_CHECKING:
    from modelport.model import Model
    from modelport_runtime.signature import TensorSpec

KEY = "backends.tfserving.signatures"


def plan_signatures(model: Model, options: SignaturesOptions) -> tuple[ExampleSignature, ...]:
    """Give the signatures that are asked for.

    Raises:
        SpecError: An input cannot come from a ``tf.Example``, or no output is what the method must answer.
    """
    if options.classify is None and options.regress is None:
        return ()
    for tensor in model.served.inputs:
        _require_feature(tensor)
    return tuple(_planned(model, options))


def _planned(model: Model, options: SignaturesOptions) -> Iterator[ExampleSignature]:
    if options.classify is not None:
        yield _plan_classify(model, options.classify)
    if options.regress is not None:
        yield _plan_regress(model, options.regress)


def _require_feature(tensor: TensorSpec) -> None:
    """Refuse an input whose rows no feature of a ``tf.Example`` can hold."""
    if not tensor.shape or tensor.shape[0] is not None:
        reason = "its first axis is fixed, and each Example is one row of it"
    elif None in tensor.shape[1:]:
        reason = "a row of it has no fixed shape"
    elif tensor.dtype == "uint64":
        reason = "an Example's integers end at 2^63 - 1"
    else:
        return
    raise SpecError(
        f"{KEY}: Classify and Regress take tf.Example, and the input {tensor} cannot come from one: {reason}. "
        "Fix its shape in the model or in preprocess.inputs, or remove the key and use Predict"
    )


def _plan_classify(model: Model, options: ClassifyOptions) -> ExampleSignature:
    scores = _choose(model, f"{KEY}.classify.scores", options.scores, _is_scores, "floats of shape [-1, classes]")
    wanted = scores.shape
    names = [t for t in model.served.outputs if t.dtype == "string" and t.shape == wanted]
    if options.classes is not None or len(names) == 1:
        what = f"text of shape {list(scores.to_json()['shape'])}, as {scores.name!r} has"
        classes = _choose(model, f"{KEY}.classify.classes", options.classes, lambda tensor: tensor in names, what)
        return ExampleSignature(method="classify", outputs={"classes": classes.name, "scores": scores.name})
    labels = model.spec.labels
    if labels and len(labels) != wanted[1]:
        raise SpecError(
            f"{KEY}.classify: there are {len(labels)} labels, and {scores} has "
            f"{'no fixed number of' if wanted[1] is None else wanted[1]} scores; "
            "give one label for each, or name an output of class names with classes"
        )
    return ExampleSignature(method="classify", outputs={"scores": scores.name}, labels=labels)


def _plan_regress(model: Model, options: RegressOptions) -> ExampleSignature:
    output = _choose(model, f"{KEY}.regress.output", options.output, _is_value, "floats of shape [-1] or [-1, 1]")
    return ExampleSignature(method="regress", outputs={"outputs": output.name})


def _choose(model: Model, key: str, name: str | None, fits: Callable[[TensorSpec], bool], what: str) -> TensorSpec:
    """Give the output of a name, or the only one that fits.

    Raises:
        SpecError: It does not fit; or there is none, or more than one.
    """
    outputs = model.served.outputs
    given = ", ".join(map(str, outputs))
    if name is not None:
        found = next((tensor for tensor in outputs if tensor.name == name), None)
        if found is None or not fits(found):
            raise SpecError(f"{key}: must name an output of {what}, got {name!r}; answers hold {given}")
        return found
    fitting = [tensor for tensor in outputs if fits(tensor)]
    if len(fitting) != 1:
        count = "several outputs are" if fitting else "no output is"
        raise SpecError(f"{key}: left out, and {count} {what}; answers hold {given}")
    return fitting[0]


def _is_scores(tensor: TensorSpec) -> bool:
    return tensor.dtype.startswith("float") and len(tensor.shape) == 2 and tensor.shape[0] is None


def _is_value(tensor: TensorSpec) -> bool:
    return tensor.dtype.startswith("float") and tensor.shape in ((None,), (None, 1))
