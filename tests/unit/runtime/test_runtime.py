"""The order in which a request passes through checks, transform and engine, with an engine that is plain numpy."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelport_runtime.checking import InvalidInput, ModelFailed
from modelport_runtime.codec import NPZ, encode
from modelport_runtime.description import ModelDescription
from modelport_runtime.engines.binding import ModelError, bind_inputs, bind_outputs
from modelport_runtime.runtime import Runtime, load_transform
from modelport_runtime.signature import Signature, TensorSpec

ROWS = Signature(
    inputs=(TensorSpec(name="x", dtype="float32", shape=(None, None)),),
    outputs=(TensorSpec(name="sum", dtype="float32", shape=(None,)),),
)


class SumEngine:
    """Sums each row; fails on negative numbers; remembers how many rows each call had."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def run(self, inputs: dict[str, Any]) -> dict[str, Any]:
        x = inputs["x"]
        self.calls.append(len(x))
        if (x < 0).any():
            raise IndexError("index out of range in self")
        return {"sum": x.sum(axis=1)}


def describe(**changes: Any) -> ModelDescription:
    facts = {"name": "m", "version": "1", "format": "onnx", "source": "m", "signature": ROWS, "served": ROWS}
    return ModelDescription(**{**facts, **changes})


def row(*values: float) -> dict[str, Any]:
    return {"x": [list(values)]}


def test_requests_are_joined_and_split() -> None:
    engine = SumEngine()
    answers = Runtime(describe(), engine).predict_many([row(1, 2), {"x": [[1, 1], [2, 2]]}, row(5, 6)])
    assert engine.calls == [4]
    assert [answer["sum"].tolist() for answer in answers] == [[3], [2, 4], [11]]


def test_one_bad_request_spoils_no_other() -> None:
    engine = SumEngine()
    answers = Runtime(describe(), engine).predict_many([row(1, 2), {"y": 1}, row(-1, 0), row(3, 4)])
    assert answers[0]["sum"].tolist() == [3]
    assert isinstance(answers[1], InvalidInput)
    assert isinstance(answers[2], ModelFailed)
    assert "index out of range" in str(answers[2])
    assert answers[3]["sum"].tolist() == [7]
    assert engine.calls == [3, 1, 1, 1]


def test_requests_of_other_widths_are_answered_apart() -> None:
    engine = SumEngine()
    answers = Runtime(describe(), engine).predict_many([row(1), row(1, 2), row(3)])
    assert sorted(engine.calls) == [1, 2]
    assert [answer["sum"].tolist() for answer in answers] == [[1], [3], [3]]


def test_a_signature_without_a_batch_axis_is_never_joined() -> None:
    fixed = Signature(
        inputs=(TensorSpec(name="x", dtype="float32", shape=(1, 2)),),
        outputs=(TensorSpec(name="sum", dtype="float32", shape=(1,)),),
    )
    engine = SumEngine()
    answers = Runtime(describe(signature=fixed, served=fixed), engine).predict_many([row(1, 2), row(3, 4)])
    assert engine.calls == [1, 1]
    assert [answer["sum"].tolist() for answer in answers] == [[3], [7]]


def test_no_requests_no_answers() -> None:
    assert Runtime(describe(), SumEngine()).predict_many([]) == []


def test_outputs_are_held_against_the_signature() -> None:
    wrong = Signature(inputs=ROWS.inputs, outputs=(TensorSpec(name="sum", dtype="float32", shape=(None, 3)),))
    with pytest.raises(ModelFailed, match=r"output 'sum' must have shape \[\?, 3\], got \[1\]"):
        Runtime(describe(signature=wrong), SumEngine()).predict(row(1, 2))


def test_nan_and_infinity_pass_through() -> None:
    answer = Runtime(describe(), SumEngine()).predict({"x": [[float("nan"), 1], [float("inf"), 1]]})
    np.testing.assert_array_equal(answer["sum"], np.array([np.nan, np.inf], np.float32))


def test_the_batch_limit_holds() -> None:
    with pytest.raises(InvalidInput, match=r"has 2 rows; one request may hold at most 1"):
        Runtime(describe(max_batch_size=1), SumEngine()).predict({"x": [[1], [2]]})


class Words:
    """Takes lengths of words; answers with words."""

    def preprocess(self, inputs: dict[str, Any]) -> dict[str, Any]:
        if any("!" in word for word in inputs["text"]):
            raise ValueError("no shouting")
        return {"x": [[len(word)] for word in inputs["text"]]}

    def postprocess(self, outputs: dict[str, Any]) -> dict[str, Any]:
        return {"answer": [f"{total:.0f} letters" for total in outputs["sum"]]}


WORDS = Signature(
    inputs=(TensorSpec(name="text", dtype="string", shape=(None,)),),
    outputs=(TensorSpec(name="answer", dtype="string", shape=(None,)),),
)


@pytest.mark.parametrize("known", [True, False])
def test_a_transform_runs_before_and_behind_the_model(known: bool) -> None:
    engine = SumEngine()
    runtime = Runtime(describe(served=WORDS if known else ROWS, served_known=known), engine, Words())
    answers = runtime.predict_many([{"text": ["a", "bcd"]}, {"text": ["oh!"]}, {"text": ["ab"]}])
    assert answers[0]["answer"].tolist() == ["1 letters", "3 letters"]
    assert str(answers[1]) == "preprocess refused the input: no shouting"
    assert answers[2]["answer"].tolist() == ["2 letters"]
    assert engine.calls == [3]


def test_what_is_declared_is_checked_before_preprocess() -> None:
    runtime = Runtime(describe(served=WORDS), SumEngine(), Words())
    with pytest.raises(InvalidInput, match=r"'text' must be text"):
        runtime.predict({"text": np.array([1])})


def test_what_is_not_declared_is_checked_behind_preprocess() -> None:
    runtime = Runtime(describe(served_known=False), SumEngine(), Words())
    with pytest.raises(InvalidInput, match=r"preprocess refused the input: no 'text'"):
        runtime.predict({"txt": ["a"]})


class Broken:
    def __init__(self, given: Any) -> None:
        self.given = given

    def preprocess(self, _: dict[str, Any]) -> Any:
        if isinstance(self.given, Exception):
            raise self.given
        return self.given


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (TypeError("oops"), "preprocess failed: TypeError: oops"),
        ([1], "preprocess must give a dict of arrays, gave list"),
        ({"x": [1.0]}, "preprocess gave what the model does not take: input 'x' must have shape"),
    ],
)
def test_a_broken_transform_is_no_fault_of_the_caller(given: Any, words: str) -> None:
    with pytest.raises(ModelFailed, match=words):
        Runtime(describe(), SumEngine(), Broken(given)).predict(row(1))


def test_transforms_are_loaded_from_their_file(tmp_path: Path) -> None:
    (tmp_path / "factor.py").write_text("FACTOR = 3\n")
    (tmp_path / "t.py").write_text(
        "from factor import FACTOR\n"
        "class T:\n    def postprocess(self, outputs):\n        return {k: v * FACTOR for k, v in outputs.items()}\n"
        "class Empty:\n    pass\n"
    )
    transform = load_transform("t.py:T", tmp_path)
    assert Runtime(describe(), SumEngine(), transform).predict(row(1, 2))["sum"].tolist() == [9]
    for reference, words in (
        ("t.py:Empty", "neither preprocess nor postprocess"),
        ("t.py:Nope", "has no class 'Nope'"),
        ("u.py:T", "no such file"),
    ):
        with pytest.raises(ModelError, match=words):
            load_transform(reference, tmp_path)


def test_two_files_of_one_name_do_not_mix(tmp_path: Path) -> None:
    for factor in (2, 3):
        folder = tmp_path / str(factor)
        folder.mkdir()
        (folder / "t.py").write_text(
            f"class T:\n    def postprocess(self, o):\n        return {{k: v * {factor} for k, v in o.items()}}\n"
        )
    answers = [
        Runtime(describe(), SumEngine(), load_transform("t.py:T", tmp_path / str(f))).predict(row(1))["sum"].tolist()
        for f in (2, 3)
    ]
    assert answers == [[2], [3]]


def test_predict_is_safe_from_several_threads() -> None:
    runtime = Runtime(describe(), SumEngine())
    results: dict[int, list[float]] = {}

    def ask(number: int) -> None:
        results[number] = [runtime.predict(row(number, 1))["sum"].item() for _ in range(50)]

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results == {n: [n + 1.0] * 50 for n in range(4)}


def test_warm_up_answers_the_samples(tmp_path: Path, onnx_sum: Path) -> None:
    folder = onnx_sum.parent
    (folder / "samples.npz").write_bytes(encode({"x": np.ones((3, 2), np.float32)}, NPZ))
    (folder / "modelport.json").write_text(describe(source="sum.onnx", samples="samples.npz").to_text())
    assert Runtime.load(folder).warm_up() == 2
    (folder / "samples.npz").write_bytes(encode({"x": np.ones((3, 2), np.int64), "y": np.ones(3)}, NPZ))
    assert Runtime.load(folder).warm_up() == 2
    (folder / "samples.npz").write_bytes(encode({"x": np.ones(3, np.float32)}, NPZ))
    with pytest.raises(InvalidInput, match=r"must have shape"):
        Runtime.load(folder).warm_up()
    (folder / "modelport.json").write_text(describe(source="sum.onnx").to_text())
    assert Runtime.load(folder).warm_up() == 0


def test_load_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Runtime.load(tmp_path)
    (tmp_path / "modelport.json").write_text(describe(source="gone.onnx").to_text())
    with pytest.raises(FileNotFoundError, match=r"gone.onnx: the model that modelport.json names"):
        Runtime.load(tmp_path)


def test_the_description_survives_its_file(tmp_path: Path) -> None:
    there = describe(device="cuda", trust=True, threads=2, labels=("a",), transform="t.py:T", entrypoint="n:N")
    (tmp_path / "modelport.json").write_text(there.to_text())
    assert ModelDescription.read(tmp_path) == there


def test_inputs_bind_by_name_or_by_position_never_by_both() -> None:
    assert bind_inputs(["b", "a"], ["a", "b", "c"]) == {"a": "a", "b": "b"}
    assert bind_inputs(["in 1", "in 2"], ["a", "b"]) == {"a": "in 1", "b": "in 2"}
    with pytest.raises(ModelError, match=r"'z' of the signature are no arguments"):
        bind_inputs(["a", "z"], ["a", "b"])
    with pytest.raises(ModelError, match=r"has 3 inputs, but the model takes 2"):
        bind_inputs(["x", "y", "z"], ["a", "b"])


def test_outputs_bind_by_key_or_by_position() -> None:
    assert bind_outputs({"b": 1, "a": 2}, ["a", "b"]) == {"a": 2, "b": 1}
    assert bind_outputs({"b": 1, "a": 2}, ["x", "y"]) == {"x": 1, "y": 2}
    assert bind_outputs((1, 2), ["x", "y"]) == {"x": 1, "y": 2}
    assert bind_outputs(5, ["x"]) == {"x": 5}
    assert bind_outputs((1, 2), ()) == {"output_0": 1, "output_1": 2}
    for result in ((1, 2, 3), {"x": 1, "z": 2}):
        with pytest.raises(ModelFailed, match=r"the signature declares"):
            bind_outputs(result, ["x", "y"])
