"""Every dtype, shape and value that a request can hold, and the sentences for those that it may not."""

from __future__ import annotations

import numpy as np
import pytest

from modelport_runtime.checking import InvalidInput, ModelFailed, check_inputs, check_outputs, conform
from modelport_runtime.signature import DTYPES, TensorSpec


def tensor(dtype: str = "float32", shape: tuple[int | None, ...] = (None,), name: str = "x") -> TensorSpec:
    return TensorSpec(name=name, dtype=dtype, shape=shape)


@pytest.mark.parametrize("dtype", [d for d in DTYPES if d != "string"])
def test_every_numeric_dtype_passes_unchanged(dtype: str) -> None:
    value = np.array([0, 1, 1], dtype=dtype)
    checked = check_inputs([tensor(dtype)], {"x": value})["x"]
    assert checked.dtype == dtype
    assert np.array_equal(checked, value)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_nan_and_infinity_pass(dtype: str) -> None:
    value = [float("nan"), float("inf"), float("-inf")]
    np.testing.assert_array_equal(check_inputs([tensor(dtype)], {"x": value})["x"], np.array(value, dtype=dtype))


@pytest.mark.parametrize(
    ("given", "dtype"),
    [
        (np.array([1, 2], np.int64), "float32"),
        (np.array([1.5, 2.5], np.float64), "float16"),
        (np.array([True, False]), "int32"),
        (np.array([0, 255], np.int64), "uint8"),
        (np.array([2**63], np.uint64), "float64"),
        (np.array([1.5], ">f4"), "float32"),
    ],
)
def test_casts_that_lose_nothing(given: np.ndarray, dtype: str) -> None:
    checked = check_inputs([tensor(dtype)], {"x": given})["x"]
    assert checked.dtype == np.dtype(dtype)
    assert checked.dtype.isnative
    assert checked.tolist() == given.tolist()


@pytest.mark.parametrize(
    ("given", "dtype", "words"),
    [
        ([1.0, 2.0], "int64", "must be int64, got float64"),
        ([2**24 + 1], "float32", "16777217 does not fit into float32"),
        ([2**63 - 1], "float64", "does not fit into float64"),
        ([300], "uint8", "300 does not fit into uint8 (0 to 255)"),
        ([-1], "uint64", "-1 does not fit into uint64"),
        ([1e39], "float32", "1e+39 does not fit into float32"),
        ([70000], "float16", "70000 does not fit into float16"),
        ([1, 0], "bool", "must be bool, got int64"),
        ([1 + 2j], "float64", "must be float64, got complex128"),
        (["a"], "float32", "must be float32, got text"),
        ([1, 2], "string", "holds 1"),
        (np.array([1, 2]), "string", "must be text, got int64"),
        ([2**64, 0], "uint64", "fit"),
        (["a", 1], "string", "holds 1"),
        (["a", 1], "float32", "stands beside text"),
        ([None], "float32", "holds null"),
        ([1.5, None], "float32", "holds null, which no tensor can; where the model takes missing numbers, write NaN"),
        ([2**70], "int64", "fits no dtype"),
        ([[1], [1, 2]], "float32", "ragged"),
        ([["a"], ["a", "b"]], "string", "ragged"),
    ],
)
def test_values_that_would_change_are_refused(given: object, dtype: str, words: str) -> None:
    shape = (None,) if words != "ragged" else (None, None)
    with pytest.raises(InvalidInput) as caught:
        check_inputs([tensor(dtype, shape)], {"x": given})
    assert words in str(caught.value)
    assert "'x'" in str(caught.value)


@pytest.mark.parametrize("value", [["é", ""], np.array(["é", ""]), np.array(["é".encode(), b""], dtype=object)])
def test_text_becomes_an_object_array_of_str(value: object) -> None:
    checked = check_inputs([tensor("string")], {"x": value})["x"]
    assert checked.dtype == object
    assert checked.tolist() == ["é", ""]


def test_bytes_that_are_no_text_stay_bytes() -> None:
    assert check_inputs([tensor("string")], {"x": [b"\xff"]})["x"].tolist() == [b"\xff"]


def test_scalars() -> None:
    checked = check_inputs([tensor("float32", ()), tensor("string", (), "s")], {"x": 2, "s": "a"})
    assert checked["x"].shape == checked["s"].shape == ()
    assert checked["s"].item() == "a"


@pytest.mark.parametrize("shape", [(2,), (2, 3, 1), (2, 4)])
def test_wrong_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInput, match=r"input 'x' must have shape \[\?, 3\], got \["):
        check_inputs([tensor(shape=(None, 3))], {"x": np.zeros(shape, np.float32)})


def test_an_empty_batch_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"'x' is an empty batch"):
        check_inputs([tensor(shape=(None, 3))], {"x": np.zeros((0, 3), np.float32)})
    with pytest.raises(InvalidInput, match=r"'x' is an empty batch"):
        check_inputs([tensor("int64")], {"x": []})


def test_an_empty_axis_that_is_no_batch_is_the_models_business() -> None:
    assert check_inputs([tensor(shape=(None, None))], {"x": np.zeros((1, 0), np.float32)})["x"].shape == (1, 0)


def test_batch_limits() -> None:
    tensors = [tensor(), tensor(name="a b/c.d")]
    same = {"x": np.zeros(3), "a b/c.d": np.zeros(3)}
    assert list(check_inputs(tensors, dict(reversed(same.items())), max_batch_size=3)) == ["x", "a b/c.d"]
    with pytest.raises(InvalidInput, match=r"'x' has 3 rows; one request may hold at most 2"):
        check_inputs(tensors, same, max_batch_size=2)
    with pytest.raises(InvalidInput, match=r"must be equally long"):
        check_inputs(tensors, {**same, "x": np.zeros(2)})


def test_wrong_names_say_which() -> None:
    with pytest.raises(InvalidInput) as caught:
        check_inputs([tensor(name="/fc/out:0")], {"pixls": [1.0]})
    assert str(caught.value) == (
        "wrong input names (missing: '/fc/out:0'; unknown: 'pixls'); the model takes '/fc/out:0'"
    )


def test_outputs_that_contradict_the_signature_blame_the_model() -> None:
    with pytest.raises(ModelFailed, match=r"the model contradicts the signature: output 'x' must have shape"):
        check_outputs([tensor(shape=(None, 2))], {"x": np.zeros((1, 3))}, what="the model")
    with pytest.raises(ModelFailed, match=r"the model gave 'z'; the signature declares 'x'"):
        check_outputs([tensor()], {"z": 1}, what="the model")


def test_double_precision_outputs_take_the_declared_precision() -> None:
    assert conform(tensor("float32"), np.array([0.1]), "output").dtype == np.float32
