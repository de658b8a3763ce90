"""A Bento's image, built by `bentoml containerize` and run: it answers, is ready when it says so, ends when told."""

import json
import re
import shutil
import threading
import time
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest

from modelport import connect
from modelport.artifact import Artifact
from modelport.backend import load_backend
from modelport.build import build_artifact, plan_for, resolve
from modelport.errors import BuildError, ServerFailed
from modelport.image import plan_weights, settings_for
from modelport.run.containers import ContainerSettings, running_container
from modelport.run.images import build_images, remove_image
from modelport.run.ports import choose_ports

pytestmark = [pytest.mark.server, pytest.mark.timeout(1200)]

BACKEND = load_backend("bentoml")
REFERENCE = "localhost/modelport-tests/doubler:bentoml"
VERSION = "1.0+a"
SLOW_S = 4.0

SPEC = """
modelport: 1
name: Doub.ler
version: "1.0+a"
description: "Doubles: numbers, and says so"
model: {framework: onnx, source: net.onnx}
transform: transform.py:Transform
samples: samples.npz
serving: {timeout_s: 20}
image: {max_size: 1.5Gi, labels: {team: vision}}
"""
TRANSFORM = """
import time


class Transform:
    def preprocess(self, inputs):
        if inputs["x"].min() <= -3:
            time.sleep(-float(inputs["x"].min()))
        return inputs
"""
ASK = r"""
import importlib.metadata, json, shutil
names = sorted(d.name for d in importlib.metadata.distributions())
tools = [t for t in ("gcc", "g++", "cc", "make", "git", "uv") if shutil.which(t)]
print(json.dumps({"names": names, "tools": tools}))
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A small ONNX model behind a transform that can be slow."""
    from onnx import TensorProto, helper, save

    folder = tmp_path_factory.mktemp("doubler")
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", 2]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "doubler", tensors[:1], tensors[1:])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "net.onnx")
    np.savez(folder / "samples.npz", x=np.arange(8, dtype=np.float32).reshape(4, 2))
    (folder / "transform.py").write_text(TRANSFORM)
    (folder / "modelport.yaml").write_text(SPEC)
    return folder


def build(project: Path, dist: Path, *, weights: str = "image") -> Artifact:
    (project / "modelport.yaml").write_text(f"{SPEC}deploy: {{weights: {weights}}}\n")
    return build_artifact(BACKEND, plan_for(BACKEND, resolve(project / "modelport.yaml")), dist)


@pytest.fixture(scope="module")
def artifact(project, tmp_path_factory):
    return build(project, tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def image(engine, python_base, artifact):
    (built,) = build_images(engine, [BACKEND.image(artifact, settings_for(artifact, tag=REFERENCE))])
    yield built
    remove_image(engine, REFERENCE)


@contextmanager
def started(engine, plan):
    ports = choose_ports({port.name: 0 for port in plan.ports}, "127.0.0.1")
    settings = ContainerSettings(ports=ports, user="12345", memory=2 * 2**30)
    with running_container(engine, plan, settings) as container:
        yield container


@pytest.fixture(scope="module")
def container(engine, image, artifact):
    """A server under a foreign user, without capabilities, on a root that cannot be written."""
    with started(engine, BACKEND.container(artifact, REFERENCE)) as running:
        running.wait_ready(running.healthy)
        yield running


def test_it_answers(container):
    x = np.array([[1.5, np.nan], [-1, 2]], np.float32)
    with closing(connect(container.endpoints["rest"])) as client:
        np.testing.assert_array_equal(client.predict({"x": x})["y"], 2 * x)
        assert client.metadata().version == VERSION


def test_it_says_itself_that_it_is_ready(container, engine):
    assert container.healthy()
    assert httpx.get(container.endpoints["rest"] + container.plan.readiness.path).status_code == 200
    absent = [part.replace("/readyz", "/nothing") for part in container.plan.probe]
    with pytest.raises(BuildError):
        engine.ask("exec", container.name, *absent, what="exec")


def test_it_has_no_rights(container, engine):
    status = engine.ask("exec", container.name, "cat", "/proc/1/status", what="exec")
    assert re.search(r"^Uid:\s+12345\b", status, re.MULTILINE)
    assert re.search(r"^CapEff:\s+0+$", status, re.MULTILINE)
    with pytest.raises(BuildError, match="Read-only"):
        engine.ask("exec", container.name, "touch", "/opt/x", what="exec")


def test_its_metrics_have_the_names_that_are_asked_for(container):
    with closing(connect(container.endpoints["rest"])) as client:
        client.predict({"x": np.ones((1, 2), np.float32)})
    page = httpx.get(container.endpoints["rest"] + container.plan.metrics.path).text
    metrics = container.plan.metrics
    for query in (metrics.requests, metrics.errors, metrics.latency_s, metrics.saturation):
        (name,) = re.findall(r"(bentoml_\w+)\{", query)
        assert f'\n{name}{{endpoint="/predict",' in page, name
    assert 'http_response_code="200"' in page


def test_it_holds_what_it_needs_and_no_more(container, engine, image):
    found = json.loads(engine.ask("exec", container.name, "python", "-c", ASK, what="exec"))
    assert {"bentoml", "onnxruntime", "dumb-init"} <= set(found["names"])
    # nvidia-ml-py asks a driver for its GPUs, in Python; BentoML wants it.
    foreign = [name for name in found["names"] if name.startswith(("nvidia-", "cuda", "triton"))]
    assert foreign == ["nvidia-ml-py"]
    assert not {"pip", "torch"} & set(found["names"])
    assert found["tools"] == []
    caches = ("find", REFERENCE, "/root", "/tmp", "/var/lib/apt/lists", "-path", "*cache*", "-type", "f")
    assert engine.ask("run", "--rm", "--user", "0", "--entrypoint", *caches, what="find") == ""
    facts = engine.ask_json("image", "inspect", REFERENCE, what="inspect")[0]
    assert facts["User"] == "10001:0"
    wanted = {"team": "vision", "org.opencontainers.image.description": "Doubles: numbers, and says so"}
    assert wanted.items() <= facts["Labels"].items()


def test_it_answers_what_it_took_before_it_ends(container):
    """The last test with this server: a request that is in work when it is told to end is answered."""
    answers = []

    def ask():
        with closing(connect(container.endpoints["rest"], timeout_s=30, retries=0)) as client:
            asked.set()
            answers.append(client.predict({"x": np.full((1, 2), -SLOW_S, np.float32)})["y"][0, 0])

    asked = threading.Event()
    thread = threading.Thread(target=ask)
    thread.start()
    assert asked.wait(30)
    time.sleep(1)
    began = time.monotonic()
    state = container.stop()
    took = time.monotonic() - began
    thread.join(30)
    assert answers == [-2 * SLOW_S]
    assert took < container.plan.grace_s
    assert (state.running, state.exit_code) == (False, 0)


def test_weights_from_an_image_of_their_own(engine, image, project, tmp_path):
    """The server's image has none then, and cannot start without the volume that brings them."""
    shutil.copytree(project, tmp_path / "project")
    apart = build(tmp_path / "project", tmp_path / "dist", weights="volume")
    tag = f"{REFERENCE}-apart"
    plan = BACKEND.image(apart, settings_for(apart, tag=tag))
    plans = [plan, *plan_weights(BACKEND, apart, plan)]
    try:
        build_images(engine, plans)
        service = BACKEND.container(apart, tag)
        assert service.weights_reference == plans[1].reference
        # The base and the packages are the same; where the weights were comes the code.
        assert layers(engine, REFERENCE)[:-2] == layers(engine, tag)[:-1]
        with started(engine, service) as running, pytest.raises(ServerFailed) as caught:
            running.wait_ready(running.healthy)
        # Without them it ends and says why; the code of BentoML's server is 0 even then.
        assert re.search(r"ended with code[\s\S]*net\.onnx", str(caught.value))
    finally:
        for one in plans:
            remove_image(engine, one.reference)


def test_a_change_of_code_moves_no_weights(engine, image, project, tmp_path):
    copy = tmp_path / "project"
    shutil.copytree(project, copy)
    with (copy / "transform.py").open("a") as stream:
        stream.write("# changed\n")
    changed = build(copy, tmp_path / "dist")
    tag = f"{REFERENCE}-changed"
    try:
        build_images(engine, [BACKEND.image(changed, settings_for(changed, tag=tag))])
        before, after = layers(engine, REFERENCE), layers(engine, tag)
    finally:
        remove_image(engine, tag)
    assert before[:-1] == after[:-1]
    assert before[-1] != after[-1]


def layers(engine, reference):
    return engine.ask_json("image", "inspect", reference, what="inspect")[0]["RootFS"]["Layers"]
