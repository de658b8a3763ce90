"""Files to inputs, and outputs to files."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest

from modelport.client.files import read_inputs, write_outputs
from modelport.errors import SpecError
from modelport_runtime.signature import Signature, TensorSpec


def tensor(name, dtype, *shape):
    return TensorSpec(name=name, dtype=dtype, shape=shape)


MATRIX = Signature(inputs=(tensor("pixels", "float32", None, 3),), outputs=(tensor("p", "float32", None),))
COLUMNS = Signature(
    inputs=(
        tensor("age", "int64", None, 1),
        tensor("name", "string", None),
        tensor("member", "bool", None),
        tensor("score", "float32", None),
    ),
    outputs=(tensor("y", "float32", None),),
)


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def test_json():
    inputs = read_inputs(Path("x.json"), b'{"pixels": [[1, NaN, 3]]}', MATRIX)
    assert np.array_equal(inputs["pixels"], [[1, np.nan, 3]], equal_nan=True)
    assert read_inputs(None, b" [[1, 2, 3]]", MATRIX)["pixels"].tolist() == [[1, 2, 3]]
    assert read_inputs(None, b'{"anything": [1]}', None)["anything"].tolist() == [1]


def test_npz_and_npy():
    array = np.ones((1, 3), np.float16)
    for path, data in ((Path("x.npz"), npz(pixels=array)), (None, npz(pixels=array)), (Path("x.npy"), npy(array))):
        inputs = read_inputs(path, data, MATRIX)
        assert list(inputs) == ["pixels"]
        assert inputs["pixels"].dtype == np.float16
    assert list(read_inputs(Path("x.npy"), npy(array), COLUMNS, "score")) == ["score"]


def test_the_samples_of_a_spec_can_be_sent_as_they_are():
    data = npz(pixels=np.ones((1, 3)), p=np.ones(1), labels=np.ones(1), more=np.ones(1))
    assert sorted(read_inputs(Path("s.npz"), data, MATRIX)) == ["more", "pixels"]
    assert sorted(read_inputs(Path("s.npz"), data, None)) == ["labels", "more", "p", "pixels"]
    sections = b'{"inputs": {"pixels": [[1, NaN, 3]]}, "outputs": {"p": [1]}, "labels": [0]}'
    for signature in (MATRIX, None):
        assert list(read_inputs(Path("s.json"), sections, signature)) == ["pixels"]
    named = Signature(inputs=(tensor("inputs", "float32", None),), outputs=())
    assert read_inputs(Path("s.json"), b'{"inputs": [1]}', named)["inputs"].tolist() == [1]


def test_csv_of_one_matrix():
    inputs = read_inputs(Path("x.csv"), b"a,b,c,label\n1,2.5,nan,x\r\n4,,-inf,y\n", MATRIX)
    assert np.array_equal(inputs["pixels"], [[1, 2.5, np.nan], [4, np.nan, -np.inf]], equal_nan=True)


def test_csv_of_several_inputs():
    data = '\ufeffage, name ,member,score\n9007199254740993,"a,b",true,0.1\n2,ö,0,1e3\n'.encode()
    inputs = read_inputs(Path("x.csv"), data, COLUMNS)
    assert inputs["age"].tolist() == [[9007199254740993], [2]]
    assert inputs["name"].tolist() == ["a,b", "ö"]
    assert inputs["member"].tolist() == [True, False]
    assert inputs["score"].tolist() == [0.1, 1000.0]


def test_csv_without_a_signature_gets_the_narrowest_dtypes():
    inputs = read_inputs(Path("x.csv"), b"a,b,c\n1,1.5,x\n2,2,3\n", None)
    assert [inputs[name].dtype.kind for name in "abc"] == ["i", "f", "O"]


def test_parquet():
    pa = pytest.importorskip("pyarrow", reason="pip install 'modelport[parquet]'")
    from pyarrow import parquet

    def data(**columns):
        sink = io.BytesIO()
        parquet.write_table(pa.table(columns), sink)
        return sink.getvalue()

    flat = read_inputs(Path("x.parquet"), data(a=[1.0, 2.0], b=[3, 4], c=[5, 6]), MATRIX)
    assert flat["pixels"].tolist() == [[1, 3, 5], [2, 4, 6]]
    lists = read_inputs(Path("x.parquet"), data(pixels=[[1.0, 2, 3], [4, 5, 6]], p=[0.0, 0.0]), MATRIX)
    assert lists["pixels"].tolist() == [[1, 2, 3], [4, 5, 6]]
    images = read_inputs(Path("x.parquet"), data(pixels=[[[1.0, 2], [3, 4]]]), None)
    assert images["pixels"].shape == (1, 2, 2)
    answers = read_inputs(
        Path("x.parquet"), data(a=[1.0], b=pa.array([None], pa.float32()), c=[5.0], p=[0.1], target=["x"]), MATRIX
    )
    assert np.array_equal(answers["pixels"], [[1, np.nan, 5]], equal_nan=True)
    texts = read_inputs(Path("x.parquet"), data(age=[1], name=["x"], member=[True], score=[0.5]), COLUMNS)
    assert texts["name"].tolist() == ["x"]
    assert texts["age"].shape == (1, 1)
    for columns, sentence in (
        ({"pixels": [[1.0], [1, 2]]}, "differ in length"),
        ({"pixels": [1, None]}, "'pixels' has 1 empty cells"),
    ):
        with pytest.raises(SpecError, match=sentence):
            read_inputs(Path("x.parquet"), data(**columns), MATRIX)
    with pytest.raises(SpecError, match="no Parquet file"):
        read_inputs(Path("x.parquet"), b"PAR1", MATRIX)


@pytest.mark.parametrize(
    ("path", "data", "signature", "name", "sentence"),
    [
        ("x.txt", b"1", MATRIX, None, r"inputs are read from .json, .npy"),
        ("x", b"1", MATRIX, None, "a file without suffix"),
        ("x.json", b"{", MATRIX, None, "x.json: the body is no JSON"),
        ("x.json", b"[[1], [2, 3]]", MATRIX, None, "ragged"),
        ("x.json", b"[1]", COLUMNS, None, "takes 'age', 'name', 'member', 'score'; write {.name.: values}"),
        ("x.json", b"[1]", None, None, "does not say its inputs"),
        ("x.json", b"{}", MATRIX, "pixels", "--name is for .npy"),
        ("x.npz", b"PKbroken", MATRIX, None, "no npz"),
        ("x.npy", b"broken", MATRIX, None, "no .npy file"),
        ("x.npy", npy(np.ones(2)), COLUMNS, None, "use --name"),
        ("x.csv", b"", MATRIX, None, "needs a header"),
        ("x.csv", b"a,b,c\n", MATRIX, None, "at least one row"),
        ("x.csv", b"1,2,3\n4,5,6\n", MATRIX, None, "first row holds numbers"),
        ("x.csv", b"a,b,c\n1,2\n", MATRIX, None, "x.csv:2: 2 fields, but the header has 3"),
        ("x.csv", b"a,a,c\n1,2,3\n", MATRIX, None, "two columns are called 'a'"),
        ("x.csv", b"a,b,c\n1,x,3\n", MATRIX, None, "column 'b' holds what is no float32"),
        ("x.csv", b"age,name,member,score\n1.5,x,true,1\n", COLUMNS, None, "column 'age' holds what is no int64"),
        ("x.csv", b"age,name,member,score\n1,x,maybe,1\n", COLUMNS, None, "column 'member' holds what is no bool"),
        ("x.csv", b"other\n1\n", COLUMNS, None, "columns 'other' are not the model's inputs"),
        ("x.csv", b'a,b,c\n"1,2,3\n', MATRIX, None, "no CSV file"),
        ("x.csv", b"\xff\xfe", MATRIX, None, "no CSV file"),
    ],
)
def test_files_that_cannot_be_read(path, data, signature, name, sentence):
    with pytest.raises(SpecError, match=sentence):
        read_inputs(Path(path), data, signature, name)


def test_pickles_are_never_loaded():
    data = io.BytesIO()
    np.save(data, np.array([print], object), allow_pickle=True)
    with pytest.raises(SpecError, match=r"no \.npy file"):
        read_inputs(Path("x.npy"), data.getvalue(), MATRIX)


def test_outputs_are_written_whole(tmp_path):
    outputs = {"y": np.array([1.5, np.nan], np.float32), "t": np.array(["a", "b"], object)}
    write_outputs(tmp_path / "out.npz", outputs)
    with np.load(tmp_path / "out.npz", allow_pickle=False) as back:
        assert back["y"].dtype == np.float32
        assert back["t"].tolist() == ["a", "b"]
    write_outputs(tmp_path / "out.json", outputs)
    assert json.loads((tmp_path / "out.json").read_text())["t"] == ["a", "b"]
    with pytest.raises(SpecError, match=r"\.npz or \.json"):
        write_outputs(tmp_path / "out.csv", outputs)
    with pytest.raises(SpecError, match="NUL"):
        write_outputs(tmp_path / "nul.npz", {"t": np.array(["a\0"], object)})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.json", "out.npz"]
