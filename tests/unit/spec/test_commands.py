"""`modelport validate` and `modelport init`, as they are called."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from modelport.cli.group import run
from modelport.spec.loading import load_spec

EXAMPLES = Path(__file__).parents[3] / "examples"
DIGITS = EXAMPLES / "digits"
HEAD = 'modelport: 1\nname: digits\nversion: "1.2.0"\nmodel: {framework: pytorch, source: model.pt}\n'

Streams = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a state dict and its code."""
    for name in ("model.pt", "net.py"):
        shutil.copy(DIGITS / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_valid_spec(folder: Path, capsys: Streams) -> None:
    (folder / "good.yaml").write_text(HEAD, encoding="utf-8")
    assert run(["validate", "good.yaml"]) == 0
    assert capsys.readouterr() == ("good.yaml: valid\n", "")


def test_faults_are_lines_on_stderr_and_the_exit_code_is_2(folder: Path, capsys: Streams) -> None:
    (folder / "good.yaml").write_text(HEAD, encoding="utf-8")
    (folder / "bad.yaml").write_text(HEAD + "labels: [1]\nserving: {batching: {max_size: 0}}\n", encoding="utf-8")
    assert run(["validate", "bad.yaml", "good.yaml", "none.yaml"]) == 2
    out, err = capsys.readouterr()
    assert out == "good.yaml: valid\n"
    assert err.splitlines() == [
        'bad.yaml:5:10: labels[0]: must be text, got 1; put it in quotes: "1"',
        "bad.yaml:6:22: serving.batching.max_size: must be at least 1, got 0",
        "none.yaml: no such file; `modelport init MODEL_FILE` writes a spec",
    ]


def test_faults_for_programs(folder: Path, capsys: Streams) -> None:
    (folder / "good.yaml").write_text(HEAD, encoding="utf-8")
    (folder / "bad.yaml").write_text(HEAD + "labels: [1]\n", encoding="utf-8")
    assert run(["validate", "--json", "bad.yaml", "good.yaml"]) == 2
    out, err = capsys.readouterr()
    assert err == ""
    message = 'must be text, got 1; put it in quotes: "1"'
    fault = {"file": "bad.yaml", "line": 5, "column": 10, "key": "labels[0]", "message": message}
    assert json.loads(out) == [
        {"file": "bad.yaml", "valid": False, "faults": [fault]},
        {"file": "good.yaml", "valid": True, "faults": []},
    ]


@pytest.mark.parametrize("name", ["digits", "tabular"])
def test_the_examples_are_valid(name: str, capsys: Streams) -> None:
    assert run(["validate", str(EXAMPLES / name / "modelport.yaml")]) == 0
    assert capsys.readouterr().err == ""


def test_validating_costs_less_than_bentoml_takes_to_tell_its_version() -> None:
    scripts = Path(sys.executable).parent
    validate = cpu_seconds([str(scripts / "modelport"), "validate", str(DIGITS / "modelport.yaml")])
    assert validate <= 0.6 * cpu_seconds([str(scripts / "bentoml"), "--version"])


def cpu_seconds(command: list[str]) -> float:
    """Give the least CPU time of three runs, in seconds."""
    times = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(times)


def test_init_writes_a_spec_that_loads_and_says_what_is_left_to_do(folder: Path, capsys: Streams) -> None:
    assert run(["init", "model.pt"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0] == "modelport.yaml: written for model.pt (pytorch, state_dict)"
    assert "to do: model.entrypoint" in out
    assert "to do: signature: write inputs and outputs" in out
    spec = load_spec(folder / "modelport.yaml")
    assert (spec.name, spec.model.framework, spec.model.source, spec.signature) == (
        "model",
        "pytorch",
        "model.pt",
        None,
    )


def test_init_reads_the_names_of_arguments_from_the_code(folder: Path, capsys: Streams) -> None:
    assert run(["init", "model.pt", "--entrypoint", "net:DigitsNet", "--name", "digits", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["spec"], told["framework"], told["format"]) == ("modelport.yaml", "pytorch", "state_dict")
    assert "{name: pixels, " in (folder / "modelport.yaml").read_text(encoding="utf-8")
    assert load_spec(folder / "modelport.yaml").model.entrypoint == "net:DigitsNet"


def test_init_reads_the_signature_from_the_model(folder: Path, capsys: Streams) -> None:
    (folder / "specs").mkdir()
    shutil.copy(EXAMPLES / "tabular" / "model.skops", folder / "my model.skops")
    assert run(["init", "my model.skops", "-o", "specs/s.yaml"]) == 0
    assert "to do" not in capsys.readouterr().out
    assert run(["validate", "specs/s.yaml"]) == 0
    spec = load_spec(folder / "specs" / "s.yaml")
    assert (spec.name, spec.model.source) == ("my-model", "../my model.skops")
    assert spec.signature is not None
    assert [str(tensor) for tensor in spec.signature.signature().inputs] == ["features: float64[?, 30]"]


def test_init_proposes_columns_where_a_table_holds_text(folder: Path, capsys: Streams) -> None:
    dump = pytest.importorskip("skops.io").dump
    pandas = pytest.importorskip("pandas")
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    table = pandas.DataFrame({"city": ["Bonn", "Köln"], "job type": ["a", "b"]})
    dump(make_pipeline(OneHotEncoder(), LogisticRegression()).fit(table, [0, 1]), folder / "model.skops")
    assert run(["init", "model.skops"]) == 0
    said = capsys.readouterr().out
    assert "note: fitted on the columns city, job type\n" in said
    assert "to do: signature: write inputs, which the model does not tell" in said
    text = (folder / "modelport.yaml").read_text()
    assert '#     - {name: "job type", dtype: float64, shape: [-1]}' in text
    assert "\n    - {name: probabilities, dtype: float64, shape: [-1, 2]}" in text


def test_init_leaves_the_trust_in_unknown_types_to_the_user(folder: Path, capsys: Streams) -> None:
    skops_io, tree = pytest.importorskip("skops.io"), pytest.importorskip("sklearn.tree")
    skops_io.dump(tree.DecisionTreeClassifier().fit([[0.0], [1.0]], [0, 1]), folder / "tree.skops")
    assert run(["init", "tree.skops"]) == 0
    assert "to do: model.trust" in capsys.readouterr().out
    assert not load_spec(folder / "modelport.yaml").model.trust


def test_init_overwrites_only_with_force(folder: Path, capsys: Streams) -> None:
    (folder / "modelport.yaml").write_text("mine\n", encoding="utf-8")
    assert run(["init", "model.pt"]) == 2
    assert "--force" in capsys.readouterr().err
    assert (folder / "modelport.yaml").read_text(encoding="utf-8") == "mine\n"
    assert run(["init", "model.pt", "--force"]) == 0
    assert (folder / "modelport.yaml").read_text(encoding="utf-8") != "mine\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["none.pt"], "no such file or folder"),
        (["empty.pt"], "an empty file"),
        (["text.pt"], "no model file that is known"),
        (["models:/digits@champion"], "download it first"),
        (["model.pt", "--framework", "onnx"], "model"),
        (["model.pt", "--framework", "torch"], "pytorch"),
        (["model.pt", "--name", "../x"], "name: must be letters"),
        (["model.pt", "--entrypoint", "nope:Net"], "nope.py: no such file"),
        (["model.pt", "-o", "no/such/folder/s.yaml"], "there is no folder"),
    ],
)
def test_init_refuses_and_writes_nothing(folder: Path, capsys: Streams, arguments: list[str], said: str) -> None:
    (folder / "empty.pt").touch()
    (folder / "text.pt").write_text("hello", encoding="utf-8")
    before = written(folder)
    assert run(["init", *arguments]) == 2
    assert said in capsys.readouterr().err
    assert written(folder) == before
