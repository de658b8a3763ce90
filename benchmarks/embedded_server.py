"""Small requests to the embedded TensorFlow Serving server beside calls of the same tf.function, and large JSON bodies.

Usage: python benchmarks/embedded_server.py [ROUNDS [REQUESTS]]

One client asks x / 2 + 2 for one row, over gRPC and over REST on a kept connection, and calls the function in this
process. Each round times all three, and who goes first moves on from round to round, so that a round's ratios are of
neighbours in time. Prints the median of each and the medians of the ratios with their quartiles; then, in the same
way, how long a body of 20 MB takes to become a tensor, beside `json.loads` alone, and how long two million numbers take
to become an answer, beside `json.dumps` alone.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from modelport_tfserving.server.json_answers import render_outputs
from modelport_tfserving.server.json_numbers import load_document
from modelport_tfserving.server.json_requests import parse_object, read_inputs

START_S = 120.0
Run = Callable[[], Any]


def write_model(path: Path) -> Any:
    """Write a SavedModel of x / 2 + 2, and return its function."""
    module = tf.Module()
    module.half = tf.Variable(0.5)
    module.call = tf.function(lambda x: {"y": x * module.half + 2.0}, [tf.TensorSpec([None], tf.float32, "x")])
    tf.saved_model.save(module, str(path), module.call)
    return module.call


def free_port() -> int:
    """Return a TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_server(base: Path, port: int, rest_port: int) -> subprocess.Popen[bytes]:
    """Start the server on a base path, and return when the model answers."""
    flags = [f"--port={port}", f"--rest_api_port={rest_port}", f"--model_base_path={base}", "--model_name=m"]
    process = subprocess.Popen(
        [sys.executable, "-m", "modelport_tfserving.server", *flags],
        env=os.environ | {"MODELPORT_TFSERVING_HOST": "127.0.0.1"},
        stderr=subprocess.DEVNULL,
    )
    until = time.monotonic() + START_S
    while time.monotonic() < until and process.poll() is None:
        try:
            connection = HTTPConnection("127.0.0.1", rest_port, timeout=5)
            connection.request("GET", "/v1/models/m/metadata")
            if connection.getresponse().status == 200:
                return process
        except OSError:
            pass
        time.sleep(0.1)
    process.kill()
    raise SystemExit(f"the server did not answer within {START_S} s")


def make_requests(function: Any, port: int, rest_port: int) -> dict[str, Run]:
    """Return the three ways to one answer."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "m"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.array([2.0], np.float32)))
    stub = prediction_service_pb2_grpc.PredictionServiceStub(grpc.insecure_channel(f"127.0.0.1:{port}"))
    connection = HTTPConnection("127.0.0.1", rest_port, timeout=30)
    body = b'{"instances": [2.0]}'

    def ask_rest() -> None:
        connection.request("POST", "/v1/models/m:predict", body)
        assert connection.getresponse().read().split() == [b"{", b'"predictions":', b"[3.0", b"]", b"}"]

    x = tf.constant([2.0])
    return {"function": lambda: function(x), "grpc": lambda: stub.Predict(request, timeout=30), "rest": ask_rest}


def make_readers() -> dict[str, Run]:
    """Return the ways to read a large body: in full as the server does, and its parsing by the standard library."""
    body = json.dumps({"instances": np.random.default_rng(0).normal(size=(5000, 400)).round(6).tolist()}).encode()
    return {
        "json.loads": lambda: json.loads(body),
        "json.loads to tensor": lambda: read_inputs(parse_object(body), {"x": 1}),
        "server": lambda: read_inputs(parse_object(body, load=load_document), {"x": 1}),
    }


def make_writers() -> dict[str, Run]:
    """Return the ways to write a large answer: the standard library's, and the server's in rows and in columns."""
    values = np.random.default_rng(0).normal(size=(5000, 400)).astype(np.float32)
    return {
        "json.dumps": lambda: json.dumps({"predictions": values.tolist()}),
        "server, rows": lambda: render_outputs({"y": values}, rows=True),
        "server, columns": lambda: render_outputs({"y": values}, rows=False),
    }


def time_runs(runs: Mapping[str, Run], rounds: int, repeats: int) -> dict[str, list[float]]:
    """Return the seconds of one run, a round; the first to go moves on with each round."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    names = list(runs)
    for run in runs.values():
        run()
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            started = time.perf_counter()
            for _ in range(repeats):
                runs[name]()
            seconds[name].append((time.perf_counter() - started) / repeats)
    return seconds


def report(seconds: Mapping[str, list[float]]) -> None:
    """Print the median of each, and of its ratio to the first."""
    base = next(iter(seconds.values()))
    for name, values in seconds.items():
        ratios = [value / other for value, other in zip(values, base, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        median = statistics.median(values)
        print(
            f"{name:>22}: {median * 1e3:9.3f} ms, {1 / median:8.0f} a second, x{middle:.2f} ({low:.2f} to {high:.2f})"
        )


def main() -> None:
    """Time both and print the results."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    requests = int(sys.argv[2]) if len(sys.argv) > 2 else 300
    with tempfile.TemporaryDirectory() as folder:
        function = write_model(Path(folder) / "m" / "1")
        port, rest_port = free_port(), free_port()
        server = start_server(Path(folder) / "m", port, rest_port)
        try:
            report(time_runs(make_requests(function, port, rest_port), rounds, requests))
        finally:
            server.terminate()
            server.wait(30)
    report(time_runs(make_readers(), rounds, 1))
    report(time_runs(make_writers(), rounds, 1))


if __name__ == "__main__":
    main()
