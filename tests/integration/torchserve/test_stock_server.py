"""The artifact on the stock server, started by hand in its folder, where nothing of modelport is installed."""

import json
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import modelport
from modelport.backend import load_backend
from modelport.build import build_artifact, plan_for
from modelport.client.base import ClientError
from modelport.client.message import read_message, write_field, write_map
from modelport.plan import Port, Readiness, ServicePlan
from modelport.run.service import running
from modelport_runtime.codec import JSON, NPZ, decode, encode
from modelport_torchserve.java import find_java

httpx = pytest.importorskip("httpx")
grpc = pytest.importorskip("grpc", reason="grpcio is not installed")
pytest.importorskip("ts", reason="torchserve is not installed")
pytestmark = pytest.mark.server

PREDICT = "/org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions"
X = np.array([[1.1, np.nan, np.inf], [-0.0, 3e38, 1e-45]], dtype=np.float32)
SCALE = np.array([[2], [0.5]], dtype=np.float32)
LIMIT = 2**20
TOO_LONG = f"the request has {LIMIT + 1} bytes; this server takes at most {LIMIT}"
GOOD = {"pixel values": X, "scale/0": SCALE}


@contextmanager
def stock_server(artifact, python, ready):
    """Start the stock server as ``plan`` says; give its URLs, by port name, when ``ready`` says so of them."""
    ports = artifact.record["spec"]["backends"]["torchserve"]["ports"]
    start = "--start --foreground --ncs --ts-config config.properties --model-store model-store"
    launcher = Path(sys.executable).with_name("torchserve")
    plan = ServicePlan(
        backend="torchserve",
        server="stock torchserve",
        command=("/bin/sh", "-c", f"cd {shlex.quote(str(artifact.path))} && exec {python} {launcher} {start}"),
        environment={
            "JAVA_HOME": str(find_java().home), "TMPDIR": "{state}", "TEMP": "{state}", "PYTHONPATH": None,
            "LOG_LOCATION": "{state}/logs", "METRICS_LOCATION": "{state}/logs",
        },
        ports=tuple(Port(name=name, number=number) for name, number in ports.items()),
        readiness=Readiness(port="rest", path="/ping"),
        endpoints={},
        start_timeout_s=180,
    )  # fmt: skip
    urls = {name: f"http://127.0.0.1:{number}" for name, number in ports.items()}
    with running(plan, "127.0.0.1") as service:
        service.wait_ready(lambda: ready(urls))
        yield urls


@pytest.fixture(scope="module")
def stock(artifact, bare_python):
    """Give the stock server's URL, by port name."""

    def ready(urls):
        try:
            return httpx.get(f"{urls['management']}/models/sca.l-er?customized=true", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    with stock_server(artifact, bare_python, ready) as urls:
        yield urls


@pytest.fixture(scope="module")
def rest(stock):
    with httpx.Client(timeout=60, limits=httpx.Limits(max_connections=16)) as client:

        def post(body, path="sca.l-er", **headers):
            return client.post(f"{stock['rest']}/predictions/{path}", content=body, headers=headers)

        yield post


@pytest.fixture(scope="module")
def rpc(stock):
    with grpc.insecure_channel(stock["grpc"].removeprefix("http://")) as channel:
        call = channel.unary_unary(PREDICT, request_serializer=None, response_deserializer=None)

        def predict(fields, name="sca.l-er", version=""):
            message = write_field(1, name) + write_field(2, version) + write_map(3, fields.items())
            return bytes(read_message(call(bytes(message), timeout=60))[1][0])

        yield predict


def check(body, kind):
    answer = decode(body, kind, None, limit=10**6)
    assert list(answer) == ["y.out", "rows"]
    np.testing.assert_array_equal(answer["y.out"].astype(np.float32), X * SCALE)


def test_modelport_is_not_there(bare_python):
    script = (
        "import importlib.util as u; print([n for n in ('modelport', 'modelport_runtime', 'ts') if u.find_spec(n)])"
    )
    found = subprocess.run([bare_python, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.strip() == "['ts']"


@pytest.mark.parametrize("path", ["sca.l-er", "sca.l-er/1.0%2Bcpu"])
def test_json(rest, path):
    answer = rest(encode(GOOD, JSON), path, **{"content-type": JSON})
    assert (answer.status_code, answer.headers["content-type"]) == (200, JSON)
    check(answer.content, JSON)


def test_npz(rest):
    answer = rest(encode(GOOD, NPZ), **{"content-type": NPZ, "accept": NPZ})
    assert (answer.status_code, answer.headers["content-type"]) == (200, NPZ)
    check(answer.content, NPZ)


@pytest.mark.parametrize("kind", [JSON, NPZ])
@pytest.mark.parametrize("version", ["", "1.0+cpu"])
def test_grpc(rpc, kind, version):
    check(rpc({"body": encode(GOOD, kind)}, version=version), kind)


def test_grpc_one_key_an_input(rpc):
    fields = {name: json.dumps(array.tolist()).encode() for name, array in GOOD.items()}
    check(rpc(fields), JSON)


def test_requests_are_joined_and_a_bad_one_stands_alone(rest):
    def ask(number):
        rows = [[number] * (2 if number == 5 else 3)]
        return rest(json.dumps({"pixel values": rows, "scale/0": [[2]]}).encode(), **{"content-type": JSON})

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(ask, range(12)))
    assert [answer.status_code for answer in answers] == [400 if number == 5 else 200 for number in range(12)]
    assert "must have shape [?, 3], got [1, 2]" in answers[5].json()["error"]
    good = [(number, answer.json()) for number, answer in enumerate(answers) if number != 5]
    assert all(answer["y.out"] == [[2.0 * number] * 3] for number, answer in good)
    together = max(answer["rows"][0] for _, answer in good)
    assert 2 <= together <= 8


@pytest.mark.parametrize(
    ("body", "kind", "status", "said"),
    [
        (b'{"pixel values": [[1, 2, 3]]}', JSON, 400, "missing: 'scale/0'"),
        (b'{"pixel values": [], "scale/0": []}', JSON, 400, "'pixel values'"),
        (b"{", JSON, 400, "no JSON"),
        (b"PK no zip", NPZ, 400, "npz"),
        (b"x=1", "application/x-www-form-urlencoded", 400, "unknown: 'x'"),
        (b"{}", "text/plain", 400, "missing: 'pixel values', 'scale/0'"),
    ],
)
def test_refusals(rest, body, kind, status, said):
    answer = rest(body, **{"content-type": kind})
    assert answer.status_code == status
    assert answer.headers["content-type"] == JSON
    assert said in answer.json()["error"]


def padded(size):
    body = encode(GOOD, JSON)
    return body + b" " * (size - len(body))


def test_longest_body(rest, rpc):
    check(rest(padded(LIMIT), **{"content-type": JSON}).content, JSON)
    check(rpc({"body": padded(LIMIT)}), JSON)


def test_too_long(rest, rpc):
    answer = rest(padded(LIMIT + 1), **{"content-type": JSON})
    assert (answer.status_code, answer.json()) == (413, {"error": TOO_LONG})
    with pytest.raises(grpc.RpcError, match=TOO_LONG) as caught:
        rpc({"body": padded(LIMIT + 1)})
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert rest(padded(100 * LIMIT), **{"content-type": JSON}).status_code == 413
    with pytest.raises(grpc.RpcError):
        rpc({"body": padded(2 * LIMIT)})
    check(rpc({"body": encode(GOOD, NPZ)}), NPZ)


def test_unknown_model_and_version(rest):
    assert rest(b"{}", "nobody").status_code == 404
    assert rest(b"{}", "sca.l-er/9").status_code == 404


def test_refusal_over_grpc(rpc):
    with pytest.raises(grpc.RpcError) as caught:
        rpc({"body": b'{"pixel values": [[1, 2, 3]]}'})
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "missing: 'scale/0'" in caught.value.details()


def test_description_from_both_sides(stock, rest, rpc):
    described = json.loads(rpc({"describe": b"True"}))
    assert (described["name"], described["version"]) == ("sca.l-er", "1.0+cpu")
    assert rest(b"", describe="True").json() == described
    models = httpx.get(f"{stock['management']}/models/sca.l-er?customized=true", timeout=60).json()
    spoken = {key: value for key, value in described.items() if value is not None}  # its JSON writer drops null
    assert models[0]["customizedMetadata"] == spoken
    assert (models[0]["batchSize"], models[0]["maxBatchDelay"], models[0]["minWorkers"]) == (8, 100, 1)
    assert models[0]["responseTimeout"] == 30


def test_metrics_are_there_and_registration_is_closed(stock, rest):
    rest(encode(GOOD, JSON), **{"content-type": JSON})
    assert 'ts_inference_requests_total{model_name="sca.l-er"' in httpx.get(f"{stock['metrics']}/metrics").text
    assert httpx.post(f"{stock['management']}/models?url=other.mar").status_code in {403, 405}
    assert httpx.delete(f"{stock['management']}/models/sca.l-er").status_code in {403, 405}


@pytest.fixture(scope="module")
def guarded(scaler, free_ports, bare_python, tmp_path_factory):
    """Give a server that asks for tokens: the URL of each protocol, and the token for inference."""
    options = {"ports": free_ports(), "jvm": ["-Xmx256m"], "token_authorization": True}
    model = replace(scaler, spec=scaler.spec.model_copy(update={"backends": {"torchserve": options}}))
    backend = load_backend("torchserve")
    artifact = build_artifact(backend, plan_for(backend, model), tmp_path_factory.mktemp("guarded"))
    keys = artifact.path / "key_file.json"  # written by the server where it was started

    def token():
        return json.loads(keys.read_text())["inference"]["key"]

    def ready(urls):
        try:
            key = token()
        except (OSError, ValueError):  # not there, or not wholly written
            return False
        with modelport.connect(f"{urls['rest']}/predictions/sca.l-er", token=key) as client:
            return client.ready()

    with stock_server(artifact, bare_python, ready) as urls:
        grpc_url = urls["grpc"].replace("http://", "grpc://")
        yield (f"{urls['rest']}/predictions/sca.l-er", f"{grpc_url}/sca.l-er"), token()


@pytest.mark.parametrize("protocol", [0, 1])
def test_a_server_that_asks_for_tokens(guarded, protocol):
    urls, token = guarded
    with modelport.connect(urls[protocol], token=token) as client:
        assert client.ready()
        assert client.metadata().version == "1.0+cpu"
        np.testing.assert_array_equal(client.predict(GOOD)["y.out"], X * SCALE)
    for settings in ({}, {"token": "wrong"}):
        with modelport.connect(urls[protocol], **settings) as client:
            assert not client.ready()
            for ask in (client.metadata, lambda client=client: client.predict(GOOD)):
                with pytest.raises(ClientError, match=r"pass token=… from its key_file\.json") as caught:
                    ask()
                assert type(caught.value) is ClientError
