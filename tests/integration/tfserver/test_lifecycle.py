"""Versions that come, go and break while requests run; starting and ending; what is refused at the start."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.apis import model_management_pb2, predict_pb2, prediction_log_pb2

pytestmark = pytest.mark.server
Launch = Callable[..., Any]


def _copy_version(source: Path, target: Path) -> None:
    """Copy aside and move into place, as a careful user does."""
    aside = target.with_name(f".{target.name}")
    shutil.copytree(source, aside)
    aside.rename(target)


def _write_warmup(version: Path, signature: str, count: int) -> None:
    request = predict_pb2.PredictRequest()
    request.model_spec.signature_name = signature
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.float32([1, 2])))
    log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
    (version / "assets.extra").mkdir()
    with tf.io.TFRecordWriter(str(version / "assets.extra" / "tf_serving_warmup_requests")) as writer:
        for _ in range(count):
            writer.write(log.SerializeToString())


def test_versions_come_and_go_under_load_and_no_request_fails(models: Path, tmp_path: Path, launch: Launch) -> None:
    """One server's whole life: swap, broken version, half-copied version, rollback, warm-up, SIGTERM."""
    source, base = models / "half_plus_two", tmp_path / "m"
    base.mkdir()
    _copy_version(source / "1", base / "1")
    (base / "notes").mkdir()
    _write_warmup(base / "1", "serving_default", 3)
    server = launch(
        "--model_name=m",
        f"--model_base_path={base}",
        "--load_retry_interval_micros=3000000",
        "--max_num_load_retries=1",
    ).await_ready("m")
    assert server.states("m") == {1: "AVAILABLE"}
    assert "Number of warmup records read: 3." in server.log

    done = threading.Event()
    answers: set[float] = set()

    def keep_asking() -> None:
        with httpx.Client(timeout=60) as client:
            while not done.is_set():
                response = client.post(f"{server.url}/v1/models/m:predict", content='{"instances": [0.0]}')
                assert response.status_code == 200, response.text
                answers.add(response.json()["predictions"][0])

    with ThreadPoolExecutor(2) as clients:
        asking = [clients.submit(keep_asking) for _ in range(2)]
        server.await_true(lambda: answers == {2.0})
        _copy_version(source / "2", base / "2")
        server.await_true(lambda: server.states("m") == {2: "AVAILABLE", 1: "END"})
        # A version that cannot be loaded leaves the old one serving, and tells why in its status.
        (base / "3").mkdir()
        (base / "3" / "saved_model.pb").write_bytes(b"no saved model")
        server.await_true(lambda: server.states("m").get(3) == "END")
        assert server.states("m") == {3: "END", 2: "AVAILABLE", 1: "END"}
        status = httpx.get(f"{server.url}/v1/models/m/versions/3").json()["model_version_status"][0]["status"]
        assert status["error_code"] != "OK"
        assert status["error_message"]
        # A copy that is still under way is waited for.
        shutil.copytree(source / "3", tmp_path / "4")
        (base / "4").mkdir()
        server.await_true(lambda: server.states("m").get(4) == "LOADING")
        for part in ("variables", "saved_model.pb"):
            (tmp_path / "4" / part).rename(base / "4" / part)
        server.await_true(lambda: server.states("m").get(4) == "AVAILABLE")
        server.await_true(lambda: 4.0 in answers)
        # Without the newer directories the server goes back to the older version.
        shutil.rmtree(base / "4")
        shutil.rmtree(base / "3")
        server.await_true(lambda: server.states("m") == {4: "END", 3: "END", 2: "AVAILABLE", 1: "END"})
        done.set()
        for future in asking:
            future.result(60)
    assert answers == {2.0, 3.0, 4.0}

    # Records that fail keep a version from serving.
    _copy_version(source / "3", tmp_path / "5")
    _write_warmup(tmp_path / "5", "no such signature", 1)
    (tmp_path / "5").rename(base / "5")
    server.await_true(lambda: server.states("m").get(5) == "END")
    entry = httpx.get(f"{server.url}/v1/models/m/versions/5").json()["model_version_status"][0]
    assert entry["status"]["error_code"] == "FAILED_PRECONDITION"
    assert "no such signature" in entry["status"]["error_message"]
    assert server.stop() == 0


def test_reload_replaces_the_configuration(models: Path, tmp_path: Path, launch: Launch) -> None:
    server = launch(
        "--model_name=slow", f"--model_base_path={models / 'slow'}", "--rest_api_timeout_in_ms=400"
    ).await_ready("slow")
    assert server.post("slow:predict", {"inputs": 10**7}).status_code == 504
    request = model_management_pb2.ReloadConfigRequest()

    def reload(text: str, timeout: float = 60) -> Any:
        request.config.Clear()
        text_format.Parse(text, request.config)
        return server.call("HandleReloadConfigRequest", request, timeout)

    adder = f'config {{ name: "adder" base_path: "{models / "adder"}" model_platform: "tensorflow" %s }}'
    assert reload(f"model_config_list {{ {adder % ''} }}").status.error_code == 0
    assert server.states("adder") == {1: "AVAILABLE"}
    server.await_true(lambda: server.states("slow") == {1: "END"})

    with pytest.raises(grpc.RpcError, match="Only ModelConfigList is currently supported"):
        reload("")
    assert server.states("adder") == {1: "AVAILABLE"}

    # How far a load moves a metric can be asked for with it.
    request.metric_names.extend(["/tensorflow/core/graph_runs", "/no/such"])
    metrics = reload(f"model_config_list {{ {adder % ''} }}").metric
    assert {metric.name: metric.int64_value_increase for metric in metrics} == {
        "/tensorflow/core/graph_runs": 0,
        "/no/such": 0,
    }
    request.ClearField("metric_names")

    relative = 'config { name: "m" base_path: "m" model_platform: "tensorflow" }'
    label = 'version_labels { key: "a" value: 2 }'
    for text, code, reason in (
        (f"model_config_list {{ {adder % label} }}", "FAILED_PRECONDITION", "assign label to version 2 of model adder"),
        (f"model_config_list {{ {adder % ''} {adder % ''} }}", "INVALID_ARGUMENT", "multiple times in config list"),
        (f"model_config_list {{ {relative} }}", "INVALID_ARGUMENT", "to have an absolute path"),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            reload(text)
        assert caught.value.code().name == code
        assert reason in caught.value.details()
        assert server.states("adder") == {1: "AVAILABLE"}

    # A new model that is not there is waited for, until the caller gives up; a later call is not held up by that.
    missing = f'config {{ name: "late" base_path: "{tmp_path / "late"}" model_platform: "tensorflow" }}'
    with pytest.raises(grpc.RpcError) as caught:
        reload(f"model_config_list {{ {adder % ''} {missing} }}", timeout=1)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    label = 'version_labels { key: "a" value: 1 }'
    assert reload(f"model_config_list {{ {adder % label} }}", timeout=30).status.error_code == 0
    inputs = {"left": np.int64([1]), "right": np.int64([2])}
    assert server.predict("adder", inputs, label="a").model_spec.version.value == 1


def test_sigterm_lets_requests_end_but_waits_for_none_for_long(models: Path, launch: Launch) -> None:
    server = launch("--model_name=sleeper", f"--model_base_path={models / 'sleeper'}").await_ready("sleeper")

    def count_begun() -> int:
        return int(server.predict("sleeper", {}, "begun").outputs["begun"].int_val[0])

    with ThreadPoolExecutor(3) as clients:
        endless = clients.submit(server.predict, "sleeper", {"milliseconds": np.int64(60_000)})
        in_work = [
            clients.submit(server.post, "sleeper:predict", {"inputs": 600}),
            clients.submit(server.predict, "sleeper", {"milliseconds": np.int64(600)}),
        ]
        server.await_true(lambda: count_begun() == 3)
        assert server.stop() == 0
        assert in_work[0].result(20).json() == {"outputs": 0}
        assert in_work[1].result(20).outputs["done"].int_val == [0]
        with pytest.raises(grpc.RpcError):
            endless.result(20)
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{server.url}/v1/models/sleeper")


def test_sigterm_while_starting(tmp_path: Path, launch: Launch) -> None:
    server = launch("--model_name=m", f"--model_base_path={tmp_path / 'absent'}")
    server.await_true(lambda: "embedded stand-in" in server.log)
    assert server.stop() == 0


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "modelport_tfserving.server", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_model_that_cannot_be_loaded_ends_the_start(tmp_path: Path) -> None:
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "1" / "saved_model.pb").write_bytes(b"")
    result = _run(
        "--port=0",
        f"--grpc_socket_path={tmp_path / 's'}",
        f"--model_base_path={tmp_path / 'm'}",
        "--max_num_load_retries=0",
    )
    assert result.returncode == 255
    assert "Failed to start server. Error: UNKNOWN: 1 model(s) did not become available: " in result.stderr
    assert "{name: default version: 1} due to error: " in result.stderr


def test_what_is_wrong_at_the_start_is_said_at_once(tmp_path: Path) -> None:
    bad = tmp_path / "bad.config"
    bad.write_text("max_batch_size: 3")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        cases = [
            ([f"--port={port}", "--model_base_path=/m"], f"cannot listen on 0.0.0.0:{port}"),
            ([f"--rest_api_port={port}", "--port=1", "--model_base_path=/m"], f"cannot listen on 0.0.0.0:{port}"),
            (["--model_base_path=m"], "to have an absolute path or URI; got base_path()=m"),
            (
                ["--model_base_path=/m", "--enable_batching", f"--batching_parameters_file={bad}"],
                "Invalid protobuf file",
            ),
            (
                ["--model_base_path=/m", "--use_alts_credentials"],
                "--use_alts_credentials (Google ALTS credentials) is not",
            ),
            (["--modelbase_path=/m"], "unknown argument: --modelbase_path=/m"),
        ]
        for arguments, text in cases:
            result = _run(*arguments)
            assert result.returncode == 255, arguments
            assert text in result.stderr


def test_version_and_help() -> None:
    version = _run("--version")
    assert version.returncode == 0
    assert "TensorFlow ModelServer: " in version.stdout
    assert "embedded stand-in" in version.stdout
    assert f"TensorFlow Library: {tf.__version__}" in version.stdout
    usage = _run("--help")
    assert usage.returncode == 255
    assert "--rest_api_timeout_in_ms=30000" in usage.stdout
