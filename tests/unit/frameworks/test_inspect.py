"""``modelport inspect`` on everything that it takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from modelport.artifact import write_artifact
from modelport.cli.inspect import command
from modelport.errors import SpecError

SPEC = """
modelport: 1
name: m
version: "1"
model: {framework: pytorch, source: program.pt2}
"""


def inspect(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    command.main([*arguments, "--json"], standalone_mode=False)
    return json.loads(capsys.readouterr().out)


def test_a_model(torch_files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = inspect(capsys, str(torch_files / "program.pt2"))
    assert (facts["framework"], facts["format"]) == ("pytorch", "exported_program")
    assert facts["size"] == (torch_files / "program.pt2").stat().st_size
    assert facts["inputs"][0] == {"name": "pixels", "dtype": "float32", "shape": [-1, 4]}


def test_a_model_that_tells_little(torch_files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = inspect(capsys, str(torch_files / "weights.pt"), "--entrypoint", "net:Net")
    assert facts["inputs"][0] == {"name": "pixels", "dtype": None, "shape": None}
    assert facts["outputs"] is None
    command.main([str(torch_files / "script.pt")], standalone_mode=False)
    shown = capsys.readouterr().out
    assert "torchscript" in shown
    assert "- {name: pixels, dtype: DTYPE, shape: [-1, SIZE]}" in shown


def test_a_spec(torch_files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (torch_files / "m.yaml").write_text(SPEC)
    facts = inspect(capsys, str(torch_files / "m.yaml"))
    assert (facts["what"], facts["name"], facts["format"]) == ("spec", "m", "exported_program")
    assert [tensor["name"] for tensor in facts["outputs"]] == ["prob", "arg"]


def test_an_artifact(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = {"backend": "toy", "spec": {"name": "m", "version": "1"}, "model": {"format": "onnx"}}
    write_artifact(tmp_path / "a", record, lambda folder: (folder / "f").write_text("x") and None, check=lambda _: None)
    facts = inspect(capsys, str(tmp_path / "a"))
    assert (facts["what"], facts["backend"], facts["changed"]) == ("artifact", "toy", [])
    (tmp_path / "a" / "f").write_text("y")
    (tmp_path / "a" / "g").write_text("y")
    assert inspect(capsys, str(tmp_path / "a"))["changed"] == ["f", "g"]


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"no such file or folder"):
        command.main([str(tmp_path / "m.pt")], standalone_mode=False)
