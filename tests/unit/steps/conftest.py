"""Steps as a spec has them, planned and run by numpy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from modelport.spec.schema import PostprocessSection
from modelport.steps import plan_postprocess
from modelport_runtime.signature import TensorSpec
from modelport_runtime.steps import Pipeline, Step

LABELS = ("cat", "dog", "bird")
Plan = Callable[..., tuple[tuple[Step, ...], tuple[TensorSpec, ...]]]


def spec_of(name: str, array: np.ndarray[Any, Any], *, batched: bool = True) -> TensorSpec:
    """Describe an array whose first axis counts rows."""
    dtype = "string" if array.dtype.kind == "O" else array.dtype.name
    shape = array.shape
    return TensorSpec(name=name, dtype=dtype, shape=(None, *shape[1:]) if batched and shape else shape)


def plan_steps(
    steps: Sequence[Mapping[str, Any]], tensors: Sequence[TensorSpec], **keys: Any
) -> tuple[tuple[Step, ...], tuple[TensorSpec, ...]]:
    """Plan postprocessing of these steps; give them and what is there after them."""
    section = PostprocessSection.model_validate({"steps": list(steps), **keys})
    return plan_postprocess(section, tuple(tensors), LABELS)


@pytest.fixture(name="plan_steps", scope="session")
def plan_fixture() -> Plan:
    """See `plan_steps`."""
    return plan_steps


@pytest.fixture(scope="session")
def run_steps() -> Callable[..., dict[str, Any]]:
    """Plan steps for arrays, run them, and hold the results against the plan."""

    def run(steps: Sequence[Mapping[str, Any]], arrays: Mapping[str, Any], **keys: Any) -> dict[str, Any]:
        planned, outputs = plan_steps(steps, [spec_of(name, array) for name, array in arrays.items()], **keys)
        found = Pipeline(steps=planned, names=tuple(tensor.name for tensor in outputs))(arrays)
        for tensor in outputs:
            assert spec_of(tensor.name, np.asarray(found[tensor.name])).dtype == tensor.dtype
            assert len(found[tensor.name].shape) == len(tensor.shape)
            pairs = zip(tensor.shape, found[tensor.name].shape, strict=True)
            assert all(want in (None, have) for want, have in pairs), tensor
        return found

    return run
