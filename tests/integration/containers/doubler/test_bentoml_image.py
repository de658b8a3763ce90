"""A Bento's image, built by `bentoml containerize` and run: it answers, is ready when it says so, ends when told."""

import json
import re
import shutil
from contextlib import closing

import httpx
import numpy as np
import pytest

from modelport import connect
from modelport.backend import load_backend
from modelport.errors import BuildError, ServerFailed
from modelport.image import plan_weights, settings_for
from modelport.run.images import build_images, remove_image

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
deploy: {weights: image}
"""
ASK = r"""
import importlib.metadata, json, shutil
names = sorted(d.name for d in importlib.metadata.distributions())
tools = [t for t in ("gcc", "g++", "cc", "make", "git", "uv") if shutil.which(t)]
print(json.dumps({"names": names, "tools": tools}))
"""


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


def test_it_has_no_rights(container, check_rights):
    check_rights(container)


def test_its_metrics_have_the_names_that_are_asked_for(container):
    with closing(connect(container.endpoints["rest"])) as client:
        client.predict({"x": np.ones((1, 2), np.float32)})
    page = httpx.get(container.endpoints["rest"] + container.plan.metrics.path).text
    metrics = container.plan.metrics
    for query in (metrics.requests, metrics.errors, metrics.latency_s, metrics.saturation):
        (name,) = re.findall(r"(bentoml_\w+)\{", query)
        assert f'\n{name}{{endpoint="/predict",' in page, name
    assert 'http_response_code="200"' in page


def test_it_holds_what_it_needs_and_no_more(container, engine, image, check_leftovers):
    found = json.loads(engine.ask("exec", container.name, "python", "-c", ASK, what="exec"))
    assert {"bentoml", "onnxruntime", "dumb-init"} <= set(found["names"])
    # nvidia-ml-py asks a driver for its GPUs, in Python; BentoML wants it.
    foreign = [name for name in found["names"] if name.startswith(("nvidia-", "cuda", "triton"))]
    assert foreign == ["nvidia-ml-py"]
    assert not {"pip", "torch"} & set(found["names"])
    assert found["tools"] == []
    check_leftovers(image)
    facts = engine.ask_json("image", "inspect", REFERENCE, what="inspect")[0]
    wanted = {"team": "vision", "org.opencontainers.image.description": "Doubles: numbers, and says so"}
    assert wanted.items() <= facts["Labels"].items()


def test_it_answers_what_it_took_before_it_ends(container, stop_at_work):
    """The last test with this server: a request that is in work when it is told to end is answered."""
    answer, state, took = stop_at_work(container, SLOW_S)
    assert answer == -2 * SLOW_S
    assert took < container.plan.grace_s
    assert (state.running, state.exit_code) == (False, 0)


def test_weights_from_an_image_of_their_own(engine, image, project, build, serve, layers, tmp_path):
    """The server's image has none then, and cannot start without the volume that brings them."""
    shutil.copytree(project, tmp_path / "project")
    (tmp_path / "project" / "modelport.yaml").write_text(SPEC.replace("weights: image", "weights: volume"))
    apart = build(tmp_path / "project", tmp_path / "dist")
    tag = f"{REFERENCE}-apart"
    plan = BACKEND.image(apart, settings_for(apart, tag=tag))
    plans = [plan, *plan_weights(BACKEND, apart, plan)]
    try:
        build_images(engine, plans)
        service = BACKEND.container(apart, tag)
        assert service.weights_reference == plans[1].reference
        # The base and the packages are the same; where the weights were comes the code.
        assert layers(REFERENCE)[:-2] == layers(tag)[:-1]
        with serve(service) as running, pytest.raises(ServerFailed) as caught:
            running.wait_ready(running.healthy)
        # Without them it ends and says why; the code of BentoML's server is 0 even then.
        assert re.search(r"ended with code[\s\S]*net\.onnx", str(caught.value))
    finally:
        for one in plans:
            remove_image(engine, one.reference)


def test_a_change_of_code_moves_no_weights(rebuilt_layers):
    before, after = rebuilt_layers
    assert before[:-1] == after[:-1]
    assert before[-1] != after[-1]
