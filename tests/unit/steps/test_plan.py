"""What is refused before anything runs, and where the fault is told to be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from modelport.errors import SpecError
from modelport.spec.loading import load_spec
from modelport.spec.schema import ModelSpec, PreprocessSection, StepEntry
from modelport.steps import plan_preprocess
from modelport_runtime.signature import TensorSpec
from modelport_runtime.steps import STEPS

SPEC = 'modelport: 1\nname: m\nversion: "1"\nmodel: {framework: onnx, source: m.onnx}\n'


def tensor(dtype="float32", shape=(None, 3), name="x"):
    return TensorSpec(name=name, dtype=dtype, shape=shape)


@pytest.mark.parametrize(
    ("step", "given", "message"),
    [
        ({"cast": {"tensor": "x", "dtype": "int32"}}, tensor(), "float32 does not become int32 without changing"),
        ({"cast": {"tensor": "x", "dtype": "uint8"}}, tensor("int8"), "int8 does not become uint8"),
        ({"cast": {"tensor": "x", "dtype": "bool"}}, tensor(), "threshold for truth values"),
        ({"cast": {"tensor": "x", "dtype": "float32"}}, tensor("string"), "string does not become float32"),
        ({"scale": {"tensor": "x", "factor": 2}}, tensor("uint8"), "x: uint8[?, 3] is none; cast it before"),
        ({"scale": {"tensor": "x", "factor": 1e9}}, tensor("float16"), "factor: 1000000000.0 becomes inf in float16"),
        ({"normalize": {"tensor": "x", "mean": [0], "std": [1e-9]}}, tensor("float16"), "std: 1e-09 becomes 0.0"),
        ({"normalize": {"tensor": "x", "mean": [1, 2], "std": [1]}}, tensor(), "mean has 2 numbers, and axis -1 of x"),
        ({"normalize": {"tensor": "x", "mean": [1], "std": [1], "axis": 0}}, tensor(), "counts the rows of a request"),
        ({"resize": {"tensor": "x", "size": [2, 2]}}, tensor(), "takes images of 4 axes, nhwc, and x: float32[?, 3]"),
        ({"resize": {"tensor": "x", "size": [2, 2]}}, tensor("uint8", (1, 2, 2, 1)), "takes floating point"),
        ({"resize": {"tensor": "x", "size": [2, 2]}}, tensor(shape=(None, 0, 2, 1)), "has no pixels"),
        ({"transpose": {"tensor": "x", "order": [1, 0]}}, tensor(), "begin order with 0"),
        ({"transpose": {"tensor": "x", "order": [0, 0]}}, tensor(), "each of 0 to 1 once"),
        ({"softmax": {"tensor": "x", "axis": 2}}, tensor(), "axis 2 is none of x: float32[?, 3], which has 2"),
        ({"softmax": {"tensor": "x"}}, tensor(shape=(None,)), "axis 0 of x: float32[?] counts the rows"),
        ({"softmax": {"tensor": "x"}}, tensor(shape=()), "which has 0"),
        ({"softmax": {"tensor": "x"}}, tensor("int64"), "takes floating point"),
        ({"argmax": {"tensor": "x"}}, tensor("bool"), "takes numbers"),
        ({"argmax": {"tensor": "x"}}, tensor(shape=(None, 0)), "is empty"),
        (
            {"top_k": {"tensor": "x", "k": 4}},
            tensor(),
            "k is 4, and the last axis of x: float32[?, 3] has 3; write k: 3",
        ),
        ({"top_k": {"tensor": "x", "k": 1}}, tensor(shape=(None, None)), "may have fewer than 1; declare its size"),
        ({"threshold": {"tensor": "x"}}, tensor("int8"), "takes floating point"),
        ({"labels": {"tensor": "x"}}, tensor(), "use argmax before"),
        ({"labels": {"tensor": "x"}}, tensor("bool"), "there are 3 names, and 'x' chooses among 2 classes"),
        ({"sigmoid": {"tensor": "y"}}, tensor(), "there is no 'y' here, only 'x'"),
    ],
)
def test_a_step_that_does_not_fit(plan_steps, step, given, message):
    with pytest.raises(SpecError) as caught:
        plan_steps([{"rename": {"tensor": "z", "to": "z2"}}, step], [given, tensor(name="z")])
    text = str(caught.value).replace("only 'x', 'z2'", "only 'x'")
    assert text.startswith(f"postprocess.steps[1].{next(iter(step))}: ")
    assert message in text


def test_classes_are_counted_through_the_steps(plan_steps):
    ten = tensor(shape=(None, 10))
    for way in ([{"argmax": {"tensor": "x"}}], [{"top_k": {"tensor": "x", "k": 2, "to": "v", "indices": "i"}}]):
        named = "x" if "argmax" in way[0] else "i"
        with pytest.raises(SpecError, match=f"there are 3 names, and '{named}' chooses among 10 classes"):
            plan_steps([*way, {"labels": {"tensor": named}}], [ten])


def test_labels_without_names(plan_steps):
    from modelport.spec.schema import PostprocessSection
    from modelport.steps import plan_postprocess

    section = PostprocessSection.model_validate({"steps": [{"labels": {"tensor": "x"}}]})
    with pytest.raises(SpecError, match="the spec has no labels"):
        plan_postprocess(section, (tensor("int64"),), ())


def test_names_that_are_taken_or_missing(plan_steps):
    two = [tensor(), tensor(name="y")]
    with pytest.raises(SpecError, match=r"steps\[0\].sigmoid: there already is a 'y'"):
        plan_steps([{"sigmoid": {"tensor": "x", "to": "y"}}], two)
    with pytest.raises(SpecError, match=r"postprocess.outputs\[1\]: after the steps there is no 'z', only 'x', 'y'"):
        plan_steps([{"sigmoid": {"tensor": "x"}}], two, outputs=["x", "z"])


def preprocess(steps, inputs=None):
    wanted = (tensor(shape=(None, 3, 4, 4), name="image"),)
    return plan_preprocess(PreprocessSection.model_validate({"inputs": inputs, "steps": steps}), wanted, ())


def entry(name="image", dtype="uint8", shape=(-1, 4, 4, 3)):
    return {"name": name, "dtype": dtype, "shape": list(shape)}


TURN = {"transpose": {"tensor": "image", "order": [0, 3, 1, 2]}}
CAST = {"cast": {"tensor": "image", "dtype": "float32"}}


def test_preprocessing_tells_what_requests_hold():
    _, served = preprocess([CAST, TURN], [entry()])
    assert [str(t) for t in served] == ["image: uint8[?, 4, 4, 3]"]
    _, served = preprocess([{"scale": {"tensor": "image", "factor": 2}}])
    assert [str(t) for t in served] == ["image: float32[?, 3, 4, 4]"]


@pytest.mark.parametrize(
    ("steps", "inputs", "message"),
    [
        ([TURN], [entry()], "the steps give image: uint8[?, 3, 4, 4]; cast it to float32"),
        ([CAST], [entry()], "the steps give image: float32[?, 4, 4, 3]; resize or transpose it"),
        ([CAST, TURN], [entry(shape=(-1, -1, 4, 3))], "the steps give image: float32[?, 3, ?, 4]"),
        ([CAST, TURN], [entry(), entry("other")], "'other' is read by no step, and the model does not take it"),
        ([{"rename": {"tensor": "image", "to": "x"}}], [entry()], "the model takes 'image', and after the steps"),
    ],
)
def test_preprocessing_that_does_not_lead_to_the_model(steps, inputs, message):
    with pytest.raises(SpecError) as caught:
        preprocess(steps, inputs)
    assert str(caught.value).startswith("preprocess")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("postprocess:\n  steps:\n  - {}\n", 7, "names no step; write one of cast, scale"),
        ("postprocess:\n  steps:\n  - {sigmoid: {tensor: x}, argmax: {tensor: x}}\n", 7, "begin each step with a dash"),
        ("postprocess:\n  steps:\n  - {sotfmax: {tensor: x}}\n", 7, "softmax"),
        ("postprocess:\n  steps:\n  - softmax: {axis: 1}\n", 7, "softmax.tensor: is missing"),
        ("postprocess:\n  steps:\n  - top_k: {tensor: x, k: 0}\n", 7, "must be at least 1, got 0"),
        ("postprocess:\n  steps:\n  - top_k: {tensor: x, k: 1, indices: x}\n", 7, "is the name of the values too"),
        ("postprocess:\n  steps:\n  - normalize: {tensor: x, mean: [.nan], std: [1]}\n", 7, "finite"),
        ("postprocess:\n  steps:\n  - normalize: {tensor: x, mean: [1], std: [0]}\n", 7, "must be more than 0"),
        ("postprocess:\n  steps: []\n", 6, "must not be empty"),
        ("postprocess:\n  steps:\n  - rename: {tensor: x}\n", 7, "rename.to: is missing"),
        ("postprocess:\n  steps:\n  - rename: {tensor: x, to: y}\n  outputs: [y, y]\n", 8, "'y' stands twice"),
        ("transform: t.py:T\npreprocess:\n  steps:\n  - sigmoid: {tensor: x}\n", 6, "stands beside transform"),
    ],
)
def test_faults_of_the_text_have_a_line(tmp_path, text, line, message):
    (tmp_path / "s.yaml").write_text(SPEC + text)
    with pytest.raises(SpecError) as caught:
        load_spec(tmp_path / "s.yaml")
    fault = next(part for part in str(caught.value).splitlines() if "s.yaml:" in part)
    assert f"s.yaml:{line}:" in fault
    assert message in str(caught.value)


def test_specs_without_steps_are_recorded_as_before():
    raw = {"modelport": 1, "name": "m", "version": "1", "model": {"framework": "onnx", "source": "m.onnx"}}
    assert not {"preprocess", "postprocess"} & ModelSpec.model_validate(raw).model_dump(exclude_none=True).keys()


def test_every_step_can_be_declared_and_is_documented():
    text = (Path(__file__).parents[3] / "docs" / "steps.md").read_text(encoding="utf-8")
    assert list(StepEntry.model_fields) == list(STEPS)
    assert [kind for kind in STEPS if f"\n| `{kind}` |" not in text] == []


def test_outputs_are_learned_through_preprocessing(tmp_path):
    joblib = pytest.importorskip("joblib")
    from sklearn.linear_model import LogisticRegression

    from modelport.resolve import resolve_model

    x = np.random.default_rng(0).integers(0, 256, (30, 4)).astype(np.uint8)
    joblib.dump(LogisticRegression().fit(x / 255, x[:, 0] > 127), tmp_path / "m.joblib")
    np.savez(tmp_path / "s.npz", pixels=x)
    spec = {
        "modelport": 1, "name": "m", "version": "1", "samples": "s.npz", "labels": ["dark", "light"],
        "model": {"framework": "sklearn", "source": "m.joblib", "trust": True},
        "signature": {"inputs": [{"name": "x", "dtype": "float64", "shape": [-1, 4]}]},
        "preprocess": {
            "inputs": [{"name": "pixels", "dtype": "uint8", "shape": [-1, 4]}],
            "steps": [
                {"cast": {"tensor": "pixels", "dtype": "float64"}},
                {"scale": {"tensor": "pixels", "factor": 1 / 255, "to": "x"}},
            ],
        },
        "postprocess": {
            "steps": [{"argmax": {"tensor": "probabilities", "to": "class"}}, {"labels": {"tensor": "class"}}],
            "outputs": ["class", "probabilities"],
        },
    }  # fmt: skip
    model = resolve_model(ModelSpec.model_validate(spec), tmp_path)
    assert [str(t) for t in model.signature.inputs] == ["x: float64[?, 4]"]
    assert [str(t) for t in model.served.inputs] == ["pixels: uint8[?, 4]"]
    assert [str(t) for t in model.served.outputs] == ["class: string[?]", "probabilities: float64[?, 2]"]

    from modelport.frameworks import reference

    answer = reference(model)({"pixels": x})
    assert answer["class"].tolist() == np.where(answer["probabilities"][:, 1] > 0.5, "light", "dark").tolist()
    with pytest.raises(SpecError, match="input 'pixels' must be uint8, got float64"):
        reference(model)({"pixels": x.astype(float)})
