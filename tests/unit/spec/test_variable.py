"""Variables from the environment in values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from modelport.errors import SpecError
from modelport.spec.loading import load_spec
from modelport.spec.schema import ModelSpec

SPEC = """\
modelport: 1
name: ${NAME:-digits}
version: ${VERSION:-1.10}
description: %s
model: {framework: pytorch, source: "${FOLDER:-models}/model.pt", sha256: "%s"}
samples: ${SAMPLES:-}
serving:
  workers: %s
  batching: {max_size: "${SIZE:-8}"}
verify: {atol: "${ATOL:-1e-4}"}
"""
DIGEST = "0" * 64


def load(
    folder: Path, environment: Mapping[str, str], *, description: str = "x", workers: str = "1", sha256: str = DIGEST
) -> ModelSpec:
    path = folder / "s.yaml"
    path.write_text(SPEC % (description, sha256, workers), encoding="utf-8")
    return load_spec(path, environment=environment)


def faults(folder: Path, environment: Mapping[str, str], **values: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        load(folder, environment, **values)
    return [line.removeprefix(f"{folder / 's.yaml'}:") for line in str(caught.value).split("\n")]


def test_defaults(tmp_path: Path) -> None:
    spec = load(tmp_path, {"NAME": ""}, workers="${WORKERS:-2}")
    assert (spec.name, spec.version, spec.model.source, spec.samples) == ("digits", "1.10", "models/model.pt", None)
    assert spec.serving.batching is not None
    assert (spec.serving.workers, spec.serving.batching.max_size, spec.verify.atol) == (2, 8, 1e-4)


def test_values_from_the_environment_take_the_type_that_the_key_asks_for(tmp_path: Path) -> None:
    environment = {"NAME": "7", "VERSION": "2.0", "FOLDER": "/m:#{}[]", "WORKERS": "3", "SIZE": "64", "ATOL": "0"}
    spec = load(tmp_path, environment, workers="${WORKERS}")
    assert (spec.name, spec.version, spec.model.source) == ("7", "2.0", "/m:#{}[]/model.pt")
    assert spec.serving.batching is not None
    assert (spec.serving.workers, spec.serving.batching.max_size, spec.verify.atol) == (3, 64, 0)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("a ${A} b ${B:-c} ${B:-}", "a 1 b c "),
        ("'$${A} $A $$A $ {A} ${A}'", "${A} $A $$A $ {A} 1"),
        ("$$${A}", "$${A}"),
        ("${A:-x:-y}", "1"),
        ("${B:-x:-y}", "x:-y"),
        ('"\\t${C}"', "\t${A}: - 'text'\n"),
    ],
)
def test_text_around_variables_and_the_escape(tmp_path: Path, written: str, value: str) -> None:
    assert load(tmp_path, {"A": "1", "C": "${A}: - 'text'\n"}, description=written).description == value


def test_a_missing_variable_is_told_with_its_position_and_nothing_else(tmp_path: Path) -> None:
    assert faults(tmp_path, {}, description="ünder ${A} and ${B}", workers="${N}") == [
        "4:20: description: the environment variable A is not set; set it, or write ${A:-default}",
        "4:29: description: the environment variable B is not set; set it, or write ${B:-default}",
        "8:12: serving.workers: the environment variable N is not set; set it, or write ${N:-default}",
    ]


@pytest.mark.parametrize("written", ["${}", "${1A}", "${A-b}", "${A", "${A:b}", "${A:-${B}}", "${A B}"])
def test_what_names_no_variable(tmp_path: Path, written: str) -> None:
    (line,) = faults(tmp_path, {"A": "1", "B": "2"}, description=written)
    assert line.startswith('4:14: description: "${')
    assert "names no variable; write ${NAME} or ${NAME:-default}" in line


def test_a_value_that_is_no_number(tmp_path: Path) -> None:
    assert faults(tmp_path, {"N": "many"}, workers="${N}") == [
        '8:3: serving.workers: must be a whole number, got "many"'
    ]
    assert faults(tmp_path, {"N": "0"}, workers="${N}") == ["8:3: serving.workers: must be at least 1, got 0"]


def test_keys_hold_no_variables(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("modelport: 1\n${K}: 1\n", encoding="utf-8")
    with pytest.raises(SpecError, match=r'\["\$\{K\}"\]: unknown key'):
        load_spec(path, environment={"K": "name"})


def test_the_process_environment_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAME", "from-outside")
    path = tmp_path / "s.yaml"
    path.write_text(SPEC % ("x", DIGEST, "1"), encoding="utf-8")
    assert load_spec(path).name == "from-outside"


def test_variables_that_grow_without_end_are_refused(tmp_path: Path) -> None:
    lines = faults(tmp_path, {"A": "a" * 2**17}, description="${A} " * 9)
    assert "the spec's variables hold more than a MiB of text" in lines[0]


def test_text_that_utf8_cannot_hold(tmp_path: Path) -> None:
    assert faults(tmp_path, {"NAME": "a\udcff"}) == [
        '2:1: name: must be text that UTF-8 can hold, got "a\\udcff"',
    ]
