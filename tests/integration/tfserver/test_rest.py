"""The REST paths of a running server."""

from __future__ import annotations

import base64
import gzip
import json
import math
import socket
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.server


def _predict(server: Any, model: str, **body: Any) -> Any:
    response = server.post(f"{model}:predict", body)
    assert response.status_code == 200, response.text
    assert response.headers["Content-Type"] == "application/json"
    return response.json()


def test_rows_and_columns(server: Any) -> None:
    assert _predict(server, "half_plus_two", instances=[1.0, 2, 5]) == {"predictions": [3.5, 4.0, 5.5]}
    assert _predict(server, "half_plus_two", inputs=[1.0, 2, 5]) == {"outputs": [3.5, 4.0, 5.5]}
    named = {"instances": [{"x": 1.0}, {"x": 2.0}]}
    assert _predict(server, "half_plus_two", **named) == {"predictions": [3.5, 4.0]}
    assert _predict(server, "half_plus_two", inputs={"x": [1.0]}) == {"outputs": [3.5]}


def test_a_version_can_be_chosen_and_case_of_the_fixed_parts_does_not_matter(server: Any) -> None:
    assert server.post("half_plus_two/versions/1:predict", {"inputs": [1.0]}).json() == {"outputs": [2.5]}
    response = httpx.post(f"{server.url}/V1/Models/half_plus_two/Versions/1:predict", content='{"inputs": [1.0]}')
    assert response.json() == {"outputs": [2.5]}


def test_several_outputs_keep_their_names(server: Any) -> None:
    rows = [{"a b": [1, 2], "input.1": [3, 4.5]}, {"a b": [0, 0], "input.1": [1, 1]}]
    assert _predict(server, "odd%20names", instances=rows)["predictions"] == [
        {"/fc/out:0": [4.0, 6.5], "1": [3.0, 9.0], "input.1": [-2.0, -2.5]},
        {"/fc/out:0": [1.0, 1.0], "1": [0.0, 0.0], "input.1": [-1.0, -1.0]},
    ]
    columns = {"a b": [[1, 2]], "input.1": [[3, 4.5]]}
    assert _predict(server, "odd%20names", inputs=columns)["outputs"]["1"] == [[3.0, 9.0]]


def test_strings_and_base64(server: Any) -> None:
    binary = base64.b64encode(b"ab\x01").decode()
    answer = _predict(server, "words", instances=["schön", {"b64": binary}])
    assert answer["predictions"] == [
        {"upper": "SCHöN", "length": 6, "raw_bytes": {"b64": base64.b64encode("schön".encode()).decode()}},
        {"upper": "AB\x01", "length": 3, "raw_bytes": {"b64": binary}},
    ]


def test_nan_and_infinity_in_and_out(server: Any) -> None:
    response = server.post("half_plus_two:predict", '{"inputs": [NaN, Infinity, -Infinity, 0.1]}')
    assert response.text.split() == ["{", '"outputs":', "[", "NaN,", "Infinity,", "-Infinity,", "3.05", "]", "}"]
    values = json.loads(response.text)["outputs"]
    assert math.isnan(values[0])
    assert values[1:3] == [math.inf, -math.inf]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("float32", [0.1, 1e-7, 16777215, 9000000.0]),
        ("float64", [0.1, 1e-300, 9007199254740991]),
        ("int8", [-128, 127]),
        ("uint8", [0, 255]),
        ("int16", [-32768]),
        ("int32", [-(2**31), 2**31 - 1]),
        ("int64", [-(2**63), 2**63 - 1]),
        ("uint32", [2**32 - 1]),
        ("uint64", [2**64 - 1, 0]),
        ("bool", [True, False]),
        ("float32", 2.5),
        ("float32", []),
        ("int64", [[[1], [2]], [[3], [4]]]),
        ("int64", [[], []]),
        ("string", ["", 'a"\\b\n\u2028']),
    ],
)
def test_every_type_that_json_carries_comes_back(server: Any, name: str, value: Any) -> None:
    answer = _predict(server, "typed", signature_name=name, inputs=value)
    assert answer == {"outputs": value}
    assert json.dumps(answer).count("true") == json.dumps(value).count("true")


@pytest.mark.parametrize("name", ["float16", "bfloat16", "uint16", "complex64"])
def test_types_that_the_real_rest_api_does_not_carry_are_refused(server: Any, name: str) -> None:
    response = server.post("typed:predict", {"signature_name": name, "inputs": [1]})
    kind = {"float16": "half"}.get(name, name)
    assert response.status_code == 501
    assert response.json() == {"error": f"Conversion of JSON Value: 1 to type: {kind}"}
    # A tensor without elements has none that cannot be written.
    empty = server.post("typed:predict", {"signature_name": name, "inputs": []})
    assert empty.json() == {"outputs": []}


_DEFAULT = "half_plus_two:predict"
_TYPED = "typed:predict"
_WRONG: list[tuple[str, Any, int, str]] = [
    (_DEFAULT, "", 400, "JSON Parse error: The document is empty"),
    (_DEFAULT, "{", 400, "JSON Parse error: Missing a name for object member. at offset: 1"),
    (_DEFAULT, '{"instances": [1,]}', 400, "JSON Parse error:"),
    (_DEFAULT, "[" * 100_000, 400, "JSON Parse error:"),
    (_DEFAULT, '{"instances": [1]} 2', 400, "root must not be followed by other values. at offset: 19"),
    (_DEFAULT, '{"é": [1 2]}', 400, "Missing a comma or ] after an array element. at offset: 10"),
    (_DEFAULT, '{"x": "]}{[" "y": 1}', 400, "Missing a comma or } after an object member. at offset: 13"),
    (_DEFAULT, '{"instances": [1e400]}', 400, "JSON Parse error: Number too big to be stored in double."),
    (_DEFAULT, '{"instances": ["\\ud800"]}', 400, "is not of expected type: float"),
    (_TYPED, '{"signature_name": "string", "inputs": ["\\ud800"]}', 400, "a string is not valid UTF-8"),
    (_DEFAULT, [1], 400, "JSON Value: [\n    1\n] Is not object"),
    (_DEFAULT, {}, 400, "Missing 'inputs' or 'instances' key"),
    (_DEFAULT, {"instances": [1], "inputs": [1]}, 400, "expecting only one of 'inputs' or 'instances' keys to exist"),
    (_DEFAULT, {"instances": 1}, 400, "Excepting 'instances' to be an list/array"),
    (_DEFAULT, {"instances": []}, 400, "No values in 'instances' array"),
    (_DEFAULT, {"signature_name": 1, "instances": [1]}, 400, "'signature_name' key must be a string value."),
    (
        _DEFAULT,
        {"signature_name": "s", "instances": [1]},
        400,
        'Serving signature name: "s" not found in signature def',
    ),
    (
        _DEFAULT,
        {"instances": ["x"]},
        400,
        "0 of 'instances' list. Error: INVALID_ARGUMENT: JSON Value: \"x\" Type: String is not of expected type: float",
    ),
    (_DEFAULT, {"instances": [1, [2]]}, 400, "Expecting tensor size: 1 but got: 1|Expecting shape [] but got: [1]"),
    (_DEFAULT, {"instances": [[1, 2], [3]]}, 400, "Failed to process element: 1 of 'instances' list. Error: "),
    (_DEFAULT, {"instances": [{"z": 1}]}, 400, "JSON object: does not have named input: z"),
    (_DEFAULT, {"instances": [{}]}, 400, "keys must be equal to: x"),
    (_DEFAULT, {"instances": [{"x": 1}, 2]}, 400, "Expecting object but got list at item 1 of input list"),
    (_DEFAULT, {"instances": [2, {"x": 1}]}, 400, "Expecting value/list but got object at item 1 of input list"),
    (_DEFAULT, {"inputs": {"z": [1]}}, 400, "Missing named input: x in 'inputs' object."),
    (_DEFAULT, {"inputs": {"x": [1], "z": [1]}}, 400, "JSON object: does not have named input: z"),
    (_DEFAULT, {"inputs": [[1, 2], [3]]}, 400, "Encountered list at unexpected size: 1 at level: 1 expected size: 2"),
    (_DEFAULT, {"inputs": [[1], 2]}, 400, "JSON Value: 2 found at incorrect level: 2 in the JSON DOM."),
    (_DEFAULT, {"inputs": [1, [2]]}, 400, "Encountered list at unexpected level: 1 expected < 1"),
    (_DEFAULT, {"inputs": [True]}, 400, "JSON Value: true Type: True is not of expected type: float"),
    (_DEFAULT, {"inputs": [1.5, None]}, 400, "JSON Value: null Type: Null is not of expected type: float"),
    (_DEFAULT, {"inputs": [16777216]}, 400, "Cannot convert JSON value: 16777216 to float without loss of precision."),
    (_DEFAULT, {"inputs": [1e39]}, 400, "Cannot convert JSON value: 1e+39 to float without loss of precision."),
    (_TYPED, {"signature_name": "int64", "inputs": [1, 2.0]}, 400, "JSON Value: 2.0 Type: Number is not of expected"),
    (_TYPED, {"signature_name": "int64", "inputs": [2**63]}, 400, "is not of expected type: int64"),
    (_TYPED, {"signature_name": "uint8", "inputs": [256]}, 400, "JSON Value: 256 Type: Number is not of expected"),
    (_TYPED, {"signature_name": "uint64", "inputs": [-1]}, 400, "is not of expected type: uint64"),
    (_TYPED, {"signature_name": "bool", "inputs": [1]}, 400, "is not of expected type: bool"),
    (_TYPED, {"signature_name": "string", "inputs": [1]}, 400, "is not of expected type: string"),
    (_TYPED, {"signature_name": "string", "inputs": [{"b64": "*"}]}, 400, "Unable to base64 decode"),
    (_TYPED, {"signature_name": "string", "inputs": [{"c": "YQ=="}]}, 400, "not formatted correctly for base64 data"),
    ("adder:predict", {"instances": [1]}, 400, "instances is a plain list, but expecting list of objects"),
    ("adder:predict", {"inputs": [1]}, 400, "inputs is a plain value/list, but expecting an object"),
    ("adder:predict", {"inputs": {"left": [1, 2], "right": [1, 2, 3]}}, 400, "Incompatible shapes"),
    (
        "adder:predict",
        {"signature_name": "total", "instances": [{"left": 1, "right": 2}]},
        400,
        "Tensor name: total has no shape information ",
    ),
    ("nope:predict", {"instances": [1]}, 404, "Servable not found for request: Latest(nope)"),
    ("half_plus_two/versions/9:predict", {"instances": [1]}, 404, "Servable not found for request: Specific("),
    ("half_plus_two/labels/beta:predict", {"instances": [1]}, 400, "Unrecognized servable version label: beta"),
    (f"half_plus_two/versions/{2**63}:predict", {"instances": [1]}, 400, "Failed to convert version: "),
    (f"half_plus_two/versions/{'9' * 5000}:predict", {"instances": [1]}, 400, "Failed to convert version: "),
    ("half_plus_two:guess", {"instances": [1]}, 400, "Malformed request: POST /v1/models/half_plus_two:guess"),
    ("half_plus_two", {"instances": [1]}, 400, "Malformed request: POST /v1/models/half_plus_two"),
    ("half_plus_two:regress", {"examples": []}, 400, "'examples' value is an empty array"),
    ("half_plus_two:regress", {"examples": [{"x": [1.0, "a"]}]}, 400, "Unexpected element type in feature: x"),
    ("half_plus_two:classify", {"instances": [1]}, 400, "key 'examples' is expected and was not found"),
]


@pytest.mark.parametrize("case", range(len(_WRONG)), ids=[f"{case[0]}-{str(case[1])[:40]}" for case in _WRONG])
def test_wrong_requests_are_answered_with_a_status_and_a_text(server: Any, case: int) -> None:
    path, body, status, text = _WRONG[case]
    response = server.post(path, body)
    assert response.status_code == status
    assert list(response.json()) == ["error"]
    assert any(part in response.json()["error"] for part in text.split("|"))


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("GET", "/v1/models", 400, "Missing model name in request."),
        ("GET", "/v1/models/nope", 404, "Could not find any versions of model nope"),
        ("GET", "/v1/models/nope/metadata", 404, "Servable not found for request: Latest(nope)"),
        ("GET", "/v1/models/half_plus_two/versions/7", 404, "Could not find version 7 of model half_plus_two"),
        ("GET", "/v1/models/half_plus_two:predict", 400, "Malformed request: GET /v1/models/half_plus_two:predict"),
        ("DELETE", "/v1/models/half_plus_two", 400, "Malformed request: DELETE /v1/models/half_plus_two"),
        ("GET", "/v1/", 400, "Malformed request: GET /v1/"),
        ("GET", "/", 404, "Not found: /"),
    ],
)
def test_other_paths(server: Any, method: str, path: str, status: int, text: str) -> None:
    response = httpx.request(method, f"{server.url}{path}")
    assert (response.status_code, response.json()) == (status, {"error": text})


def test_status_and_metadata(server: Any) -> None:
    status = httpx.get(f"{server.url}/v1/models/half_plus_two").json()
    fine = {"error_code": "OK", "error_message": ""}
    assert status == {
        "model_version_status": [
            {"version": "2", "state": "AVAILABLE", "status": fine},
            {"version": "1", "state": "AVAILABLE", "status": fine},
        ]
    }
    one = httpx.get(f"{server.url}/v1/models/half_plus_two/versions/1").json()
    assert one["model_version_status"] == status["model_version_status"][1:]
    metadata = httpx.get(f"{server.url}/v1/models/functions/metadata").json()
    assert metadata["model_spec"] == {"name": "functions", "signature_name": "", "version": "1"}
    signature = metadata["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["method_name"] == "tensorflow/serving/predict"
    assert signature["inputs"]["x"]["dtype"] == "DT_FLOAT"
    assert [dim["size"] for dim in signature["inputs"]["x"]["tensor_shape"]["dim"]] == ["-1", "3"]


def test_classify_and_regress(server: Any) -> None:
    body = {"signature_name": "regress_x_to_y", "examples": [{"x": 1.0}, {"x": [2.5]}]}
    assert server.post("half_plus_two:regress", body).json() == {"results": [3.5, 4.25]}
    body = {"signature_name": "classify_x_to_y", "context": {"x": 1.0}, "examples": [{}, {"x": 2.0}]}
    assert server.post("half_plus_two:classify", body).json() == {
        "results": [[["low", 3.5], ["high", 7.0]], [["low", 4.0], ["high", 8.0]]]
    }


@pytest.mark.parametrize(
    ("examples", "text"),
    [
        ([[1.0]], "Example must be JSON object but got JSON Array"),
        ([{"x": [1, None]}], "Feature: x has element with unexpected JSON type: Null"),
        ([{"x": [[1]]}], "Feature: x has element with unexpected JSON type: Array"),
        ([{"x": [{"y": 1}]}], "Feature: x has element with unexpected JSON type: Object"),
        ([{"x": [1, 1.0]}], "Unexpected element type in feature: x expecting type: int64"),
        ([{"x": 2**64 - 1}], "Feature: x has uint64 element. Only int64 is supported."),
        ([{"x": 1e39}], "Cannot convert JSON value: 1e+39 to float without loss of precision."),
    ],
)
def test_wrong_examples(server: Any, examples: Any, text: str) -> None:
    response = server.post("half_plus_two:regress", {"signature_name": "regress_x_to_y", "examples": examples})
    assert (response.status_code, response.json()) == (400, {"error": text})


def test_a_whole_number_beyond_64_bits_is_a_decimal_one(server: Any) -> None:
    body = {"signature_name": "regress_x_to_y", "examples": [{"x": 2**70}]}
    assert server.post("half_plus_two:regress", body).json() == {"results": [pytest.approx(2.0**69, rel=1e-6)]}


def test_gzip_both_ways(server: Any) -> None:
    body = gzip.compress(json.dumps({"instances": [1.0] * 1000}).encode())
    headers = {"Content-Encoding": "gzip", "Accept-Encoding": "gzip"}
    response = server.post("half_plus_two:predict", body, headers=headers)
    assert response.headers["Content-Encoding"] == "gzip"
    assert response.json() == {"predictions": [3.5] * 1000}
    plain = server.post("half_plus_two:predict", body, headers=headers | {"Accept-Encoding": "identity"})
    assert "Content-Encoding" not in plain.headers
    cut = server.post("half_plus_two:predict", body[:-4], headers=headers)
    assert (cut.status_code, cut.json()) == (400, {"error": "the gzip body is cut short"})


def test_connections_are_kept(server: Any) -> None:
    with socket.create_connection(("127.0.0.1", server.rest_port), 20) as connection:
        answers = connection.makefile("rb")
        for _ in range(3):
            body = b'{"inputs": [1.0]}'
            head = f"POST /v1/models/half_plus_two:predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
            connection.sendall(head.encode() + body)
            assert answers.readline() == b"HTTP/1.1 200 OK\r\n"
            length = 0
            while (line := answers.readline()) != b"\r\n":
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            assert json.loads(answers.read(length)) == {"outputs": [3.5]}


def test_a_hundred_megabytes_are_answered(server: Any) -> None:
    body = b'{"instances": ["' + b"x" * 100_000_000 + b'"]}'
    response = server.post("half_plus_two:predict", body)
    assert response.status_code == 400
    assert "is not of expected type: float" in response.json()["error"]
    assert len(response.text) < 2000
    assert _predict(server, "half_plus_two", inputs=[1.0]) == {"outputs": [3.5]}


def test_a_hundred_megabytes_of_numbers_are_answered(server: Any) -> None:
    row = "[" + ", ".join(["0.123456"] * 1000) + "]"
    body = f'{{"signature_name": "mean", "inputs": [{", ".join([row] * 10_000)}]}}'.encode()
    assert len(body) > 100_000_000
    response = server.post("adder:predict", body)
    assert response.status_code == 200, response.text
    assert response.json() == {"outputs": pytest.approx(0.123456, rel=1e-4)}


def test_a_query_is_part_of_the_path(server: Any) -> None:
    response = httpx.get(f"{server.url}/the/metrics?a=b")
    assert (response.status_code, response.text) == (400, "Unexpected path: /the/metrics?a=b. Should be /the/metrics")
    response = server.post("half_plus_two:predict?a=b", {"instances": [1.0]})
    assert response.json() == {"error": "Malformed request: POST /v1/models/half_plus_two:predict?a=b"}


def test_metrics_count_what_was_asked(server: Any) -> None:
    server.post("half_plus_two:predict", {"instances": [1.0]})
    server.post("absent:predict", {"instances": [1.0]})
    response = httpx.get(f"{server.url}/the/metrics")
    assert response.headers["Content-Type"] == "text/plain"
    assert ':tensorflow:serving:request_count{model_name="absent",status="NOT_FOUND"} 1\n' in response.text
    assert '_latency_count{model_name="half_plus_two",API="predict",entrypoint="REST"}' in response.text
    assert "# TYPE :tensorflow:serving:request_latency histogram" in response.text
