"""What TensorFlow Serving's own server tests ask of a server: the same calls, on models written as theirs are."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.profiler import profiler_client
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

pytestmark = pytest.mark.server
Launch = Callable[..., Any]
_PROGRAM = Path(__file__).parents[3] / "packaging" / "scripts" / "modelport-tfserving"


def _render(documented: Path, *names: str) -> str:
    """A configuration with commas and colons, as text protos may be written."""
    blocks = [
        f'config: {{ name: "{name}", base_path: "{documented / name}", model_platform: "tensorflow" }}'
        for name in names
    ]
    return f"model_config_list: {{ {', '.join(blocks)} }}".replace(", config", " config")


@pytest.fixture(scope="module")
def documented_server(documented: Path, tmp_path_factory: pytest.TempPathFactory, start: Launch) -> Iterator[Any]:
    """All the models, on a TCP port and a UNIX socket, with the channel arguments and the metrics of those tests."""
    folder = tmp_path_factory.mktemp("documented-server")
    (folder / "models.config").write_text(_render(documented, *(path.name for path in documented.iterdir())))
    (folder / "monitoring.config").write_text("prometheus_config { enable: true }")
    running = start(
        folder,
        f"--model_config_file={folder / 'models.config'}",
        f"--monitoring_config_file={folder / 'monitoring.config'}",
        f"--grpc_socket_path={folder / 'socket'}",
        "--grpc_channel_arguments=grpc.max_connection_age_ms=2000,grpc.lb_policy_name=grpclb",
        "--rest_api_timeout_in_ms=5000",
        "--prefer_tflite_model=true",
        "--enable_grpc_healthcheck_service",
    )
    yield running.await_ready("keras")
    running.stop()


def _example_request(request: Any, model: str, signature: str = "") -> Any:
    if signature:
        request.model_spec.name, request.model_spec.signature_name = model, signature
    request.input.example_list.examples.add().features.feature["x"].float_list.value.append(2.0)
    return request


@pytest.mark.parametrize(
    ("model", "value"), [("half_plus_two", 3.0), ("half_plus_three", 4.0), ("half_plus_two_tf2", 3.0)]
)
@pytest.mark.parametrize("output_filter", [(), ("y",)])
def test_predict(documented_server: Any, model: str, value: float, output_filter: tuple[str, ...]) -> None:
    signature = "serving_default"
    answer = documented_server.predict(model, {"x": np.float32([2.0])}, signature, output_filter=output_filter)
    assert answer.outputs["y"].dtype == tf.float32.as_datatype_enum
    assert list(answer.outputs["y"].float_val) == [value]
    spec = answer.model_spec
    assert (spec.name, spec.signature_name, spec.version.value) == (model, signature, 123)


@pytest.mark.parametrize(
    ("model", "signature", "x", "value"),
    [
        ("any_shape", "serving_default", np.float32([2.0]), 12.0),
        ("two_signatures", "serving_default", np.float32([2.0]), 1.0),
        ("two_signatures", "custom_signature_key", np.float32([2.0]), 2.0),
        ("keras", "serving_default", np.float32([[2.0]]), 2.0),
    ],
)
def test_predict_on_models_of_tensorflow_2(
    documented_server: Any, model: str, signature: str, x: Any, value: float
) -> None:
    answer = documented_server.predict(model, {"x": x}, signature)
    (output,) = answer.outputs.values()
    assert list(output.float_val) == [value]


def test_a_table_is_filled_from_an_asset(documented_server: Any) -> None:
    answer = documented_server.predict("vocabulary", {"words": np.array([b"two", b"zero", b"?"])})
    assert list(answer.outputs["ids"].int64_val) == [2, 0, -1]


@pytest.mark.parametrize("model", ["half_plus_two", "half_plus_two_tf2"])
def test_classify_regress_and_multi_inference(documented_server: Any, model: str) -> None:
    classified = documented_server.call(
        "Classify", _example_request(classification_pb2.ClassificationRequest(), model, "classify_x_to_y")
    )
    assert [entry.score for entry in classified.result.classifications[0].classes] == [3.0]
    assert classified.model_spec.signature_name == "classify_x_to_y"
    assert classified.model_spec.version.value == 123
    regressed = documented_server.call(
        "Regress", _example_request(regression_pb2.RegressionRequest(), model, "regress_x_to_y")
    )
    assert [entry.value for entry in regressed.result.regressions] == [3.0]
    request = _example_request(inference_pb2.MultiInferenceRequest(), model)
    for method in ("regress", "classify"):
        task = request.tasks.add(method_name=f"tensorflow/serving/{method}")
        task.model_spec.name, task.model_spec.signature_name = model, f"{method}_x_to_y"
    results = documented_server.call("MultiInference", request).results
    assert results[0].regression_result.regressions[0].value == 3.0
    assert results[1].classification_result.classifications[0].classes[0].score == 3.0
    assert [result.model_spec.version.value for result in results] == [123, 123]


def test_signatures_that_take_no_examples_cannot_be_run_with_those_that_do(documented_server: Any) -> None:
    request = _example_request(inference_pb2.MultiInferenceRequest(), "half_plus_two")
    for name in ("regress_x_to_y", "regress_x2_to_y3"):
        task = request.tasks.add(method_name="tensorflow/serving/regress")
        task.model_spec.name, task.model_spec.signature_name = "half_plus_two", name
    with pytest.raises(grpc.RpcError) as caught:
        documented_server.call("MultiInference", request)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "to be float but string is provided" in caught.value.details()


def test_status_and_metadata(documented_server: Any) -> None:
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "half_plus_two"
    (status,) = documented_server.call("GetModelStatus", request).model_version_status
    assert (status.version, status.status.error_code, status.state) == (123, 0, 30)
    metadata_request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    metadata_request.model_spec.name = "half_plus_two"
    metadata = documented_server.call("GetModelMetadata", metadata_request)
    assert (metadata.model_spec.name, metadata.model_spec.version.value) == ("half_plus_two", 123)
    assert list(metadata.metadata) == ["signature_def"]


def test_rest(documented_server: Any) -> None:
    def post(path: str, body: Any) -> Any:
        return documented_server.post(path, body).json()

    example = {"examples": [{"x": 2.0}]}
    assert post("half_plus_two:predict", {"instances": [2.0, 3.0, 4.0]}) == {"predictions": [3.0, 3.5, 4.0]}
    assert post("half_plus_two:predict", {"inputs": [2.0, 3.0, 4.0]}) == {"outputs": [3.0, 3.5, 4.0]}
    for model in ("half_plus_two", "half_plus_two_tf2"):
        classified = post(f"{model}:classify", {"signature_name": "classify_x_to_y", **example})
        assert classified == {"results": [[["", 3.0]]]}
        assert post(f"{model}:regress", {"signature_name": "regress_x_to_y", **example}) == {"results": [3.0]}
    status = {"version": "123", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    url = f"{documented_server.url}/v1/models/half_plus_two"
    assert httpx.get(url).json() == {"model_version_status": [status]}
    assert "# TYPE" in httpx.get(f"{documented_server.url}/monitoring/prometheus/metrics").text

    metadata = httpx.get(f"{url}/metadata").json()
    assert metadata["model_spec"] == {"name": "half_plus_two", "signature_name": "", "version": "123"}
    signatures = metadata["metadata"]["signature_def"]["signature_def"]
    sizes = {"dim": [{"size": "-1", "name": ""}, {"size": "1", "name": ""}], "unknown_rank": False}
    any_shape = {"dim": [], "unknown_rank": True}
    assert signatures["regress_x_to_y2"] == {
        "inputs": {"inputs": {"dtype": "DT_STRING", "tensor_shape": any_shape, "name": "tf_example:0"}},
        "outputs": {"outputs": {"dtype": "DT_FLOAT", "tensor_shape": sizes, "name": "y2:0"}},
        "method_name": "tensorflow/serving/regress",
        "defaults": {},
    }
    assert signatures.keys() == {
        *("serving_default", "classify_x_to_y", "regress_x_to_y", "regress_x_to_y2", "regress_x2_to_y3")
    }


def test_tensorflow_lite(documented_server: Any) -> None:
    answer = documented_server.predict("tflite", {"x": np.float32([2.0])}, "serving_default")
    assert list(answer.outputs["y"].float_val) == [3.0]
    answer = documented_server.predict("tflite_with_signature", {"a": np.float32([2.0])}, "serving_default")
    assert list(answer.outputs["b"].float_val) == [3.0]
    # An input of another length than the model's resizes it, and back.
    for values in ([2.0, 4.0, 6.0], [8.0]):
        body = {"instances": values}
        halves = [value / 2 + 2 for value in values]
        assert documented_server.post("tflite:predict", body).json() == {"predictions": halves}
    with pytest.raises(grpc.RpcError) as caught:
        documented_server.predict("tflite", {"x": np.int32([2])})
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "TensorFlow Lite tensor x is of float32, not int32" in caught.value.details()


def test_a_unix_socket(documented_server: Any) -> None:
    socket = documented_server.log_path.parent / "socket"
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "half_plus_two"
    with grpc.insecure_channel(f"unix:{socket}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        assert stub.GetModelMetadata(request, timeout=30).model_spec.version.value == 123


def test_health_can_be_watched(documented_server: Any) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{documented_server.grpc_port}") as channel:
        check, watch = (
            channel.unary_unary("/grpc.health.v1.Health/Check"),
            channel.unary_stream("/grpc.health.v1.Health/Watch"),
        )
        serving, unknown = b"\x08\x01", b"\x08\x03"
        assert check(b"", timeout=30) == serving
        stream = watch(b"", timeout=30)
        assert next(stream) == serving
        stream.cancel()
        # The name of a service in field 1.
        stream = watch(b"\x0a\x01x", timeout=30)
        assert next(stream) == unknown
        stream.cancel()
        with pytest.raises(grpc.RpcError) as caught:
            check(b"\x0a\x01x", timeout=30)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_the_profiler_traces_requests(documented_server: Any, tmp_path: Path) -> None:
    done = threading.Event()

    def keep_asking() -> None:
        while not done.wait(0.05):
            documented_server.post("half_plus_two:predict", {"instances": [2.0]})

    asking = threading.Thread(target=keep_asking)
    asking.start()
    try:
        profiler_client.trace(f"127.0.0.1:{documented_server.grpc_port}", str(tmp_path), 1000, "", 3)
    finally:
        done.set()
        asking.join()
    (profile,) = tmp_path.rglob("*.xplane.pb")
    assert profile.stat().st_size > 100


def test_the_configuration_file_is_polled_only_where_that_is_asked_for(
    documented: Path, documented_server: Any, tmp_path: Path, launch: Launch
) -> None:
    config = tmp_path / "models.config"
    config.write_text(_render(documented, "half_plus_two"))
    server = launch(f"--model_config_file={config}", "--model_config_file_poll_wait_seconds=1")
    server.await_ready("half_plus_two")
    # A file with an error changes nothing.
    config.write_text("model_config_list { nonsense")
    server.await_true(lambda: "Error parsing text-format tensorflow.serving.ModelServerConfig" in server.log)
    assert server.states("half_plus_two") == {123: "AVAILABLE"}
    (documented_server.log_path.parent / "models.config").write_text("model_config_list { nonsense")
    config.write_text(_render(documented, "half_plus_three"))
    server.await_true(lambda: server.states("half_plus_three") == {123: "AVAILABLE"})
    server.await_true(lambda: server.states("half_plus_two") == {123: "END"})
    assert documented_server.states("half_plus_two") == {123: "AVAILABLE"}
    assert "nonsense" not in documented_server.log


def test_a_bad_configuration_file_ends_the_start_with_the_parsers_words(tmp_path: Path) -> None:
    bad = tmp_path / "bad.config"
    bad.write_text("improperly formatted file\n")
    result = subprocess.run(
        [sys.executable, str(_PROGRAM), "--port=1", f"--model_config_file={bad}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 255
    assert "Error parsing text-format tensorflow.serving.ModelServerConfig" in result.stderr
    assert result.stdout.startswith("Failed to start server. Error: INVALID_ARGUMENT: Invalid protobuf file: ")
