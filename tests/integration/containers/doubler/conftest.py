"""What TorchServe's and BentoML's images are tested with: one small model behind a transform that can be slow.

A test module names its ``BACKEND``, the text of its ``SPEC`` and the ``REFERENCE`` of its image.
"""

from __future__ import annotations

import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import numpy as np
import pytest
from container_service import ContainerSettings, ContainerState, RunningContainer, running_container

from modelport import connect
from modelport.artifact import Artifact
from modelport.build import build_artifact, plan_for, resolve
from modelport.client.base import ClientError
from modelport.errors import BuildError
from modelport.image import settings_for
from modelport.plan import ServicePlan
from modelport.run.images import build_images, remove_image
from modelport.run.ports import choose_ports

TRANSFORM = """
import time


class Transform:
    def preprocess(self, inputs):
        if inputs["x"].min() <= -3:
            time.sleep(-float(inputs["x"].min()))
        return inputs
"""

Build = Callable[[Path, Path], Artifact]
Serve = Callable[[ServicePlan], AbstractContextManager[RunningContainer]]


@pytest.fixture(scope="module")
def project(request, tmp_path_factory) -> Path:
    """The model, its samples, its transform and its spec."""
    from onnx import TensorProto, helper, save

    folder = tmp_path_factory.mktemp("doubler")
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", 2]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "doubler", tensors[:1], tensors[1:])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "net.onnx")
    np.savez(folder / "samples.npz", x=np.arange(8, dtype=np.float32).reshape(4, 2))
    (folder / "transform.py").write_text(TRANSFORM)
    (folder / "modelport.yaml").write_text(request.module.SPEC)
    return folder


@pytest.fixture(scope="module")
def build(request) -> Build:
    """Build a project into a folder."""
    backend = request.module.BACKEND

    def build(project: Path, dist: Path) -> Artifact:
        return build_artifact(backend, plan_for(backend, resolve(project / "modelport.yaml")), dist)

    return build


@pytest.fixture(scope="module")
def artifact(build, project, tmp_path_factory) -> Artifact:
    return build(project, tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def image(request, engine, python_base, artifact) -> Iterator[str]:
    """The image, under the module's ``REFERENCE``."""
    reference = request.module.REFERENCE
    build_images(engine, [request.module.BACKEND.image(artifact, settings_for(artifact, tag=reference))])
    yield reference
    remove_image(engine, reference)


@pytest.fixture(scope="module")
def serve(engine) -> Serve:
    """Start a server under a foreign user, without capabilities, on a root that cannot be written."""

    @contextmanager
    def serve(plan: ServicePlan) -> Iterator[RunningContainer]:
        ports = choose_ports({port.name: 0 for port in plan.ports}, "127.0.0.1")
        settings = ContainerSettings(ports=ports, user="12345", memory=2 * 2**30)
        with running_container(engine, plan, settings) as running:
            yield running

    return serve


@pytest.fixture(scope="module")
def container(request, serve, image, artifact) -> Iterator[RunningContainer]:
    """A server that is ready."""
    with serve(request.module.BACKEND.container(artifact, image)) as running:
        running.wait_ready(running.healthy)
        yield running


@pytest.fixture
def check_rights(engine) -> Callable[[RunningContainer], None]:
    def check(container: RunningContainer) -> None:
        status = engine.ask("exec", container.name, "cat", "/proc/1/status", what="exec")
        assert re.search(r"^Uid:\s+12345\b", status, re.MULTILINE)
        assert re.search(r"^CapEff:\s+0+$", status, re.MULTILINE)
        with pytest.raises(BuildError, match="Read-only"):
            engine.ask("exec", container.name, "touch", "/opt/x", what="exec")

    return check


@pytest.fixture
def stop_at_work() -> Callable[[RunningContainer, float], tuple[object, ContainerState, float]]:
    """End a server a second after it got a request that keeps it at work for so many seconds.

    Gives what came of the request, how the server ended, and the seconds that this took.
    """

    def stop(container: RunningContainer, slow_s: float) -> tuple[object, ContainerState, float]:
        outcome: list[object] = []
        asked = threading.Event()

        def ask() -> None:
            with closing(connect(container.endpoints["rest"], timeout_s=60, retries=0)) as client:
                asked.set()
                try:
                    outcome.append(client.predict({"x": np.full((1, 2), -slow_s, np.float32)})["y"][0, 0])
                except ClientError as error:
                    outcome.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        assert asked.wait(30)
        time.sleep(1)
        began = time.monotonic()
        state = container.stop()
        took = time.monotonic() - began
        thread.join(30)
        return outcome[0], state, took

    return stop


@pytest.fixture
def layers(engine) -> Callable[[str], list[str]]:
    """Give the digests of an image's layers."""

    def find(reference: str) -> list[str]:
        return engine.ask_json("image", "inspect", reference, what="inspect")[0]["RootFS"]["Layers"]

    return find


@pytest.fixture
def rebuilt_layers(request, engine, image, project, build, layers, tmp_path) -> tuple[list[str], list[str]]:
    """The layers of the image, and those of one that was built again with another transform."""
    changed = tmp_path / "project"
    shutil.copytree(project, changed)
    (changed / "transform.py").write_text(f"{TRANSFORM}# changed\n")
    artifact = build(changed, tmp_path / "dist")
    tag = f"{image}-changed"
    try:
        build_images(engine, [request.module.BACKEND.image(artifact, settings_for(artifact, tag=tag))])
        return layers(image), layers(tag)
    finally:
        remove_image(engine, tag)


@pytest.fixture
def check_leftovers(engine) -> Callable[[str], None]:
    """No cache of what built an image is left in it, and it runs as our own user."""

    def check(reference: str) -> None:
        caches = ("find", reference, "/root", "/tmp", "/var/lib/apt/lists", "-path", "*cache*", "-type", "f")
        assert engine.ask("run", "--rm", "--user", "0", "--entrypoint", *caches, what="find") == ""
        assert engine.ask_json("image", "inspect", reference, what="inspect")[0]["User"] == "10001:0"

    return check
