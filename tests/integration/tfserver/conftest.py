"""Real servers on free ports: one for plain requests, one with batching and labels, more where a test needs its own."""

from __future__ import annotations

import json
import os
import random
import runpy
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

_START_S = 90.0
_PROGRAM = Path(__file__).parents[3] / "packaging" / "scripts" / "modelport-tfserving"


@dataclass
class RunningServer:
    """A started server: its process, ports and log, with short ways to ask it over both protocols."""

    process: subprocess.Popen[bytes]
    grpc_port: int
    rest_port: int
    log_path: Path

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.rest_port}"

    def await_ready(self, model: str) -> RunningServer:
        """Wait until a model has an available version; a server that ends before shows its log."""
        self.await_true(lambda: "AVAILABLE" in self.states(model).values())
        return self

    def await_true(self, condition: Callable[[], bool], seconds: float = _START_S) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            assert self.process.poll() is None, f"the server ended:\n{self.log[-3000:]}"
            if condition():
                return
            time.sleep(0.05)
        pytest.fail(f"not within {seconds} s; the server's log:\n{self.log[-3000:]}")

    def states(self, model: str) -> dict[int, str]:
        """Return the states of a model's versions; empty while nothing answers."""
        try:
            answer = httpx.get(f"{self.url}/v1/models/{model}").json()
        except httpx.TransportError:
            return {}
        return {int(entry["version"]): entry["state"] for entry in answer.get("model_version_status", [])}

    def post(self, path: str, body: Any, **options: Any) -> httpx.Response:
        content = body if isinstance(body, str | bytes) else json.dumps(body)
        return httpx.post(f"{self.url}/v1/models/{path}", content=content, timeout=60, **options)

    def call(self, method: str, request: Any, timeout: float = 60.0) -> Any:
        """Call a gRPC method with the public stubs, on a channel of its own."""
        import grpc
        from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        with grpc.insecure_channel(f"127.0.0.1:{self.grpc_port}", options) as channel:
            stubs = [
                prediction_service_pb2_grpc.PredictionServiceStub(channel),
                model_service_pb2_grpc.ModelServiceStub(channel),
            ]
            stub = next(stub for stub in stubs if hasattr(stub, method))
            return getattr(stub, method)(request, timeout=timeout)

    def predict(self, model: str, inputs: Mapping[str, Any], signature: str = "", **spec: Any) -> Any:
        """Call Predict with arrays, or with TensorProtos as they are."""
        import tensorflow as tf
        from tensorflow.core.framework import tensor_pb2
        from tensorflow_serving.apis import predict_pb2

        request = predict_pb2.PredictRequest()
        request.model_spec.name = model
        request.model_spec.signature_name = signature
        if "version" in spec:
            request.model_spec.version.value = spec["version"]
        if "label" in spec:
            request.model_spec.version_label = spec["label"]
        request.output_filter.extend(spec.get("output_filter", ()))
        for name, value in inputs.items():
            proto = value if isinstance(value, tensor_pb2.TensorProto) else tf.make_tensor_proto(value)
            request.inputs[name].CopyFrom(proto)
        return self.call("Predict", request, spec.get("timeout", 60.0))

    def stop(self) -> int:
        """Send SIGTERM where the server still runs, and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


def _free_port() -> int:
    """Return a port that nobody has, out of those that no outgoing connection gets before the server is there."""
    for _ in range(100):
        port = random.randrange(20_000, 32_768)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    pytest.fail("no free port below 32768")


def _start(folder: Path, *flags: str) -> RunningServer:
    grpc_port, rest_port = _free_port(), _free_port()
    log_path = folder / f"server-{grpc_port}.log"
    command = [sys.executable, str(_PROGRAM), f"--port={grpc_port}"]
    environment = os.environ | {"MODELPORT_TFSERVING_HOST": "127.0.0.1", "OMP_NUM_THREADS": "1"}
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [*command, f"--rest_api_port={rest_port}", *flags], stdout=log, stderr=log, env=environment
        )
    return RunningServer(process, grpc_port, rest_port, log_path)


@pytest.fixture(scope="session")
def start() -> Callable[..., RunningServer]:
    """Start a server with its log in a folder, and flags; who calls it stops it."""
    return _start


@pytest.fixture(scope="session")
def recipes() -> dict[str, Any]:
    """The functions of saved_models.py."""
    return runpy.run_path(str(Path(__file__).with_name("saved_models.py")))


@pytest.fixture(scope="session")
def models(recipes: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with every model of saved_models.py."""
    root = tmp_path_factory.mktemp("models")
    recipes["write_all"](root)
    return root


@pytest.fixture(scope="session")
def documented(recipes: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the models of TensorFlow Serving's own server tests."""
    root = tmp_path_factory.mktemp("documented")
    recipes["write_documented"](root)
    return root


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Callable[..., RunningServer]]:
    """Start servers of the test's own; whatever still runs is stopped after it."""
    started: list[RunningServer] = []

    def start(*flags: str) -> RunningServer:
        started.append(_start(tmp_path, *flags))
        return started[-1]

    yield start
    for server in started:
        server.stop()


def _render_config(models: Path, names: Mapping[str, str]) -> str:
    """Return a ModelServerConfig; the values are what stands in a model's block besides name and path."""
    blocks = [
        f'config {{ name: "{name}" base_path: "{models / name}" model_platform: "tensorflow" {more} }}'
        for name, more in names.items()
    ]
    return f"model_config_list {{ {' '.join(blocks)} }}"


@pytest.fixture
def render_config() -> Callable[[Path, Mapping[str, str]], str]:
    """Render a ModelServerConfig, as for the servers of this file."""
    return _render_config


@pytest.fixture(scope="session")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """All models, two versions of half_plus_two, metrics, the health service; no batching."""
    folder = tmp_path_factory.mktemp("plain")
    names = {path.name: "" for path in models.iterdir()}
    names["half_plus_two"] = "model_version_policy { specific { versions: 1 versions: 2 } }"
    (folder / "models.config").write_text(_render_config(models, names))
    (folder / "monitoring.config").write_text('prometheus_config { enable: true path: "/the/metrics" }')
    running = _start(
        folder,
        f"--model_config_file={folder / 'models.config'}",
        f"--monitoring_config_file={folder / 'monitoring.config'}",
        "--enable_grpc_healthcheck_service",
    )
    yield running.await_ready("words")
    running.stop()


@pytest.fixture(scope="session")
def batching_server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Batches of at most 8 rows, padded to 4 or 8; labels on half_plus_two; the configuration is polled."""
    folder = tmp_path_factory.mktemp("batching")
    policy = "model_version_policy { latest { num_versions: 2 } }"
    labels = 'version_labels { key: "stable" value: 2 } version_labels { key: "canary" value: 3 }'
    names = {"half_plus_two": f"{policy} {labels}", "adder": "", "functions": ""}
    (folder / "models.config").write_text(_render_config(models, names))
    (folder / "batching.config").write_text(
        "max_batch_size { value: 8 } batch_timeout_micros { value: 50000 } max_enqueued_batches { value: 100 } "
        "num_batch_threads { value: 2 } allowed_batch_sizes: 4 allowed_batch_sizes: 8"
    )
    (folder / "monitoring.config").write_text("prometheus_config { enable: true }")
    running = _start(
        folder,
        f"--model_config_file={folder / 'models.config'}",
        "--model_config_file_poll_wait_seconds=1",
        "--enable_batching",
        f"--batching_parameters_file={folder / 'batching.config'}",
        f"--monitoring_config_file={folder / 'monitoring.config'}",
        "--allow_version_labels_for_unavailable_models=true",
        "--enable_serialization_as_tensor_content",
    )
    yield running.await_ready("functions")
    running.stop()
