"""A Bento on the real server: answers, refusals, batches, health, documents."""

import io
import json
import re
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import yaml

from modelport.artifact import changed_files

pytestmark = pytest.mark.server

NPZ = "application/x-npz"
TIMEOUT_S = 6  # of the service
SLOW = 1000.0  # from here on the transform waits, in ms above


def inputs(numbers=((1, 2, 3),), **others):
    rows = len(numbers)
    return {
        "a b/c.d": numbers,
        "text": others.get("text", ["é"] * rows),
        "n:0": others.get("n", [2**53 + 1] * rows),
        "flag": others.get("flag", [True] * rows),
    }


def post(http, body, **headers):
    return http.post("/predict", content=json.dumps(body), headers={"content-type": "application/json", **headers})


def pack(arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def test_json_keeps_every_value(http):
    answer = post(http, inputs([[0.1, float("nan"), float("inf")], [-0.0, 1e-45, float("-inf")]], text=["é", ""]))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    values = answer.json()
    expected = 2 * np.array([[0.1, np.nan, np.inf], [-0.0, 1e-45, -np.inf]], np.float32)
    np.testing.assert_array_equal(np.array(values["y"], np.float32), expected)
    assert "NaN" in answer.text
    assert "null" not in answer.text
    assert values["text/out"] == ["é", ""]
    assert values["n:0/out"] == [2**53 + 1] * 2
    assert values["flag/out"] == [True, True]


@pytest.mark.parametrize("accept", [NPZ, f"{NPZ}, */*", "application/json", "*/*"])
def test_npz_goes_in_and_comes_out_where_it_is_accepted(http, accept):
    arrays = {
        "a b/c.d": np.float32([[1, np.nan, 3]]),
        "text": np.array(["x"]),
        "n:0": np.int64([-(2**63)]),
        "flag": np.array([False]),
    }
    answer = http.post("/predict", content=pack(arrays), headers={"content-type": NPZ, "accept": accept})
    assert answer.status_code == 200
    if NPZ not in accept:
        assert answer.json()["n:0/out"] == [-(2**63)]
        return
    assert answer.headers["content-type"] == NPZ
    values = np.load(io.BytesIO(answer.content))
    assert values["y"].dtype == np.float32
    np.testing.assert_array_equal(values["y"], np.float32([[2, np.nan, 6]]))
    assert values["text/out"].tolist() == ["x"]
    assert values["n:0/out"].tolist() == [-(2**63)]


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (inputs([[1, 2]]), "shape"),
        (inputs([]), "shape"),
        (inputs([["a", "b", "c"]]), "float32"),
        (inputs(n=[1.5]), "int64"),
        (inputs(n=[2**64]), "n:0"),
        (inputs([[1, 2, 3]] * 9), "at most 8"),
        ({**inputs(), "more": 1}, "more"),
        ({"a b/c.d": [[1, 2, 3]]}, "missing"),
        ([1], "object"),
        ("x", ""),
    ],
)
def test_wrong_inputs_are_answered_with_a_sentence(http, body, word):
    answer = post(http, body)
    assert answer.status_code == 400
    assert word in answer.json()["error"]


@pytest.mark.parametrize(
    ("content", "content_type"),
    [(b"{", "application/json"), (b"", "application/json"), (b"PK\3\4", NPZ), (b"\xff\xfe", "image/png")],
)
def test_bodies_that_cannot_be_read_are_refused(http, content, content_type):
    answer = http.post("/predict", content=content, headers={"content-type": content_type})
    assert answer.status_code == 400
    assert answer.json()["error"]


def test_an_empty_batch_is_refused(http):
    arrays = {
        "a b/c.d": np.zeros((0, 3)),
        "text": np.zeros(0, "U1"),
        "n:0": np.zeros(0, int),
        "flag": np.zeros(0, bool),
    }
    answer = http.post("/predict", content=pack(arrays), headers={"content-type": NPZ})
    assert answer.status_code == 400
    assert "empty" in answer.json()["error"]


def test_long_requests_are_refused_and_the_next_one_is_answered(http):
    def chunks():
        for _ in range(400):
            yield b" " * 2**16

    for content in (b" " * 100 * 2**20, chunks()):
        answer = http.post("/predict", content=content)
        assert answer.status_code == 413
        assert "1048576 bytes" in answer.json()["error"]
    assert post(http, inputs()).status_code == 200


def test_an_npz_that_unpacks_to_too_much_is_refused(http):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{"a b/c.d": np.zeros((2**20, 3), np.float32)})
    answer = http.post("/predict", content=buffer.getvalue(), headers={"content-type": NPZ})
    assert answer.status_code == 413


def batch_sizes(http):
    lines = [
        line.split() for line in http.get("/metrics").text.splitlines() if line.startswith("modelport_batch_rows_")
    ]
    values = {name: float(value) for name, value in lines}
    return values["modelport_batch_rows_sum"], values["modelport_batch_rows_count"]


def test_requests_are_joined_and_a_bad_one_spoils_none(http):
    rows_before, batches_before = batch_sizes(http)

    def send(number):
        bad = number % 10 == 0
        return post(http, inputs([[number, number]] if bad else [[number] * 3], n=[number]))

    with ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(send, range(240)))
    assert [a.status_code for a in answers] == [400 if n % 10 == 0 else 200 for n in range(240)]
    for number, answer in enumerate(answers):
        if number % 10:
            assert answer.json()["y"] == [[2.0 * number] * 3]
            assert answer.json()["n:0/out"] == [number]
    rows, batches = batch_sizes(http)
    assert rows - rows_before == 240
    assert batches - batches_before < 120


def test_code_that_fails_is_told_and_survived(http):
    answer = post(http, inputs([[-1, 0, 0]]))
    assert answer.status_code == 500
    assert "cannot bear it" in answer.json()["error"]
    assert post(http, inputs()).status_code == 200


def wait_until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def wait_for_work(http):
    """Wait until a request is in the service's hands."""
    in_work = re.compile(r'^bentoml_service_request_in_progress\{.*endpoint="/predict".*\} [1-9]', re.MULTILINE)
    wait_until(lambda: in_work.search(http.get("/metrics").text))


def test_a_slow_model_holds_up_neither_health_nor_itself_for_ever(http):
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(post, http, inputs([[SLOW + 1000 * TIMEOUT_S + 500, 0, 0]]))
        wait_for_work(http)
        for path in ("/livez", "/readyz", "/metadata"):
            assert http.get(path).status_code == 200
        assert not slow.done()
        assert slow.result().status_code == 504
        assert "error" in slow.result().json()
    wait_until(lambda: post(http, inputs()).status_code == 200)


def test_overload_is_refused_at_once(http):
    with ThreadPoolExecutor(48) as pool:
        slow = pool.submit(post, http, inputs([[SLOW + 2000, 0, 0]]))
        wait_for_work(http)
        crowd = [pool.submit(post, http, inputs()) for _ in range(47)]
        statuses = [request.result().status_code for request in crowd]
        assert slow.result().status_code == 200
    assert set(statuses) == {200, 503}
    assert statuses.count(200) >= 31


def test_metadata_is_what_lies_in_the_bento(http, artifact):
    assert http.get("/metadata").json() == json.loads((artifact.path / "project/model/modelport.json").read_text())


def test_the_openapi_document_is_true(http, artifact):
    document = http.get("/docs.json").json()
    assert yaml.safe_load((artifact.path / "home/bentos/doubler.x/1.2.0-a/apis/openapi.yaml").read_text()) == document
    assert (document["info"]["title"], document["info"]["version"]) == ("Doubler.x", "1.2.0+A")
    operation = document["paths"]["/predict"]["post"]
    request = operation["requestBody"]["content"]
    assert request.keys() == operation["responses"]["200"]["content"].keys() == {"application/json", NPZ}
    answer = operation["responses"]["200"]["content"]["application/json"]["schema"]
    assert conforms(request["application/json"]["schema"], inputs())
    assert conforms(answer, post(http, inputs()).json())
    for wrong in (inputs([[1, 2]]), inputs(n=["x"]), {"text": ["a"]}):
        assert not conforms(request["application/json"]["schema"], wrong)
        assert post(http, wrong).status_code == 400
    assert set(operation["responses"]) == {"200", "400", "413", "500", "503", "504"}
    assert "get" in document["paths"]["/metadata"]


def conforms(schema, value):
    """Tell whether a value is what a schema describes (the part of JSON Schema that stands in our documents)."""
    if schema["type"] == "object":
        properties = schema["properties"]
        return set(value) == set(schema["required"]) == set(properties) and all(
            conforms(properties[name], entry) for name, entry in value.items()
        )
    if schema["type"] == "array":
        low, high = schema.get("minItems", 0), schema.get("maxItems", np.inf)
        return (
            isinstance(value, list | tuple)
            and low <= len(value) <= high
            and all(conforms(schema["items"], entry) for entry in value)
        )
    kinds = {"number": (int, float), "integer": int, "boolean": bool, "string": str}
    return isinstance(value, kinds[schema["type"]])


def test_bentoml_s_own_client_takes_and_gives_arrays(server):
    import bentoml

    with bentoml.SyncHTTPClient(server) as client:
        answer = client.predict(**{**inputs(), "a b/c.d": np.float32([[1, 2, 3]]), "n:0": np.int64([5])})
    np.testing.assert_array_equal(answer["y"], np.float32([[2, 4, 6]]))
    assert answer["n:0/out"].tolist() == [5]


def test_serving_writes_nothing_into_the_artifact(http, artifact):
    assert http.get("/readyz").status_code == 200
    assert changed_files(artifact) == []
    assert not [path for path in artifact.path.rglob("*") if path.name == "__pycache__" or path.suffix == ".pyc"]
