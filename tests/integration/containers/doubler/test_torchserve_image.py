"""TorchServe's image, built and run: it answers, is ready when it says so, ends when told, needs no rights."""

import json
import re
from contextlib import closing
from dataclasses import replace

import httpx
import numpy as np
import pytest

from modelport import connect
from modelport.backend import load_backend
from modelport.errors import BuildError, ServerFailed
from modelport.plan import Generated

pytestmark = [pytest.mark.server, pytest.mark.timeout(1200)]

BACKEND = load_backend("torchserve")
REFERENCE = "localhost/modelport-tests/doubler:torchserve"
VERSION = "1.0+a"
SLOW_S = 15.0

SPEC = """
modelport: 1
name: Doub.ler
version: "1.0+a"
model: {framework: onnx, source: net.onnx}
transform: transform.py:Transform
samples: samples.npz
serving: {batching: {max_size: 8, max_delay_ms: 10}, timeout_s: 20}
image: {max_size: 3Gi, labels: {team: vision}}
backends: {torchserve: {token_authorization: false, jvm: ["-Xmx256m"]}}
"""
ASK = r"""
import importlib.metadata, json, os, shutil
names = sorted(d.name for d in importlib.metadata.distributions())
tools = [t for t in ("gcc", "g++", "cc", "make", "git", "javac") if shutil.which(t)]
import torch
print(json.dumps({"names": names, "tools": tools, "cuda": torch.version.cuda,
                  "nvidia": os.path.isdir(os.path.dirname(os.path.dirname(torch.__file__)) + "/nvidia")}))
"""


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_it_answers(container, protocol):
    x = np.array([[1.5, np.nan], [-1, 2]], np.float32)
    with closing(connect(container.endpoints[protocol])) as client:
        np.testing.assert_array_equal(client.predict({"x": x})["y"], 2 * x)
        assert client.metadata().version == VERSION


def test_it_says_itself_that_it_is_ready(container, engine):
    """The health check from within, and what an orchestrator asks from outside."""
    assert container.healthy()
    answer = httpx.get(readiness_url(container), headers=dict(container.plan.readiness.headers))
    assert (answer.status_code, answer.json()["name"]) == (200, "Doub.ler")
    assert httpx.post(container.endpoints["rest"], content=b"").status_code == 400
    absent = [part.replace("Doub.ler", "nobody") for part in container.plan.probe]
    assert absent != list(container.plan.probe)
    with pytest.raises(BuildError):
        engine.ask("exec", container.name, *absent, what="exec")


def readiness_url(container):
    asked = container.plan.readiness
    number = next(port.number for port in container.plan.ports if port.name == asked.port)
    inside = container.plan.endpoints["rest"].partition("/predictions")[0]
    assert inside.endswith(f":{number}")
    return container.endpoints["rest"].partition("/predictions")[0] + asked.path


def test_it_has_no_rights(container, check_rights):
    check_rights(container)


def test_nobody_reaches_management_from_outside(container, engine):
    tables = engine.ask("exec", container.name, "cat", "/proc/net/tcp", "/proc/net/tcp6", what="exec")
    listening = re.findall(r": ([0-9A-F]+):([0-9A-F]{4}) 0+:0000 0A", tables)
    addresses = {int(port, 16): address for address, port in listening}
    loopback = {"0100007F", "0000000000000000FFFF00000100007F"}
    assert {addresses[8081], addresses[7071]} <= loopback
    assert not {addresses[8080], addresses[7070], addresses[8082]} & loopback


def test_its_metrics_have_the_names_that_are_asked_for(container):
    number = next(port.number for port in container.plan.ports if port.name == "metrics")
    outer = container.engine.ask("port", container.name, f"{number}/tcp", what="port").strip()
    page = httpx.get(f"http://{outer}{container.plan.metrics.path}").text
    metrics = container.plan.metrics
    for query in (metrics.requests, metrics.errors, metrics.saturation):
        (name,) = re.findall(r"\((\w+)\{", query)
        assert f"# TYPE {name} counter\n" in page, name


def test_it_holds_what_it_needs_and_no_more(container, engine, image, check_leftovers):
    found = json.loads(engine.ask("exec", container.name, "python", "-c", ASK, what="exec"))
    assert {"torch", "torchserve", "onnxruntime", "dumb-init"} <= set(found["names"])
    assert not [name for name in found["names"] if name.startswith(("nvidia", "cuda", "triton"))]
    assert not set(found["names"]) & {"pip", "uv"}
    assert (found["cuda"], found["nvidia"], found["tools"]) == (None, False, [])
    check_leftovers(image)
    facts = engine.ask_json("image", "inspect", REFERENCE, what="inspect")[0]
    assert {"team": "vision", "org.opencontainers.image.version": VERSION}.items() <= facts["Labels"].items()
    assert facts["Config"].get("StopSignal") in {"SIGTERM", "15"}


def test_it_ends_on_sigterm_in_time_while_it_works(container, stop_at_work):
    """The last test with this server. TorchServe cuts off what it works on: who must not lose it, drains before."""
    _, state, took = stop_at_work(container, SLOW_S)
    assert took < min(container.plan.grace_s, SLOW_S)
    assert (state.running, state.exit_code) == (False, 143)  # Java's own end after SIGTERM; 137 would be force


def test_a_model_that_does_not_load_is_never_ready(serve, image, artifact):
    plan = BACKEND.container(artifact, REFERENCE)
    # Mounted over the image's own: the name of a model that is not there.
    files = tuple(
        replace(file, content=Generated(data=file.content.data.replace(b"=Doub.ler\n", b"=nobody\n"), origin="test"))
        for file in plan.files
    )
    with (
        serve(replace(plan, files=files, start_timeout_s=15)) as running,
        pytest.raises(ServerFailed, match=r"not ready after 15 s|ended with code"),
    ):
        running.wait_ready(running.healthy)


def test_a_change_of_code_moves_no_weights(rebuilt_layers):
    """Of the layers that a registry would be sent, the weights are none."""
    before, after = rebuilt_layers
    same = [one for one, other in zip(before, after, strict=True) if one == other]
    # The base, Java, the packages and the weights; only code and configuration are new.
    assert len(before) - len(same) == 2
    assert before[: len(same)] == same
