"""Outputs that neither the spec nor the model's file tells, learned by running the model on the samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from modelport.errors import SpecError
from modelport.frameworks.merging import render_missing
from modelport.frameworks.reference import load_runtime
from modelport.model import Model
from modelport.samples import load_samples, name_dtype
from modelport_runtime.checking import Array, InvalidInput, ModelFailed
from modelport_runtime.signature import DTYPES, Signature, TensorSpec


def learn_outputs(model: Model) -> tuple[TensorSpec, ...]:
    """Run the model on its samples and see what comes.

    An axis is dynamic where one row and two rows give different sizes.

    Args:
        model: A model whose two signatures have inputs and no outputs; it has samples. A transform's own is not
            known.

    Raises:
        SpecError: The model cannot answer, or its inputs have other dynamic axes than the first, so that two
            answers do not tell which axes of the outputs are dynamic.
        MissingTool: The framework is not installed.
    """
    assert model.samples is not None  # noqa: S101  # the caller checks
    runtime = load_runtime(model)
    requests = _two_requests(
        model.samples.path, model.served if model.served_known else Signature(inputs=(), outputs=())
    )
    try:
        answers = [runtime.answer_raw(request) for request in requests]
    except (InvalidInput, ModelFailed) as error:
        raise SpecError(f"signature.outputs: left out, and the model cannot answer the samples: {error}") from error
    first, second = ({name: np.asarray(value) for name, value in answer.items()} for answer in answers)
    outputs = tuple(_describe(name, first[name], second[name]) for name in first)
    inputs = model.signature.inputs
    if any(size is None for tensor in inputs for size in tensor.shape[1:]):
        raise SpecError(
            "signature.outputs: left out, but the inputs have dynamic axes beside the first, so samples do not tell "
            f"which axes of the outputs are dynamic; {render_missing(inputs, outputs)}"
        )
    return outputs


def _two_requests(path: Path, known: Signature) -> list[dict[str, Array]]:
    samples = load_samples(path, known)
    one = samples.request(0, 1)
    if not samples.rows:
        return [one, one]
    return [one, {name: np.concatenate([array, array]) for name, array in one.items()}]


def _describe(name: str, one: Array, two: Array) -> TensorSpec:
    dtype = name_dtype(one)
    if dtype not in DTYPES:
        raise SpecError(f"signature.outputs: the model gives {name!r} as {dtype}, which no server carries")
    if one.ndim != two.ndim:
        raise SpecError(f"signature.outputs: {name!r} changes its rank with the batch; declare what the model gives")
    shape: tuple[Any, ...] = tuple(a if a == b else None for a, b in zip(one.shape, two.shape, strict=True))
    return TensorSpec(name=name, dtype=dtype, shape=shape)
