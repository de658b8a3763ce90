"""Specs as people write them, right and wrong: what is loaded, and what is said where."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from modelport.errors import SpecError
from modelport.spec.loading import check_spec, load_spec
from modelport.spec.schema import ModelSpec, TransformSection

HEAD = 'modelport: 1\nname: digits\nversion: "1.2.0"\nmodel: {framework: pytorch, source: model.pt}\n'
LOOKED_FOR = "it is looked for from the spec's folder"


def load(folder: Path, text: str, environment: Mapping[str, str] | None = None) -> ModelSpec:
    path = folder / "modelport.yaml"
    path.write_text(text, encoding="utf-8")
    return load_spec(path, environment=environment or {})


def faults(folder: Path, text: str, environment: Mapping[str, str] | None = None) -> list[str]:
    """Give what `load_spec` says, without the file's name."""
    path = folder / "modelport.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        load_spec(path, environment=environment or {})
    assert caught.value.exit_code == 2
    return [line.removeprefix(f"{path}:") for line in str(caught.value).split("\n")]


def test_spec_of_the_shortest_form(tmp_path: Path) -> None:
    spec = load(tmp_path, HEAD)
    assert (spec.name, spec.version, spec.model.source) == ("digits", "1.2.0", "model.pt")
    assert spec.signature is None
    assert spec.serving.batching is None


def test_spec_with_every_section(tmp_path: Path) -> None:
    spec = load(
        tmp_path,
        HEAD
        + """
description: Handwritten digits, 8 by 8 pixels
signature:
  inputs:  [{name: "a b/c.d:0", dtype: float32, shape: [-1, 64]}]
  outputs: [{name: "1", dtype: string, shape: []}]
labels: ["0", no, 2024-01-01]
transform: {source: transform.py:Transform, inputs: [{name: image, dtype: uint8, shape: [-1, 8, 8]}]}
samples: samples.npz
environment: {python: "3.11", requirements: ["torch==2.13.0", numpy], device: cpu}
serving: {batching: {max_size: 32, max_delay_ms: 5}, workers: 1, timeout_s: 10, max_request_mb: 16}
resources: {cpu: "1", memory: 1Gi}
deploy:
  replicas: 2
  autoscale: {min: 2, max: 10, cpu_percent: 70}
  strategy: {canary: {steps: [10, 50, 100], error_rate: 0.01, p95_ratio: 2}}
verify: {atol: 1e-5, rtol: 0}
""",
    )
    assert spec.signature is not None
    signature = spec.signature.signature()
    assert [str(tensor) for tensor in signature.inputs + signature.outputs] == [
        "a b/c.d:0: float32[?, 64]",
        "1: string[]",
    ]
    assert spec.labels == ("0", "no", "2024-01-01")
    assert isinstance(spec.transform, TransformSection)
    assert spec.environment.requirements == ("torch==2.13.0", "numpy")
    assert spec.verify.atol == 1e-5


def test_sections_without_a_value_are_left_out(tmp_path: Path) -> None:
    spec = load(tmp_path, HEAD + "serving:\nsignature:\nlabels:\nbackends:\n  # torchserve: {}\n")
    assert spec == load(tmp_path, HEAD)


def test_a_spec_can_be_dumped_and_read_again(tmp_path: Path) -> None:
    spec = load(tmp_path, HEAD + "transform: a.py:B\nlabels: [a, b]\nserving: {batching: {max_size: 8}}\n")
    assert ModelSpec.model_validate(spec.model_dump(mode="json", exclude_none=True)) == spec


def test_many_faults_are_told_at_once_in_the_order_of_the_text(tmp_path: Path) -> None:
    text = """\
modelport: 1
name: digits
version: 1.10
model:
    framework: torch
    entrypont: net:Net
serving:
    workers: "2"

    batching:
        # as long as it takes
        max_size: 0
"""
    frameworks = "pytorch, onnx, tensorflow, sklearn, xgboost, lightgbm"
    assert faults(tmp_path, text) == [
        '3:1: version: must be text, got 1.10; put it in quotes: "1.10"',
        "4:1: model.source: is missing (File or folder, relative to the spec)",
        f'5:5: model.framework: must be one of {frameworks}, got "torch"; did you mean pytorch?',
        "6:5: model.entrypont: unknown key; did you mean 'entrypoint'?",
        '8:5: serving.workers: must be a whole number, got "2"; take the quotes off',
        "12:9: serving.batching.max_size: must be at least 1, got 0",
    ]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("serving: {workers: 1.5}", ["5:11: serving.workers: must be a whole number, got 1.5"]),
        ("serving: {workers: true}", ["5:11: serving.workers: must be a whole number, got true"]),
        ("serving: {timeout_s: 4000}", ["5:11: serving.timeout_s: must be at most 3600, got 4000"]),
        ("serving: 3", ["5:1: serving: must be a mapping, got 3"]),
        ("serving: [workers]", ["5:1: serving: must be a mapping, got a list"]),
        ("description: 5", ['5:1: description: must be text, got 5; put it in quotes: "5"']),
        ("labels: [a, 1]", ['5:13: labels[1]: must be text, got 1; put it in quotes: "1"']),
        ("labels: a", ['5:1: labels: must be a list, got "a"; write ["a"]']),
        ("verify: {atol: .nan}", ["5:10: verify.atol: must be a finite number, got .nan"]),
        ("verify: {atol: 1e999}", ["5:10: verify.atol: must be a finite number, got 1e999"]),
        ("verify: {atol: -1}", ["5:10: verify.atol: must be at least 0, got -1"]),
        (
            "environment: {device: gpu}",
            ['5:15: environment.device: must be one of cpu, cuda, got "gpu"; did you mean cuda?'],
        ),
        ("environment: {python: 3.11}", ['5:15: environment.python: must be text, got 3.11; put it in quotes: "3.11"']),
        (
            "environment: {requirements: [numpy, 'numpy >> 1']}",
            [
                (
                    "5:37: environment.requirements[1]: must be a requirement as pip reads it, such as numpy>=1.26, "
                    "got 'numpy >> 1'"
                )
            ],
        ),
        ("batching: {max_size: 3}", ["5:1: batching: unknown key here; it belongs under serving"]),
        ("Serving: {}", ["5:1: Serving: unknown key; did you mean 'serving'?"]),
        (
            "transform: 7",
            ["5:1: transform: must be file.py:Class, or a mapping with source, files, inputs and outputs, got 7"],
        ),
        (
            "transform: transform.py",
            [
                (
                    "5:1: transform: must be where the code is and the class's name with a colon between, such as "
                    'transform.py:Transform, got "transform.py"'
                )
            ],
        ),
        ("transform: {}", ["5:1: transform.source: is missing (file.py:Class with preprocess and postprocess)"]),
        ("signature: {inputs: []}", ["5:13: signature.inputs: must not be empty, got 0"]),
        (
            "signature: {inputs: [{name: a, dtype: float, shape: 5}]}",
            [
                (
                    "5:32: signature.inputs[0].dtype: must be one of float16, float32, float64, int8, int16, int32, "
                    'int64, uint8, uint16, uint32, uint64, bool, string, got "float"; did you mean float32?'
                ),
                "5:46: signature.inputs[0].shape: must be a list, got 5; write [5]",
            ],
        ),
        (
            "signature: {inputs: [{name: a, dtype: int8, shape: [null, batch, -2]}]}",
            [
                (
                    "5:53: signature.inputs[0].shape[0]: must be a whole number, got null; "
                    "-1 stands where any size is taken"
                ),
                (
                    '5:59: signature.inputs[0].shape[1]: must be a whole number, got "batch"; '
                    "-1 stands where any size is taken"
                ),
                "5:66: signature.inputs[0].shape[2]: must be at least -1, got -2",
            ],
        ),
        (
            "signature:\n  outputs:\n  - {name: a, dtype: int8, shape: []}\n  - {name: a, dtype: int8, shape: []}",
            ["8:6: signature.outputs[1].name: the name 'a' stands twice under outputs"],
        ),
        (
            "deploy: {autoscale: {min: 3, max: 2}}",
            ["5:30: deploy.autoscale.max: must be at least min, which is 3, got 2"],
        ),
        (
            "deploy: {strategy: {canary: {steps: [10, 10]}}}",
            ["5:42: deploy.strategy.canary.steps[1]: must be more than the step before it, 10, got 10"],
        ),
        ("backends: {torchserve: 5}", ["5:12: backends.torchserve: must be a mapping, got 5"]),
        (
            r'"a\eb\n": 1',
            [
                (
                    r'5:1: ["a\u001bb\n"]: unknown key; known here: modelport, name, version, description, '
                    "model, signature, labels, transform, preprocess, postprocess, samples, environment, "
                    "serving, resources, image, deploy, verify, backends"
                )
            ],
        ),
    ],
)
def test_one_fault_is_one_line_in_plain_words(tmp_path: Path, lines: str, expected: list[str]) -> None:
    assert faults(tmp_path, HEAD + lines + "\n") == expected


@pytest.mark.parametrize("name", ["", "..", "a/b", "../a", "a b", ".a", "-a", "a..b", "a\\n", "é", "a" * 64])
def test_names_that_would_not_make_a_folder_are_refused(tmp_path: Path, name: str) -> None:
    (line,) = faults(tmp_path, HEAD.replace("name: digits", f'name: "{name}"'))
    assert line.startswith("2:1: name: must ")


@pytest.mark.parametrize("written", ["2", '"1"', "true", "1.0", "", "[1]", "one"])
def test_another_version_of_the_format_is_the_only_fault_told(tmp_path: Path, written: str) -> None:
    (line,) = faults(tmp_path, HEAD.replace("modelport: 1", f"modelport: {written}") + "from_the_future: 1\n")
    assert line.startswith("1:1: modelport: this modelport reads version 1 of the spec's format, got ")
    assert line.endswith("; write modelport: 1")


def test_a_spec_without_the_formats_version(tmp_path: Path) -> None:
    assert faults(tmp_path, HEAD.replace("modelport: 1\n", "")) == [
        "1:1: modelport: is missing (Version of this format)"
    ]


@pytest.mark.parametrize("text", ["5", "- a", "just text"])
def test_a_document_that_is_no_mapping(tmp_path: Path, text: str) -> None:
    (line,) = faults(tmp_path, text)
    assert line.startswith("1:1: a spec is a mapping of keys such as name and model, got ")


def test_very_many_faults_are_cut(tmp_path: Path) -> None:
    lines = faults(tmp_path, HEAD + "labels: [" + ", ".join("1" for _ in range(80)) + "]\n")
    assert len(lines) == 51
    assert lines[-1].endswith(" and 30 more")


def test_an_unknown_backend(tmp_path: Path) -> None:
    (line,) = faults(tmp_path, HEAD + "backends:\n  torchserv: {}\n")
    assert line.startswith("6:3: backends.torchserv: no backend is called 'torchserv'")
    assert line.endswith("Did you mean 'torchserve'?")


def test_options_of_a_backend_are_checked_where_they_stand(tmp_path: Path) -> None:
    lines = faults(
        tmp_path, HEAD + "backends:\n  tfserving:\n    labls: {}\n    labels: {stable: [1]}\n    warmup_records: -1\n"
    )
    assert lines == [
        "7:5: backends.tfserving.labls: unknown key; did you mean 'labels'?",
        "8:14: backends.tfserving.labels.stable: must be a whole number or text, got a list",
        "9:5: backends.tfserving.warmup_records: must be at least 0, got -1",
    ]


def test_missing_files_are_faults_of_the_check_and_not_of_the_loading(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    text = HEAD.replace("model.pt}", "model.pt, entrypoint: net:Net}")
    path.write_text(text + "samples: samples.npz\ntransform: {source: transform.py:Transform}\n", encoding="utf-8")
    load_spec(path)
    assert [(fault.position, fault.key, fault.message) for fault in check_spec(path)] == [
        ((4, 29), "model.source", f"{tmp_path}/model.pt: no such file or folder"),
        ((4, 47), "model.entrypoint", f"{tmp_path}/net.py: no such file; {LOOKED_FOR}"),
        ((5, 1), "samples", f"{tmp_path}/samples.npz: no such file or folder"),
        ((6, 13), "transform.source", f"{tmp_path}/transform.py: no such file; {LOOKED_FOR}"),
    ]
    for name in ("model.pt", "net.py", "samples.npz", "transform.py"):
        (tmp_path / name).write_bytes(b"x")
    assert check_spec(path) == ()


@pytest.mark.parametrize(
    "source", ["models:/digits@champion", "runs:/1/model", "s3://bucket/model.pt", "https://a/m.pt"]
)
def test_a_source_that_is_no_file_is_refused_by_the_check(tmp_path: Path, source: str) -> None:
    path = tmp_path / "modelport.yaml"
    path.write_text(HEAD.replace("model.pt", f'"{source}"'), encoding="utf-8")
    (fault,) = check_spec(path)
    assert fault.key == "model.source"
    assert "download it first" in fault.message


def test_samples_of_an_unknown_kind(tmp_path: Path) -> None:
    path = tmp_path / "modelport.yaml"
    path.write_text(HEAD + "samples: samples.csv\n", encoding="utf-8")
    (tmp_path / "model.pt").write_bytes(b"x")
    (fault,) = check_spec(path)
    assert fault.message == 'must be a file of .npz, .json, .parquet, got "samples.csv"'


@pytest.mark.parametrize(
    "written", ["%s: 1", "? '%s '\n: 1", "description: !%s a", "description: ${%s", "transform: *%s"]
)
def test_what_is_said_of_very_long_words_is_short(tmp_path: Path, written: str) -> None:
    (line,) = faults(tmp_path, HEAD + written % ("x" * 900_000) + "\n")
    assert len(line) < 1300
