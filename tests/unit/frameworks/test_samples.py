"""Samples from every kind of file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from modelport.errors import SpecError
from modelport.samples import load_samples
from modelport_runtime.signature import Signature, TensorSpec

X = TensorSpec(name="x.1", dtype="float32", shape=(None, 2))
WORDS = TensorSpec(name="word", dtype="string", shape=(None,))
OUT = TensorSpec(name="label", dtype="int64", shape=(None,))
SERVED = Signature(inputs=(X, WORDS), outputs=(OUT,))
VALUES = {"x.1": [[1, 2], [3, float("nan")]], "word": ["é", ""], "label": [0, 1], "target": [1, 1]}


def write(folder: Path, kind: str) -> Path:
    path = folder / f"s.{kind}"
    if kind == "npz":
        np.savez(path, **{name: np.array(value) for name, value in VALUES.items()})
    elif kind == "json":
        path.write_text(json.dumps(VALUES), encoding="utf-8")
    else:
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        parquet.write_table(pyarrow.table(VALUES), path)
    return path


@pytest.mark.parametrize("kind", ["npz", "json", "parquet"])
def test_inputs_expected_and_labels(tmp_path: Path, kind: str) -> None:
    samples = load_samples(write(tmp_path, kind), SERVED)
    assert samples.rows
    assert samples.count == 2
    assert samples.inputs["x.1"].dtype == np.float32
    np.testing.assert_array_equal(samples.inputs["x.1"], [[1, 2], [3, np.nan]])
    assert samples.inputs["word"].tolist() == ["é", ""]
    assert samples.expected["label"].tolist() == [0, 1]
    assert samples.labels is not None
    assert samples.labels.tolist() == [1, 1]
    assert {name: array.tolist() for name, array in samples.request(1, 2).items()}["word"] == [""]


def test_json_with_sections(tmp_path: Path) -> None:
    raw = {"inputs": {"x.1": [[1, 2]], "word": ["a"]}, "outputs": {"label": [3]}, "labels": [3]}
    (tmp_path / "s.json").write_text(json.dumps(raw))
    samples = load_samples(tmp_path / "s.json", SERVED)
    assert samples.expected["label"].tolist() == [3]
    assert samples.labels is not None


def test_a_model_without_a_batch_axis_has_one_sample(tmp_path: Path) -> None:
    scalar = Signature(inputs=(TensorSpec(name="x", dtype="float64", shape=()),), outputs=())
    (tmp_path / "s.json").write_text('{"x": 5}')
    samples = load_samples(tmp_path / "s.json", scalar)
    assert (samples.rows, samples.count) == (False, 1)
    assert samples.request(0, 1)["x"].shape == ()


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("s.csv", b"a", "only .npz, .json, .parquet are read"),
        ("s.npz", b"PK nothing", "cannot be read"),
        ("s.npz", b"", "cannot be read"),
        ("s.json", b"{", "cannot be read"),
        ("s.json", b"[1]", "must be an object"),
        ("s.json", b'{"x.1": [[1, 2], [3]], "word": ["a", "b"]}', "ragged"),
        ("s.json", b"\xff\xfe", "cannot be read"),
        ("s.json", b'{"inputs": {"x.1": [[1, 2]], "word": ["a"]}, "outputs": [3]}', "holds"),
        ("s.parquet", b"nothing", "no Parquet file"),
    ],
)
def test_files_that_are_none(tmp_path: Path, name: str, data: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(SpecError, match=words):
        load_samples(tmp_path / name, SERVED)


def test_pickles_in_npz_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", **{"x.1": np.array([{"a": 1}], dtype=object)})
    with pytest.raises(SpecError, match=r"dtype object"):
        load_samples(tmp_path / "s.npz", SERVED)


def test_empty_cells_of_floats_are_nan_and_others_are_refused(tmp_path: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    served = Signature(inputs=(TensorSpec(name="x", dtype="float64", shape=(None,)),), outputs=())
    parquet.write_table(pyarrow.table({"x": pyarrow.array([1.5, None])}), tmp_path / "s.parquet")
    np.testing.assert_array_equal(load_samples(tmp_path / "s.parquet", served).inputs["x"], [1.5, np.nan])
    parquet.write_table(pyarrow.table({"x": pyarrow.array([1, None])}), tmp_path / "s.parquet")
    with pytest.raises(SpecError, match="column 'x' has 1 empty cells"):
        load_samples(tmp_path / "s.parquet", served)


def test_a_table_of_columns_fits_what_requests_hold(tmp_path: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "s.parquet"
    column = TensorSpec(name="a", dtype="float64", shape=(None, 1))
    matrix = TensorSpec(name="features", dtype="float64", shape=(None, 2))
    parquet.write_table(pyarrow.table({"a": [1.0, None], "label": [0, 1]}), path)
    named = load_samples(path, Signature(inputs=(column,), outputs=(replace(OUT, shape=(None, 1)),)))
    np.testing.assert_array_equal(named.inputs["a"], [[1], [np.nan]])
    assert named.expected["label"].tolist() == [[0], [1]]
    parquet.write_table(pyarrow.table({"b": [1, 2], "a": [0.5, None], "target": ["x", "y"]}), path)
    np.testing.assert_array_equal(
        load_samples(path, Signature(inputs=(matrix,), outputs=())).inputs["features"], [[1, 0.5], [2, np.nan]]
    )
