"""Inputs to arrays and bodies; answers back."""

from __future__ import annotations

import numpy as np
import pytest

from modelport.client.arrays import as_arrays, read_body, write_body
from modelport.client.base import InvalidInput, ServerError
from modelport.client.exchange import Reply

DTYPES = [
    "float16",
    "float32",
    "float64",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "bool",
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)])
def test_every_dtype_comes_back_as_it_went(dtype, shape):
    array = np.zeros(shape, dtype) if dtype == "bool" else np.full(shape, 7, dtype)
    body, kind = write_body(as_arrays({"a name/with.dots": array}))
    assert kind == "application/x-npz"
    back = read_body(Reply(status=200, body=body))["a name/with.dots"]
    assert back.dtype == dtype
    assert back.shape == shape
    assert np.array_equal(back, array)


def test_nan_and_infinity_come_back():
    body, _ = write_body(as_arrays({"x": [np.nan, np.inf, -np.inf]}))
    assert np.array_equal(read_body(Reply(status=200, body=body))["x"], [np.nan, np.inf, -np.inf], equal_nan=True)


@pytest.mark.parametrize(
    "value", ["one", ["one", "zwölf"], np.array(["a", "bc"]), [["a"], ["b"]], np.array(["x", "y"], object), b"raw", []]
)
def test_text_comes_back(value):
    array = as_arrays({"t": value})["t"]
    body, _ = write_body({"t": array})
    back = read_body(Reply(status=200, body=body))["t"]
    texts = [entry.decode() if isinstance(entry, bytes) else entry for entry in array.reshape(-1).tolist()]
    assert back.reshape(-1).tolist() == texts
    assert back.shape == array.shape


def test_text_that_npz_would_cut_goes_as_json():
    body, kind = write_body(as_arrays({"t": ["a\0"]}))
    assert kind == "application/json"
    assert read_body(Reply(status=200, body=body))["t"].tolist() == ["a\0"]


def test_trailing_zero_bytes_of_bytes_stay():
    assert as_arrays({"t": [b"a\0\0", b"b"]})["t"].tolist() == [b"a\0\0", b"b"]
    assert as_arrays({"t": b"a\0"})["t"].tolist() == b"a\0"


def test_foreign_byte_order_is_turned():
    array = as_arrays({"x": np.arange(3, dtype=">i4")})["x"]
    assert array.dtype == np.dtype("int32")
    assert array.tolist() == [0, 1, 2]


class Foreign:
    """What another library's tensor looks like."""

    def __array__(self, dtype=None, copy=None):
        return np.ones((2, 2), np.float32)


def test_tensors_of_other_libraries_are_taken():
    assert as_arrays({"x": Foreign()})["x"].dtype == np.float32


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ([[1, 2], [3]], "'x' is ragged: nested lists must have the same lengths"),
        (np.ma.masked_array([1.0, 2.0], mask=[True, False]), "'x' has masked values.*fill them"),
        (None, "type NoneType"),
        ([1, None], "type int|type NoneType"),
        ({"a": 1}, "type dict"),
        (1 + 2j, "dtype complex128"),
        (np.datetime64("2020-01-01"), "dtype datetime64"),
        (np.longdouble(1), "dtype (longdouble|float128)"),
        ([2**70], "type int"),
        (["a", 1], "type int"),
    ],
)
def test_what_is_no_tensor(value, sentence):
    with pytest.raises(InvalidInput, match=sentence):
        as_arrays({"x": value})


@pytest.mark.parametrize("inputs", [[1, 2], np.ones(3), None])
def test_inputs_are_a_mapping(inputs):
    with pytest.raises(InvalidInput, match="mapping from names"):
        as_arrays(inputs)


def test_names_are_text():
    with pytest.raises(InvalidInput, match="must be text"):
        as_arrays({1: [1]})


@pytest.mark.parametrize("body", [b"", b"garbage", b"PK\x03\x04broken", b"[1, 2]", b'{"x": [1', b"<html>", b"null"])
def test_garbage_is_the_servers_fault(body):
    with pytest.raises(ServerError, match="no such server answers"):
        read_body(Reply(status=200, body=body))


def test_an_array_with_nothing_masked_is_taken():
    assert as_arrays({"x": np.ma.masked_array([1.0, 2.0])})["x"].tolist() == [1.0, 2.0]


class Frame:
    """A table as pandas has it: no mapping, and with columns."""

    columns = ("a",)


@pytest.mark.parametrize(
    ("inputs", "hint"), [(Frame(), "got Frame; dict\\(frame\\) makes"), (np.ones(3), "got ndarray$")]
)
def test_inputs_must_have_names(inputs, hint):
    with pytest.raises(InvalidInput, match=hint):
        as_arrays(inputs)
