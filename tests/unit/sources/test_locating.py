"""Where a model may lie, and what is said of where it may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelport.errors import SpecError
from modelport.sources import locate_source


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("s3://bucket/m.onnx", r"s3://bucket/m.onnx: .*aws s3 cp --recursive \"s3://bucket/m.onnx\" model"),
        ("models:/digits@champion", "mlflow artifacts download"),
        ("abfss://box@account/m.onnx", "download it first and name what came"),
        ("file:///models/m.onnx", "write the path alone"),
    ],
)
def test_urls_are_not_read_as_paths(tmp_path: Path, source: str, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        locate_source(source, tmp_path)


def test_names_with_a_colon_or_blanks_are_paths(tmp_path: Path) -> None:
    for name in ("c:m.onnx", "my model.onnx"):
        (tmp_path / name).write_bytes(b"x")
        assert locate_source(name, tmp_path) == tmp_path / name


def test_the_folder_of_mlflow_says_what_in_it_is_the_model(tmp_path: Path) -> None:
    for name in ("MLmodel", "conda.yaml", "serving_input_example.json", "data/model.pth", "data/tf/saved_model.pb"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(SpecError, match=r"MLflow wrote.*the folder holds data/tf, data/model.pth\)"):
        locate_source(".", tmp_path)
    assert locate_source("data/model.pth", tmp_path) == tmp_path / "data/model.pth"
