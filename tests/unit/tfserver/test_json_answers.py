"""Answers as JSON: the digits of numbers, and every blank where the real server's writer puts it."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from modelport_tfserving.server.json_answers import render_error, render_outputs
from modelport_tfserving.server.json_floats import render_floats
from modelport_tfserving.server.statuses import ServingError

_RANDOM = np.random.default_rng(5)
_EDGES = [
    *(0.0, -0.0, 1.0, -1.0, 0.1, 0.3, 1 / 3, 2 / 3, 100.0, 123456.0, 999999.0, 999999.5, 1e6, 9e6, 16777215.0),
    *(1e-4, 9.9999e-5, 3e-05, 1e-14, 1e-15, 1.17549435e-38, 3.4028235e38, 0.09999999, 0.9999995, 9.9999995),
    *(math.nan, math.inf, -math.inf),
]
_NUMBERS: dict[str, Any] = {
    "edges": np.array(_EDGES),
    "tens": np.array([scale * 10.0**power for power in range(-16, 8) for scale in (1, -9.5)]),
    "below tens": np.nextafter(np.array([10.0**power for power in range(-14, 7)], np.float32), np.float32(0)),
    "short": np.round(10 ** _RANDOM.uniform(-9, 6, 5000), 6),
    "any size": _RANDOM.normal(size=5000) * 10 ** _RANDOM.uniform(-16, 8, 5000),
    "ties": _RANDOM.integers(-(2**12), 2**12, 5000) * 2.0 ** _RANDOM.integers(-30, 4, 5000),
    "any bits": _RANDOM.integers(0, 2**32, 5000).astype(np.uint32).view(np.float32),
}


def _write_alone(value: float, dtype: Any) -> str:
    """What C's `%g` gives where it reads back, else what so many digits give as the type may need."""
    if not math.isfinite(value):
        return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(value)]
    text = f"{value:g}"
    if dtype(text) != value:
        text = f"{value:.{9 if dtype is np.float32 else 17}g}"
    return text if "." in text or "e" in text else f"{text}.0"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", list(_NUMBERS))
def test_numbers_have_six_digits_or_all(name: str, dtype: Any) -> None:
    with np.errstate(all="ignore"):
        values = _NUMBERS[name].astype(dtype)
    texts = render_floats(values, np.full(values.size, 1, np.uint8)).decode().split("\x01")
    assert texts == [*(_write_alone(value, dtype) for value in values.tolist()), ""]


_ONE_LINE = """{
    "predictions": [[1.0, 2.5], [3.0, 4.0]
    ]
}"""
_LINES = """{
    "outputs": [
        [
            1.0,
            2.5
        ],
        [
            3.0,
            4.0
        ]
    ]
}"""
_ROWS = """{
    "predictions": [
        {
            "a": [[1], [2]],
            "b_bytes": {
                "b64": "aGk="
            }
        },
        {
            "a": [[3], [4]],
            "b_bytes": {
                "b64": ""
            }
        }
    ]
}"""
_COLUMNS = """{
    "outputs": {
        "a": [
            true
        ],
        "b": [
            [],
            []
        ],
        "c": "x"
    }
}"""


@pytest.mark.parametrize(
    ("outputs", "rows", "text"),
    [
        ({"y": np.float32([[1, 2.5], [3, 4]])}, True, _ONE_LINE),
        ({"y": np.float32([[1, 2.5], [3, 4]])}, False, _LINES),
        ({"a": np.int8([[[1], [2]], [[3], [4]]]), "b_bytes": np.array([b"hi", b""], object)}, True, _ROWS),
        ({"a": np.array([True]), "b": np.zeros((2, 0, 3)), "c": np.array(b"x", object)}, False, _COLUMNS),
        ({"y": np.zeros((0, 2))}, True, '{\n    "predictions": []\n}'),
        ({"y": np.zeros((0, 2)), "z": np.zeros(0)}, True, '{\n    "predictions": []\n}'),
        ({"y": np.float32(0.5)}, False, '{\n    "outputs": 0.5\n}'),
    ],
    ids=["one line", "lines", "rows", "columns", "no rows", "no rows of two", "scalar"],
)
def test_layout(outputs: dict[str, Any], rows: bool, text: str) -> None:
    assert render_outputs(outputs, rows=rows).decode() == text


@pytest.mark.parametrize("shape", [(1,), (3, 1, 2), (2, 3, 0), (1,) * 28, (2, 1, 1, 1, 2, 1, 1, 1, 1, 1, 1, 2)])
@pytest.mark.parametrize("rows", [True, False])
def test_every_shape_reads_back(shape: tuple[int, ...], rows: bool) -> None:
    array = np.arange(math.prod(shape)).reshape(shape)
    for kind in (np.float32, np.int64):
        answer = json.loads(render_outputs({"y": array.astype(kind)}, rows=rows))
        assert next(iter(answer.values())) == array.tolist()
        answer = json.loads(render_outputs({"y": array.astype(kind), "z": array}, rows=rows))
        found = [row["y"] for row in answer["predictions"]] if rows else answer["outputs"]["y"]
        assert found == array.tolist()


def test_text_keeps_its_bytes() -> None:
    raw = b'\x01\x1b"\\\n\x7f/\xc3\xa9\xff'
    answer = render_outputs({"y": np.array([raw], object)}, rows=True)
    assert b'["\\u0001\\u001B\\"\\\\\\n\x7f/\xc3\xa9\xff"\n' in answer
    assert render_error('a "b"\n') == b'{\n    "error": "a \\"b\\"\\n"\n}'


@pytest.mark.parametrize(
    ("outputs", "text"),
    [
        ({}, "Cannot convert empty tensor map to JSON"),
        ({"y": np.float32(1)}, "Tensor name: y has no shape information "),
        ({"y": np.zeros(1), "z": np.zeros(2)}, "Tensor name: z has inconsistent batch size: 2 expecting: 1"),
        ({"y": np.zeros((1,) * 29)}, "Tensor name: y has 29 dimensions; JSON carries 28 here"),
    ],
)
def test_what_cannot_be_rows(outputs: dict[str, Any], text: str) -> None:
    with pytest.raises(ServingError) as caught:
        render_outputs(outputs, rows=True)
    assert str(caught.value) == f"INVALID_ARGUMENT: {text}"
