"""Steps within the runtime that rides in artifacts: joined requests, errors, and the description on disk."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from modelport_runtime.checking import InvalidInput, ModelFailed
from modelport_runtime.codec import NPZ, encode
from modelport_runtime.description import ModelDescription
from modelport_runtime.runtime import Runtime
from modelport_runtime.signature import Signature, TensorSpec


class Whole:
    """Gives its input as whole numbers; remembers how many rows each call had."""

    def __init__(self):
        self.calls = []

    def run(self, inputs):
        self.calls.append(len(inputs["x"]))
        return {"n": inputs["x"][:, 0].astype(np.int64)}


@pytest.fixture
def description(plan_steps):
    pixels = TensorSpec(name="pixels", dtype="uint8", shape=(None, None, 2, 1))
    before, _ = plan_steps(
        [
            {"cast": {"tensor": "pixels", "dtype": "float32"}},
            {"resize": {"tensor": "pixels", "size": [1, 2]}},
            {"rename": {"tensor": "pixels", "to": "x"}},
        ],
        [pixels],
    )
    number = TensorSpec(name="n", dtype="int64", shape=(None, 2, 1))
    behind, outputs = plan_steps([{"labels": {"tensor": "n", "names": ["zero", "one", "two"]}}], [number])
    return ModelDescription(
        name="m",
        version="1",
        format="onnx",
        source="m",
        signature=Signature(inputs=(TensorSpec(name="x", dtype="float32", shape=(None, 1, 2, 1)),), outputs=(number,)),
        served=Signature(inputs=(pixels,), outputs=outputs),
        preprocess=before,
        postprocess=behind,
    )


def request(*rows):
    return {"pixels": np.array(rows, np.uint8).reshape(len(rows), -1, 2, 1)}


def test_requests_of_different_sizes_are_joined_behind_the_steps(description):
    engine = Whole()
    answers = Runtime(description, engine).predict_many([request([0, 1]), request([2, 0, 0, 0], [1, 1, 3, 1])])
    assert engine.calls == [3]
    assert answers[0]["n"].ravel().tolist() == ["zero", "one"]
    assert answers[1]["n"].ravel().tolist() == ["one", "zero", "two", "one"]


def test_a_wrong_request_and_a_class_without_a_name_spoil_no_other(description):
    runtime = Runtime(description, Whole())
    answers = runtime.predict_many(
        [request([0, 1]), {"pixels": np.zeros((1, 1, 2, 1))}, request([9, 0]), {"pixels": np.zeros((1, 0, 2, 1), "u1")}]
    )
    assert answers[0]["n"].ravel().tolist() == ["zero", "one"]
    assert isinstance(answers[1], InvalidInput)
    assert "must be uint8" in str(answers[1])
    assert isinstance(answers[2], ModelFailed)
    assert "class 9 has no name; there are 3" in str(answers[2])
    assert isinstance(answers[3], InvalidInput)
    assert "the image has no pixels" in str(answers[3])


def test_the_description_carries_the_steps(description, tmp_path):
    (tmp_path / "modelport.json").write_text(description.to_text())
    assert ModelDescription.read(tmp_path) == description


def test_a_description_without_steps_does_not_speak_of_them(description):
    text = replace(description, preprocess=(), postprocess=()).to_text()
    assert "process" not in text


def test_samples_are_what_requests_hold(description, tmp_path):
    described = replace(description, samples="s.npz")
    (tmp_path / "s.npz").write_bytes(encode(request([0, 1], [1, 1], [2, 2]), NPZ))
    engine = Whole()
    runtime = Runtime(described, engine)
    runtime._folder = tmp_path
    assert runtime.warm_up() == 2
    assert engine.calls == [1, 3]
