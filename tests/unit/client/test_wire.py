"""TensorFlow Serving's messages: what is written can be read, and every way in which a server may write values."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from modelport.client.message import write_field, write_varint
from modelport_tfserving.wire import (
    DTYPES,
    NUMBERS,
    VARINTS,
    TensorInfo,
    read_json_metadata,
    read_json_states,
    read_metadata_response,
    read_predict_response,
    read_states,
    read_tensor,
    write_tensor,
)

NUMERIC = [dtype for dtype in DTYPES.values() if dtype != "string"]


def shape_of(*sizes):
    return write_field(2, b"".join(write_field(2, write_field(1, size)) for size in sizes))


def typed(dtype, number, payload, *sizes):
    return write_field(1, NUMBERS[dtype]) + shape_of(*sizes) + write_field(number, payload)


def packed(*numbers):
    return b"".join(write_varint(number) for number in numbers)


@pytest.mark.parametrize("dtype", NUMERIC)
@pytest.mark.parametrize("shape", [(), (3,), (2, 0, 3), (2, 3)])
def test_numbers_travel_as_they_are(dtype, shape):
    rng = np.random.default_rng(1)
    array = (rng.random(shape) * 100).astype(dtype)
    back = read_tensor(write_tensor(array))
    assert back.dtype == dtype
    assert back.shape == shape
    assert np.array_equal(back, array)
    assert back.flags.writeable


def test_extremes_travel():
    for array in (
        np.array([2**63 - 1, -(2**63)]),
        np.array([2**64 - 1], np.uint64),
        np.array([np.nan, np.inf, -np.inf, -0.0], np.float32),
    ):
        assert read_tensor(write_tensor(array)).tobytes() == array.tobytes()


def test_columns_of_a_matrix_travel():
    array = np.arange(6, dtype=np.float32).reshape(2, 3).T
    assert np.array_equal(read_tensor(write_tensor(array)), array)


def test_text_travels():
    array = np.array([["a", "zwölf"], ["", b"\xff\x00"]], object)
    back = read_tensor(write_tensor(array))
    assert back.tolist() == [["a", "zwölf"], ["", b"\xff\x00"]]
    assert read_tensor(write_tensor(np.empty((0, 2), object))).shape == (0, 2)


@pytest.mark.parametrize("dtype", VARINTS)
def test_values_one_by_one(dtype):
    if dtype == "float16":
        numbers, values = np.array([1.5, -2], np.float16).view(np.uint16).tolist(), [1.5, -2]
    elif dtype == "bool":
        numbers, values = [1, 0], [True, False]
    else:
        values = [np.iinfo(dtype).min, np.iinfo(dtype).max]
        numbers = values
    back = read_tensor(typed(dtype, VARINTS[dtype], packed(*numbers), 2))
    assert back.dtype == dtype
    assert back.tolist() == values
    single = write_field(1, NUMBERS[dtype]) + shape_of(2) + b"".join(write_field(VARINTS[dtype], n) for n in numbers)
    assert read_tensor(single).tolist() == values


def test_floats_one_by_one():
    assert read_tensor(typed("float32", 5, struct.pack("<3f", 1, 2.5, np.nan), 3))[:2].tolist() == [1, 2.5]
    assert read_tensor(typed("float64", 6, struct.pack("<2d", 1e300, -1), 1, 2)).tolist() == [[1e300, -1]]
    unpacked = write_field(1, 1) + shape_of(2) + b"\x2d" + struct.pack("<f", 1) + b"\x2d" + struct.pack("<f", 2)
    assert read_tensor(unpacked).tolist() == [1, 2]


def test_fewer_values_than_the_shape_holds():
    assert read_tensor(typed("float32", 5, struct.pack("<f", 7), 2, 2)).tolist() == [[7, 7], [7, 7]]
    assert read_tensor(typed("int64", 10, packed(1, 2), 4)).tolist() == [1, 2, 2, 2]
    assert read_tensor(write_field(1, 1) + shape_of(3)).tolist() == [0, 0, 0]
    assert read_tensor(write_field(1, 7) + shape_of(2) + write_field(8, "x")).tolist() == ["x", "x"]
    assert read_tensor(write_field(1, 7) + shape_of(2)).tolist() == ["", ""]


@pytest.mark.parametrize(
    "data",
    [
        write_field(1, 8) + shape_of(),  # complex64
        write_field(1, 0),
        typed("float32", 5, b"\0\0\0", 1),
        typed("float32", 4, b"\0" * 8, 1),
        typed("float32", 4, b"\0" * 4, 2),
        typed("int64", 10, packed(1, 2), 1),
        typed("float32", 4, b"\0" * 4, -1),
        b"\xff",
    ],
)
def test_what_is_no_tensor(data):
    with pytest.raises(ValueError, match=r".+"):
        read_tensor(data)


def test_unknown_fields_are_passed_over():
    assert read_predict_response(write_field(2, b"") + write_field(77, 3)) == {}
    assert read_tensor(write_tensor(np.ones(1)) + write_field(99, b"new")).tolist() == [1]


def metadata_message(infos):
    inputs = b"".join(write_field(1, write_field(1, name) + write_field(2, info)) for name, info in infos.items())
    signatures = write_field(1, write_field(1, "serving_default") + write_field(2, inputs))
    any_message = write_field(1, "type.googleapis.com/tensorflow.serving.SignatureDefMap") + write_field(2, signatures)
    spec = write_field(1, "m") + write_field(2, write_field(1, 7))
    return write_field(1, spec) + write_field(2, write_field(1, "signature_def") + write_field(2, any_message))


def test_metadata_from_both_protocols_is_the_same():
    sizes = b"".join(write_field(2, write_field(1, size)) for size in (-1, 64))
    message = metadata_message(
        {
            "a/b.c d": write_field(1, "t:0") + write_field(2, 1) + write_field(3, sizes),
            "any": write_field(2, 9) + write_field(3, write_field(3, 1)),
            "one": write_field(2, 7) + write_field(3, b""),
            "odd": write_field(2, 8) + write_field(3, b""),
        }
    )
    version, signatures = read_metadata_response(message)
    raw = {
        "model_spec": {"name": "m", "signature_name": "", "version": "7"},
        "metadata": {
            "signature_def": {
                "signature_def": {
                    "serving_default": {
                        "inputs": {
                            "a/b.c d": {
                                "dtype": "DT_FLOAT",
                                "tensor_shape": {"dim": [{"size": "-1"}, {"size": "64"}], "unknown_rank": False},
                            },
                            "any": {"dtype": "DT_INT64", "tensor_shape": {"dim": [], "unknown_rank": True}},
                            "one": {"dtype": "DT_STRING", "tensor_shape": {"dim": [], "unknown_rank": False}},
                            "odd": {"dtype": "DT_COMPLEX64", "tensor_shape": {}},
                        },
                        "outputs": {},
                    }
                }
            }
        },
    }
    assert version == "7"
    inputs = signatures["serving_default"]["inputs"]
    assert inputs["a/b.c d"] == TensorInfo(dtype="float32", shape=(None, 64))
    assert inputs["any"] == TensorInfo(dtype="int64", shape=None)
    assert inputs["one"] == TensorInfo(dtype="string", shape=())
    from_json = read_json_metadata(raw)
    assert from_json[0] == "7"
    assert {k: v for k, v in from_json[1]["serving_default"]["inputs"].items() if k != "odd"} == {
        k: v for k, v in inputs.items() if k != "odd"
    }
    assert from_json[1]["serving_default"]["inputs"]["odd"].dtype == "DT_COMPLEX64"


def test_states_from_both_protocols_are_the_same():
    message = b"".join(
        write_field(1, write_field(1, version) + write_field(2, state) + write_field(3, b""))
        for version, state in ((1, 50), (2, 30), (3, 20))
    )
    raw = {
        "model_version_status": [
            {"version": "1", "state": "END", "status": {}},
            {"version": "2", "state": "AVAILABLE"},
            {"version": "3", "state": "LOADING"},
        ]
    }
    assert {v: s for v, s in read_states(message).items() if s != 50} == {2: 30, 3: 20}
    assert {v: s for v, s in read_json_states(raw).items() if v != 1} == {2: 30, 3: 20}


def test_an_unloaded_version_is_not_taken_for_a_coming_one():
    raw = {"model_version_status": [{"version": "1", "state": "END"}, {"version": "2", "state": "UNLOADING"}]}
    assert all(state > 30 for state in read_json_states(raw).values())
