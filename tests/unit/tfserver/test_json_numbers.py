"""Long lists of numbers are read as `json.loads` reads them, and everything else is left to it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from modelport_tfserving.server.json_numbers import NumberList, load_document
from modelport_tfserving.server.json_requests import parse_object, read_inputs
from modelport_tfserving.server.statuses import ServingError

_FLOAT, _INT32, _STRING, _UINT8 = 1, 3, 7, 4
_LONG = np.arange(60_000).reshape(200, 300).tolist()


@pytest.mark.parametrize(
    "value",
    [
        [1],
        [[1, 2], [3, 4]],
        [[[1.5, -2e-3]]],
        [[[1], [2]], [[3], [4]]],
        [0, -0.0, 0.0, -0.5, 1e5, 1e300, 123456789012345678],
        [10, 100, 1e-07, -10.25],
    ],
)
@pytest.mark.parametrize("layout", [{}, {"separators": (",", ":")}])
def test_even_lists_are_read_as_they_are(value: list[Any], layout: dict[str, Any]) -> None:
    array = NumberList(json.dumps(value, **layout).encode()).read()
    assert array is not None
    assert array.tolist() == np.array(value, np.float64).tolist()


@pytest.mark.parametrize(
    "text",
    [
        *("[]", "[[],[]]", "[1,]", "[,1]", "[1,,2]", "[1 2]", "[1  2]", "[1\n2]", "[- 1]", "[1. 5]"),
        *("[[1],[2,3]]", "[[1,2],3]", "[1,[2]]", "[[1,2],[3,4]", "[1]]", "[1],[2]"),
        *("[01]", "[-01]", "[00]", "[+1]", "[.5]", "[-.5]", "[1.]", "[1.e5]", "[1,01]", "[[1],[01]]"),
        *("[--1]", "[1.2.3]", "[1e]", "[e5]", "[1e5.5]", "[1e+-5]", "[-]", "[1-2]"),
        *("[[1,2]3,[4,5]]", "[[1,2],[3,4]5]", "[5[1,2],[3,4]]", "[[1]-[2]]", "[-[1],[2]]", "[[1]e,[2]]"),
    ],
)
def test_what_is_uneven_or_no_json_is_left_to_the_parser(text: str) -> None:
    assert NumberList(text.encode()).read() is None


def test_every_float_comes_back_to_the_last_bit() -> None:
    bits = np.random.default_rng(0).integers(0, 2**63, 20_000, np.int64)
    values = bits.view(np.float64)
    values = values[np.isfinite(values)]
    array = NumberList(json.dumps(values.tolist()).encode()).read()
    assert array is not None
    assert np.array_equal(array, values)


@pytest.mark.parametrize(
    "document",
    [
        {"instances": _LONG},
        {"signature_name": "x", "inputs": {"a": _LONG, "b": _LONG[:20], "c": [1, 2]}},
        {"instances": [{"a": _LONG, "b": "x"}, {"a": _LONG, "b": '"[1,2'}]},
        {"instances": "[" + "1," * 160_000 + "1]"},
        {"instances": [_LONG, "x", _LONG]},
        {"instances": [*_LONG, [None]]},
        {"x" * 300_000: [1]},
        [_LONG, {"a": 1}],
    ],
)
def test_a_large_document_is_what_the_parser_says(document: Any) -> None:
    def expand(value: Any) -> Any:
        match value:
            case NumberList():
                return value.expand()
            case dict():
                return {name: expand(entry) for name, entry in value.items()}
            case list():
                return [expand(entry) for entry in value]
        return value

    assert expand(load_document(json.dumps(document).encode())) == document


def test_an_object_of_long_lists_is_not_parsed_number_by_number() -> None:
    document = load_document(json.dumps({"inputs": {"a": _LONG}}).encode())
    assert isinstance(document["inputs"]["a"], NumberList)


@pytest.mark.parametrize("end", [b"", b"]", b"}}", b"],[1]}", b", 1}"])
def test_a_broken_large_document_tells_the_offset(end: bytes) -> None:
    body = b'{"instances": ' + json.dumps(_LONG).encode() + end
    with pytest.raises(ServingError, match=r"JSON Parse error: .* at offset: \d+"):
        read_inputs(parse_object(body, load=load_document), {"x": _FLOAT})


@pytest.mark.parametrize(("dtype", "numpy"), [(_FLOAT, np.float32), (_INT32, np.int32)])
@pytest.mark.parametrize("key", ["instances", "inputs"])
def test_tensors_of_large_requests(dtype: int, numpy: type, key: str) -> None:
    body = json.dumps({key: _LONG}).encode()
    inputs, rows = read_inputs(parse_object(body, load=load_document), {"x": dtype})
    assert rows == (key == "instances")
    assert inputs["x"].dtype == numpy
    assert inputs["x"].tolist() == _LONG


@pytest.mark.parametrize(
    ("change", "dtype", "text"),
    [
        ([[1.5] * 300], _INT32, "Type: Number is not of expected type: int32"),
        ([[256] * 300], _UINT8, "is not of expected type: uint8"),
        ([[1] * 300], _STRING, "is not of expected type: string"),
        ([[2**24 + 1] * 300], _FLOAT, "to float without loss of precision"),
        ([[1e39] * 300], _FLOAT, "to float without loss of precision"),
        ([[1.0] * 299], _FLOAT, "Expecting tensor size: 300 but got: 299"),
    ],
)
def test_faults_in_large_requests_are_told_as_in_small_ones(change: list[Any], dtype: int, text: str) -> None:
    body = json.dumps({"instances": [[0] * 300] * 100 + change}).encode() + b" " * 300_000
    with pytest.raises(ServingError) as caught:
        read_inputs(parse_object(body, load=load_document), {"x": dtype})
    assert text in str(caught.value)
    assert len(str(caught.value)) < 2000
