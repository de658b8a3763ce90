"""Batches as TorchServe hands them over, with TorchServe's own context and a hand-written engine."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from modelport_runtime import torchserve_handler
from modelport_runtime.codec import JSON, NPZ, decode, encode
from modelport_runtime.description import ModelDescription
from modelport_runtime.runtime import Runtime
from modelport_runtime.signature import Signature, TensorSpec
from modelport_runtime.torchserve_service import TorchServeService

context_module = pytest.importorskip("ts.context", reason="torchserve is not installed")

X = np.array([[1.5, np.nan, -np.inf]], dtype=np.float32)


class Doubler:
    """An engine that counts the rows it is given at once, and fails where it meets 13."""

    def run(self, inputs):
        x = inputs["x"]
        if (x == 13).any():
            raise RuntimeError("unlucky")
        return {"y": x * 2, "rows": np.full(len(x), len(x), dtype=np.int64)}


@pytest.fixture
def service():
    signature = Signature(
        inputs=(TensorSpec(name="x", dtype="float32", shape=(None, 3)),),
        outputs=(
            TensorSpec(name="y", dtype="float32", shape=(None, 3)),
            TensorSpec(name="rows", dtype="int64", shape=(None,)),
        ),
    )
    description = ModelDescription(
        name="toy", version="1.2.0", format="torchscript", source="model.pt", signature=signature, served=signature,
        max_request_bytes=1000, max_batch_size=4,
    )  # fmt: skip
    return TorchServeService(Runtime(description, Doubler()))


class Exchange:
    """What goes through TorchServe's context for one batch."""

    def __init__(self, service, *requests):
        processors = [context_module.RequestProcessor(dict(headers)) for _, headers in requests]
        context = context_module.Context("toy", "/", {}, 4, None, "0.12", metrics=None)
        context.request_processor = processors
        self.bodies = service.answer([fields for fields, _ in requests], context)
        self.statuses = [processor.get_response_status_code() for processor in processors]
        self.types = [context.get_response_content_type(index) for index in range(len(requests))]


def rest(body, content_type=JSON, **headers):
    own = {"body": {"content-type": content_type}, "explain": "False", "Host": "here"}
    return {"body": bytearray(body)}, {**own, **headers}


def grpc(**fields):
    values = {name: bytearray(value) for name, value in fields.items()}
    return values, {name: {"content-type": ""} for name in values}


def outputs(body, content_type=JSON):
    return decode(bytes(body), content_type, None, limit=10**6)


def json_of(array):
    return encode({"x": array}, JSON)


def test_json(service):
    seen = Exchange(service, rest(json_of(X)))
    assert (seen.statuses, seen.types) == ([200], [JSON])
    np.testing.assert_array_equal(outputs(seen.bodies[0])["y"], X * 2)


def test_npz_both_ways(service):
    seen = Exchange(service, rest(encode({"x": X}, NPZ), NPZ, Accept="application/x-npz"))
    assert seen.types == [NPZ]
    np.testing.assert_array_equal(outputs(seen.bodies[0], NPZ)["y"], X * 2)


@pytest.mark.parametrize("headers", [{}, {"accept": "*/*"}, {"Accept": "application/json"}])
def test_npz_in_and_json_out(service, headers):
    seen = Exchange(service, rest(encode({"x": X}, NPZ), NPZ, **headers))
    assert seen.types == [JSON]


@pytest.mark.parametrize("kind", [JSON, NPZ])
@pytest.mark.parametrize("key", ["body", "data"])
def test_grpc_answers_as_it_was_asked(service, kind, key):
    seen = Exchange(service, grpc(**{key: encode({"x": X}, kind)}))
    np.testing.assert_array_equal(outputs(seen.bodies[0], kind)["y"], X * 2)


def test_one_field_an_input(service):
    seen = Exchange(service, grpc(x=b"[[1, NaN, 3]]"))
    np.testing.assert_array_equal(outputs(seen.bodies[0])["y"], [[2, np.nan, 6]])


def test_a_batch_is_answered_together_and_a_bad_request_alone(service):
    seen = Exchange(
        service,
        rest(json_of(X)),
        rest(b'{"x": [[1, 2]]}'),
        rest(b"junk"),
        rest(encode({"x": X}, NPZ), NPZ, accept=NPZ),
    )
    assert seen.statuses == [200, 400, 400, 200]
    assert outputs(seen.bodies[0])["rows"].tolist() == [2]
    assert outputs(seen.bodies[3], NPZ)["rows"].tolist() == [2]
    assert json.loads(seen.bodies[1]) == {"error": "input 'x' must have shape [?, 3], got [1, 2]"}
    assert "neither JSON nor npz" in json.loads(seen.bodies[2])["error"] or "no JSON" in seen.bodies[2].decode()


def test_a_model_that_fails_is_a_500_for_that_request(service):
    seen = Exchange(service, rest(json_of(np.full((1, 3), 13))), rest(json_of(X)))
    assert seen.statuses == [500, 200]
    assert "unlucky" in json.loads(seen.bodies[0])["error"]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b'{"x": [[1, 2, 3]], "z": 1}', 400, "unknown: 'z'"),
        (b'{"x": []}', 400, "input 'x'"),
        (json_of(np.zeros((5, 3))), 400, "at most 4"),
        (b'{"x": [["a", "b", "c"]]}', 400, "must be float32"),
        (b"[" * 900, 400, "JSON"),
        (b"0" * 1001, 413, "at most 1000"),
        (b"PK\x03\x04 broken", 400, "npz"),
    ],
)
def test_refusals(service, body, status, said):
    kind = "" if body.startswith(b"PK") else JSON
    seen = Exchange(service, rest(body, kind))
    assert seen.statuses == [status]
    assert said in json.loads(seen.bodies[0])["error"]


def test_no_body_and_form(service):
    seen = Exchange(service, ({}, {"Host": "here"}))
    assert seen.statuses == [400]
    assert "curl -d alone calls it a form" in json.loads(seen.bodies[0])["error"]


def test_field_that_is_no_json(service):
    seen = Exchange(service, grpc(x=b"[[1", z=b"1"), grpc(body=json_of(X)))
    assert "the field 'x' is no JSON" in json.loads(seen.bodies[0])["error"]


def test_refusals_in_a_grpc_batch_say_whose_fault_they_are(service):
    bodies = (json_of(X), b'{"x": [[1, 2]]}', json_of(np.full((1, 3), 13)))
    seen = Exchange(service, *(grpc(body=body) for body in bodies))
    assert [json.loads(body).get("status") for body in seen.bodies] == [None, 400, 500]


def test_lone_refusal_over_grpc_is_raised(service):
    from ts.utils.util import PredictionException

    with pytest.raises(PredictionException) as caught:
        Exchange(service, grpc(body=b'{"x": [[1, 2]]}'))
    assert (caught.value.error_code, caught.value.message) == (400, "input 'x' must have shape [?, 3], got [1, 2]")


def test_describe(service):
    seen = Exchange(service, ({}, {"describe": "True", "Host": "here"}), grpc(describe=b"True"), rest(json_of(X)))
    described = json.loads(seen.bodies[0])
    assert (described["name"], described["version"], described["signature"]["inputs"][0]["name"]) == (
        "toy",
        "1.2.0",
        "x",
    )
    assert seen.bodies[0] == seen.bodies[1]
    assert outputs(seen.bodies[2])["rows"].tolist() == [1]


def test_a_header_called_body_changes_nothing(service):
    fields, headers = rest(json_of(X))
    seen = Exchange(service, (fields, {**headers, "body": "x"}))
    assert seen.statuses == [200]


@pytest.mark.parametrize(("gpu", "visible", "expected"), [(1, None, "1"), (1, "4, 6", "6"), (0, "", "0")])
def test_worker_sees_its_gpu_alone(gpu, visible, expected):
    assert torchserve_handler._visible_device(gpu, visible) == expected


def test_archive_without_its_runtime_is_not_saved_by_an_installed_one(tmp_path):
    shutil.copy(torchserve_handler.__file__, tmp_path / "modelport_handler.py")
    script = (
        "import types, modelport_handler as m\n"
        f"context = types.SimpleNamespace(system_properties={{'model_dir': {str(tmp_path)!r}}})\n"
        "m.ModelportHandler().initialize(context)\n"
    )
    command = [sys.executable, "-c", script]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False)
    assert ended.returncode == 1
    assert "FileNotFoundError: the archive holds no modelport_runtime" in ended.stderr
    assert "modelport: the model did not load" in ended.stderr
