"""A server that joins requests into batches, and moves labels when its configuration file changes."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
import tensorflow as tf

pytestmark = pytest.mark.server


def _count(server: Any, metric: str) -> float:
    page = httpx.get(f"{server.url}/monitoring/prometheus/metrics").text
    found = re.search(rf"^:tensorflow:serving:batching_session:{metric}{{}} (\S+)$", page, re.MULTILINE)
    return float(found.group(1)) if found else 0.0


def test_concurrent_requests_share_batches_and_get_their_own_rows(batching_server: Any) -> None:
    before = _count(batching_server, "processed_batch_size_count")

    def ask(number: int) -> list[float]:
        if number % 2:
            answer = batching_server.post("half_plus_two/versions/2:predict", {"instances": [number, -number]})
            return list(answer.json()["predictions"])
        response = batching_server.predict("half_plus_two", {"x": np.float32([number, -number])}, version=2)
        assert response.outputs["y"].tensor_content
        return list(tf.make_ndarray(response.outputs["y"]))

    with ThreadPoolExecutor(16) as clients:
        answers = list(clients.map(ask, range(32)))
    assert answers == [[number / 2 + 3, -number / 2 + 3] for number in range(32)]
    batches = _count(batching_server, "processed_batch_size_count") - before
    assert 8 <= batches < 32


def test_padding_is_not_answered_with(batching_server: Any) -> None:
    outputs = batching_server.post("adder:predict", {"signature_name": "count", "inputs": {"left": [7]}}).json()
    assert outputs == {"outputs": {"rows": [4], "sum": [7]}}


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"inputs": {"left": 1, "right": 2}}, "Batching Run() input tensors must have at least one dimension"),
        (
            {"inputs": {"left": [1], "right": [1, 2]}},
            "Batching Run() input tensors must have equal 0th-dimension size",
        ),
        (
            {"inputs": {"left": list(range(9)), "right": list(range(9))}},
            "Task size 9 is larger than maximum input batch size 8",
        ),
        (
            {"signature_name": "total", "inputs": {"left": [1], "right": [1]}},
            "Batched output tensor has 0 dimensions",
        ),
    ],
)
def test_what_cannot_be_batched_is_refused_as_by_the_real_server(
    batching_server: Any, body: dict[str, Any], text: str
) -> None:
    response = batching_server.post("adder:predict", body)
    assert (response.status_code, response.json()) == (400, {"error": text})


def test_an_empty_batch(batching_server: Any) -> None:
    response = batching_server.predict("functions", {"x": np.zeros((0, 3), np.float32)})
    assert tf.make_ndarray(response.outputs["scaled"]).shape == (0, 3)
    assert tf.make_ndarray(response.outputs["total"]).shape == (0,)


def test_too_much_to_do_is_refused_and_nothing_else_goes_wrong(
    models: Path, tmp_path: Path, launch: Callable[..., Any], render_config: Callable[..., str]
) -> None:
    """A model's own batching parameters: one run at a time, three may wait, while 32 clients ask."""
    shutil.copytree(models / "slow", tmp_path / "slow")
    shutil.copytree(models / "adder", tmp_path / "adder")
    (tmp_path / "slow" / "1" / "batching_params.pbtxt").write_text(
        "max_batch_size { value: 1 } max_enqueued_batches { value: 3 }"
    )
    (tmp_path / "threads.config").write_text("num_batch_threads { value: 1 }")
    (tmp_path / "models.config").write_text(render_config(tmp_path, {"slow": "", "adder": ""}))
    (tmp_path / "monitoring.config").write_text("prometheus_config { enable: true }")
    server = launch(
        f"--model_config_file={tmp_path / 'models.config'}",
        "--enable_batching",
        "--enable_per_model_batching_parameters",
        f"--batching_parameters_file={tmp_path / 'threads.config'}",
        f"--monitoring_config_file={tmp_path / 'monitoring.config'}",
        "--rest_api_timeout_in_ms=700",
    )
    server.await_ready("slow").await_ready("adder")
    server.predict("slow", {"rounds": np.int32([1])}, "rows")

    def ask(number: int) -> str:
        try:
            server.predict("slow", {"rounds": np.int32([100])}, "rows")
        except grpc.RpcError as error:
            return f"{error.code().name}: {error.details()}"
        return "OK"

    with ThreadPoolExecutor(32) as clients:
        full = "UNAVAILABLE: The batch scheduling queue to which this task was submitted is full"
        assert set(clients.map(ask, range(64))) == {"OK", full}
        batches = _count(server, "processed_batch_size_count")
        long_run = clients.submit(server.predict, "slow", {"rounds": np.int32([30_000])}, "rows", timeout=5.0)
        server.await_true(lambda: _count(server, "processed_batch_size_count") > batches)
        late = server.post("slow:predict", {"signature_name": "rows", "inputs": [1]})
        assert (late.status_code, late.json()) == (
            429,
            {"error": "Run() timeout exceeded while waiting in batching queue"},
        )
        with pytest.raises(grpc.RpcError):
            long_run.result(60)
    # Without a file of its own a model is not batched, so a sum over all rows is well.
    total = {"signature_name": "total", "inputs": {"left": [1, 2], "right": [3, 4]}}
    assert server.post("adder:predict", total).json() == {"outputs": 10}


def test_labels_move_with_the_configuration_file(batching_server: Any) -> None:
    assert (
        batching_server.predict("half_plus_two", {"x": np.float32([0])}, label="stable").model_spec.version.value == 2
    )
    path = "half_plus_two/labels/canary:predict"
    assert batching_server.post(path, {"inputs": [0.0]}).json() == {"outputs": [4.0]}
    config = batching_server.log_path.with_name("models.config")
    text = config.read_text()
    try:
        config.write_text(text.replace('"canary" value: 3', '"canary" value: 2'))
        batching_server.await_true(lambda: batching_server.post(path, {"inputs": [0.0]}).json() == {"outputs": [3.0]})
        config.write_text(text.replace('"canary" value: 3', '"canary" value: 1'))
        batching_server.await_true(lambda: "not currently available for inference" in batching_server.log)
        assert batching_server.post(path, {"inputs": [0.0]}).json() == {"outputs": [3.0]}
    finally:
        config.write_text(text)
    batching_server.await_true(lambda: batching_server.post(path, {"inputs": [0.0]}).json() == {"outputs": [4.0]})


def test_the_health_service_is_off_by_default(batching_server: Any) -> None:
    address = f"127.0.0.1:{batching_server.grpc_port}"
    with grpc.insecure_channel(address) as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=20)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
