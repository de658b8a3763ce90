"""Classify and Regress: Examples in, and a signature's classes, scores or values out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from modelport_tfserving.server.statuses import (
    Code,
    ServingError,
    failed_precondition,
    invalid_argument,
)
from modelport_tfserving.server.tensors import Array, encoded_name

_PREFIX = "tensorflow/serving/"
PREDICT, CLASSIFY, REGRESS = f"{_PREFIX}predict", f"{_PREFIX}classify", f"{_PREFIX}regress"


def serialize_examples(request_input: Any) -> Array:
    """Return the Examples of a request as serialized bytes, each joined with the request's context if there is one.

    Raises INVALID_ARGUMENT when there is none.
    """
    if request_input.WhichOneof("kind") == "example_list_with_context":
        context = request_input.example_list_with_context.context.SerializeToString()
        examples = request_input.example_list_with_context.examples
    else:
        context = b""
        examples = request_input.example_list.examples
    if not examples:
        raise invalid_argument("Input is empty.")
    serialized = np.empty(len(examples), object)
    # Two serialized messages in a row parse as their merger, so the example's own features win.
    serialized[:] = [context + example.SerializeToString() for example in examples]
    return serialized


@dataclass(frozen=True)
class ExamplePlan:
    """A signature on Examples, checked: the tensor they go to, what to fetch, and how to read it."""

    input: str
    outputs: tuple[str, ...]
    convert: Callable[[Mapping[str, Array], int], Any]


def check_task(task: Any, model_name: str) -> None:
    """Refuse a MultiInference task that is not for the model of the first, or for no known method."""
    if not task.model_spec.name:
        raise invalid_argument("Found ModelSpec with an empty model name.")
    if task.model_spec.name != model_name:
        raise invalid_argument("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
    if task.method_name not in {CLASSIFY, REGRESS}:
        raise ServingError(Code.UNIMPLEMENTED, f"Unsupported signature method_name: {task.method_name}")


def _input_tensor(signature: Any, kind: str) -> str:
    if len(signature.inputs) != 1:
        raise invalid_argument("Expected one input Tensor.")
    if "inputs" not in signature.inputs:
        raise failed_precondition(f"No {kind} inputs found in SignatureDef: {signature}")
    return str(signature.inputs["inputs"].name)


def plan_classify(signature: Any) -> ExamplePlan:
    """Return how a classification signature is run; its answer is a ClassificationResult."""
    from tensorflow_serving.apis import classification_pb2

    input_tensor = _input_tensor(signature, "classification")
    if len(signature.outputs) not in {1, 2}:
        raise invalid_argument(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    names = {alias: signature.outputs[alias].name for alias in ("classes", "scores") if alias in signature.outputs}
    if not names:
        raise failed_precondition(
            'Expected classification signature outputs to contain at least one of "classes" or "scores". '
            f"Signature was: {signature}"
        )

    def convert(tensors: Mapping[str, Array], count: int) -> Any:
        found = {alias: tensors[name] for alias, name in names.items()}
        _check_classes(found, count)
        result = classification_pb2.ClassificationResult()
        for row in range(count):
            classes = result.classifications.add().classes
            for column in range(next(iter(found.values())).shape[1]):
                entry = classes.add()
                if "classes" in found:
                    entry.label = found["classes"][row, column]
                if "scores" in found:
                    entry.score = found["scores"][row, column]
        return result

    return ExamplePlan(input_tensor, tuple(names.values()), convert)


def _check_classes(found: Mapping[str, Array], count: int) -> None:
    wanted = {"classes": (np.dtype(object), "DT_STRING"), "scores": (np.dtype(np.float32), "DT_FLOAT")}
    for alias, array in found.items():
        dtype, dtype_name = wanted[alias]
        if array.ndim != 2:
            raise invalid_argument(f"Expected Tensor shape: [batch_size num_classes] but got {_show_shape(array)}")
        if array.dtype != dtype:
            raise invalid_argument(f"Expected {alias} Tensor of {dtype_name}. Got: {_show_type(array)}")
        if array.shape[0] != count:
            raise invalid_argument(f"Expected {alias} output batch size of {count}. Got: {array.shape[0]}")
    if len(found) == 2 and found["classes"].shape[1] != found["scores"].shape[1]:
        raise invalid_argument(
            "Tensors class and score should match in dim_size(1). Got "
            f"{found['classes'].shape[1]} vs. {found['scores'].shape[1]}"
        )


def _show_shape(array: Array) -> str:
    return f"[{','.join(map(str, array.shape))}]"


def _show_type(array: Array) -> str:
    return f"DT_{encoded_name(array.dtype).upper()}"


def plan_regress(signature: Any) -> ExamplePlan:
    """Return how a regression signature is run; its answer is a RegressionResult."""
    from tensorflow_serving.apis import regression_pb2

    input_tensor = _input_tensor(signature, "regression")
    if len(signature.outputs) != 1:
        raise invalid_argument("Expected one output Tensor.")
    if "outputs" not in signature.outputs:
        raise failed_precondition(f"No regression outputs found in SignatureDef: {signature}")
    output = str(signature.outputs["outputs"].name)

    def convert(tensors: Mapping[str, Array], count: int) -> Any:
        array = tensors[output]
        if array.ndim != 1 and not (array.ndim == 2 and array.shape[1] == 1):
            raise invalid_argument(
                "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got "
                f"{_show_shape(array)}"
            )
        if array.shape[0] != count:
            raise invalid_argument(f"Input batch size did not match output batch size: {count} vs. {array.shape[0]}")
        if array.dtype != np.float32:
            raise invalid_argument(f"Expected output Tensor of DT_FLOAT.  Got: {_show_type(array)}")
        result = regression_pb2.RegressionResult()
        for value in array.ravel().tolist():
            result.regressions.add(value=value)
        return result

    return ExamplePlan(input_tensor, (output,), convert)
