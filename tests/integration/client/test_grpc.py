"""gRPC over real sockets, for TorchServe and TensorFlow Serving, without their generated classes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from modelport.client.arrays import write_body
from modelport.client.base import InvalidInput, ModelNotFound, NotReady, Overloaded, ServerError, Timeout
from modelport.client.message import read_map, read_message, write_field
from modelport.client.session import open_async_client, open_client
from modelport_torchserve.client import SERVICE, TorchServeDialect

X = {"x": np.ones((1, 2), np.float32)}
ANSWER = write_field(1, write_body({"y": np.arange(3, dtype=np.int16)})[0])
PREDICT = f"{SERVICE}/Predictions"


def predict(authority, inputs=X, **settings):
    with open_client(TorchServeDialect, f"grpc://{authority}/m", settings) as client:
        return client.predict(inputs)


def predict_async(authority, inputs=X, **settings):
    async def run():
        async with open_async_client(TorchServeDialect, f"grpc://{authority}/m", settings) as client:
            return await client.predict(inputs)

    return asyncio.run(run())


both = pytest.mark.parametrize("call", [predict, predict_async], ids=["sync", "async"])


def refuse(code, detail):
    def respond(body, context):
        import grpc

        context.abort(getattr(grpc.StatusCode, code), detail)

    return respond


@both
def test_an_answer_and_the_metadata_sent(grpc_server, call):
    seen = []

    def respond(body, context):
        seen.append(dict(context.invocation_metadata()))
        return ANSWER

    outputs = call(grpc_server({PREDICT: respond}), token="t", headers={"X-Team": "a"})
    assert outputs["y"].dtype == np.int16
    assert seen[0]["authorization"] == "Bearer t"
    assert seen[0]["x-team"] == "a"


@both
def test_large_messages_pass_both_ways(grpc_server, call):
    def echo(body, context):
        return write_field(1, bytes(read_map(read_message(body)[3])["body"]))

    array = np.arange(4_000_000, dtype=np.int32)  # 16 MB; gRPC's own limit is 4
    assert np.array_equal(call(grpc_server({PREDICT: echo}), {"x": array})["x"], array)


@both
def test_nobody_listens(free_port, call):
    with pytest.raises(NotReady, match="no connection to the server"):
        call(f"127.0.0.1:{free_port}", timeout_s=10)


@both
def test_no_answer_in_time_and_no_second_try(grpc_server, call):
    calls, done = [], threading.Event()

    def respond(body, context):
        calls.append(body)
        done.wait(60)
        return ANSWER

    authority = grpc_server({PREDICT: respond})
    with pytest.raises(Timeout, match="s were not enough"):
        call(authority, timeout_s=1, retries=5)
    done.set()
    assert len(calls) == 1


@both
@pytest.mark.parametrize(
    ("code", "detail", "error"),
    [
        ("INVALID_ARGUMENT", "the sentence", InvalidInput),
        ("INTERNAL", "Model not found: m\norg.pytorch.serve.archive.model.ModelNotFoundException", ModelNotFound),
        ("RESOURCE_EXHAUSTED", "quota", Overloaded),
        ("UNIMPLEMENTED", "no", ServerError),
    ],
)
def test_refusals(grpc_server, call, code, detail, error):
    with pytest.raises(error) as caught:
        call(grpc_server({PREDICT: refuse(code, detail)}), retries=0)
    assert caught.value.status == code
    assert detail.splitlines()[0] in str(caught.value)


@both
def test_an_unavailable_server_is_asked_again(grpc_server, call):
    calls = []

    def respond(body, context):
        import grpc

        calls.append(body)
        if len(calls) < 3:
            context.abort(grpc.StatusCode.UNAVAILABLE, "busy")
        return ANSWER

    assert "y" in call(grpc_server({PREDICT: respond}), retries=2)
    assert len(calls) == 3


@both
def test_a_handler_that_breaks(grpc_server, call):
    def respond(body, context):
        raise RuntimeError("inside")

    with pytest.raises(ServerError):
        call(grpc_server({PREDICT: respond}))


def test_a_server_that_comes_back_is_found_again(grpc_server, free_port):
    with open_client(TorchServeDialect, f"grpc://127.0.0.1:{free_port}/m", {"timeout_s": 60}) as client:
        assert client.ready() is False
        grpc_server({PREDICT: lambda body, context: ANSWER}, free_port)
        deadline = time.monotonic() + 60
        while not client.ready():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert "y" in client.predict(X)
        grpc_server.last.stop(None).wait(5)
        with pytest.raises(NotReady):
            client.predict(X)


@pytest.fixture
def delayed():
    """Put a line before a server, at whose other end nothing is heard for a while: ``delayed(authority, seconds)``."""
    opened = []

    def pump(source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def join(listener, authority, seconds):
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                time.sleep(seconds)
                host, _, port = authority.partition(":")
                far = socket.create_connection((host, int(port)))
                opened.extend((near, far))
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=pump, args=pair, daemon=True).start()

    def start(authority, seconds):
        listener = socket.create_server(("127.0.0.1", 0))
        opened.append(listener)
        threading.Thread(target=join, args=(listener, authority, seconds), daemon=True).start()
        return f"127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for one in opened:
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        one.close()


@both
def test_a_server_far_away_is_waited_for(grpc_server, delayed, call):
    authority = delayed(grpc_server({PREDICT: lambda body, context: ANSWER}), 1.5)
    assert call(authority, retries=0)["y"].tolist() == [0, 1, 2]


def test_no_http_answers_there_but_no_grpc(http):
    server = http(lambda request: None)
    with pytest.raises((NotReady, ServerError)):
        predict(f"127.0.0.1:{server.port}", timeout_s=3, retries=0)


def test_neither_protobuf_nor_tensorflow_nor_torch_is_imported(grpc_server):
    authority = grpc_server({PREDICT: lambda body, context: ANSWER})
    script = (
        "import sys\n"
        "from modelport.client.session import open_client\n"
        "from modelport_torchserve.client import TorchServeDialect\n"
        f"with open_client(TorchServeDialect, 'grpc://{authority}/m', {{}}) as client:\n"
        "    assert list(client.predict({'x': [1.0]})) == ['y']\n"
        "heavy = {'torch', 'tensorflow', 'bentoml', 'google.protobuf', 'sklearn', 'onnx', 'pydantic'}\n"
        "sys.exit(', '.join(sorted(heavy & sys.modules.keys())) or None)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
