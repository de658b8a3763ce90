"""Specs written for a model."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelport.spec.document import read_document
from modelport.spec.loading import check_spec, load_spec
from modelport.spec.node import to_value
from modelport.spec.template import Draft, Side, render_template, render_text
from modelport_runtime.signature import TensorSpec

INPUTS = (
    TensorSpec(name="a b/c.d:0", dtype="string", shape=()),
    TensorSpec(name="1", dtype="float16", shape=(None, 3)),
    TensorSpec(name="${x}", dtype="bool", shape=(2,)),
)
OUTPUT = (TensorSpec(name="out", dtype="int64", shape=(None,)),)


def known(tensors: tuple[TensorSpec, ...]) -> Side:
    return Side(tensors=tensors, known=True)


def write(folder: Path, draft: Draft) -> Path:
    path = folder / "modelport.yaml"
    path.write_text(render_template(draft), encoding="utf-8")
    (folder / draft.source).write_bytes(b"x")
    return path


def test_a_known_signature_stands_in_a_valid_spec(tmp_path: Path) -> None:
    draft = Draft(name="digits", framework="onnx", source="my model.onnx", inputs=known(INPUTS), outputs=known(OUTPUT))
    path = write(tmp_path, draft)
    assert check_spec(path) == ()
    spec = load_spec(path, environment={})
    assert spec.signature is not None
    signature = spec.signature.signature()
    assert (signature.inputs, signature.outputs) == (INPUTS, OUTPUT)
    assert (spec.name, spec.model.source) == ("digits", "my model.onnx")


def test_what_is_not_known_is_told_in_comments(tmp_path: Path) -> None:
    draft = Draft(
        name="1", framework="pytorch", source="m.pt", needs_entrypoint=True, inputs=Side(tensors=INPUTS, known=False)
    )
    path = write(tmp_path, draft)
    spec = load_spec(path, environment={})
    assert (spec.name, spec.signature, spec.model.entrypoint) == ("1", None, None)
    text = path.read_text(encoding="utf-8")
    assert '\n#     - {name: "a b/c.d:0", dtype: string, shape: []}\n' in text
    assert "\n  # entrypoint: net:Net\n" in text


def test_the_side_that_is_known_stands_beside_the_one_to_be_written(tmp_path: Path) -> None:
    path = write(tmp_path, Draft(name="m", framework="onnx", source="m.onnx", outputs=known(OUTPUT)))
    spec = load_spec(path, environment={})
    assert spec.signature is not None
    assert (spec.signature.inputs, spec.signature.signature().outputs) == (None, OUTPUT)


@pytest.mark.parametrize("needs_trust", [False, True])
def test_a_file_that_runs_code_is_not_trusted_unasked(tmp_path: Path, needs_trust: bool) -> None:
    path = write(tmp_path, Draft(name="m", framework="sklearn", source="m.pkl", needs_trust=needs_trust))
    assert ("# trust: true" in path.read_text(encoding="utf-8")) is needs_trust
    assert load_spec(path, environment={}).model.trust is False


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text(max_size=30))
def test_any_text_is_read_back(text: str) -> None:
    root, faults = read_document("s.yaml", f"{{k: {render_text(text)}}}\n", {})
    assert not faults
    assert root is not None
    assert to_value(root) == {"k": text}
