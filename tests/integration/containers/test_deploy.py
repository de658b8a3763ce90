"""Deploying a real image to podman and to Compose: it answers, is replaced, and comes back when its successor fails.

Compose talks to podman's socket. Nobody runs podman's health checks where there is no systemd: a thread does.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from modelport.backend import load_backend
from modelport.build import build_artifact, plan_for, resolve
from modelport.cli.group import run
from modelport.image import settings_for
from modelport.run.images import build_images, remove_image
from modelport.run.ports import choose_ports
from modelport.samples import load_samples

pytestmark = [pytest.mark.server, pytest.mark.timeout(900)]

EXAMPLE = Path(__file__).parents[3] / "examples" / "tabular"
IMAGE = "localhost/modelport-tests/tabular:deploy"
NAME = "tabular-tfserving"
BACKEND = load_backend("tfserving")


@pytest.fixture(scope="module")
def model():
    return resolve(EXAMPLE / "modelport.yaml")


@pytest.fixture(scope="module")
def image(engine, bases, model, tmp_path_factory):
    """The image of the example; the folder of its artifact is kept for the deployments, which build it again."""
    artifact = build_artifact(BACKEND, plan_for(BACKEND, model), tmp_path_factory.mktemp("artifact"))
    bases.tensorflow_serving(artifact.record["tools"]["tensorflow"])
    build_images(engine, [BACKEND.image(artifact, settings_for(artifact, tag=IMAGE))])
    yield IMAGE
    remove_image(engine, IMAGE)


@pytest.fixture(scope="module")
def docker_host(engine, tool, tmp_path_factory):
    """podman as docker's engine, and Compose on the PATH."""
    compose = Path(tool("docker-compose"))
    path = tmp_path_factory.mktemp("podman") / "podman.sock"
    command = [engine.program, "system", "service", "--time=0", f"unix://{path}"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_HOST", f"unix://{path}")
        patch.setenv("PATH", f"{compose.parent}{os.pathsep}{os.environ['PATH']}")
        yield
    process.terminate()
    process.wait(30)


@pytest.fixture(scope="module")
def health_checks(engine):
    """What systemd does elsewhere."""
    ended = threading.Event()

    def check():
        while not ended.wait(1):
            asked = [engine.program, "ps", "--quiet", "--filter", "health=starting"]
            for container in subprocess.run(asked, check=False, capture_output=True, text=True).stdout.split():
                subprocess.run([engine.program, "healthcheck", "run", container], check=False, capture_output=True)

    thread = threading.Thread(target=check)
    thread.start()
    yield
    ended.set()
    thread.join()


class Deployer:
    """Deploys the example to one target, always to the same ports."""

    def __init__(self, target, folder, capsys):
        self.target = target
        self.folder = folder
        self.capsys = capsys
        self.ports = choose_ports({"rest": 0, "grpc": 0}, "127.0.0.1")

    def arguments(self, image, *more, spec=EXAMPLE / "modelport.yaml"):
        ports = ["--port", str(self.ports["rest"]), "--grpc-port", str(self.ports["grpc"])]
        where = ["--target", self.target, "-b", "tfserving", "-o", str(self.folder / "dist")]
        return ["deploy", str(spec), *where, "--image", image, *ports, *more]

    def __call__(self, image, *more, spec=EXAMPLE / "modelport.yaml"):
        """Give exit code, stdout and stderr."""
        code = run(self.arguments(image, *more, spec=spec))
        out, err = self.capsys.readouterr()
        return code, out, err

    def answers(self, model):
        samples = load_samples(model.samples.path, model.served)
        url = f"http://127.0.0.1:{self.ports['rest']}/v1/models/tabular"
        with closing(BACKEND.client(url)) as client:
            return client.predict(samples.request(0, 1))


@pytest.fixture(params=["podman", "compose"])
def deploy(request, engine, image, tmp_path, capsys):
    """One target with nothing on it; what a test leaves there is removed."""
    if request.param == "compose":
        request.getfixturevalue("docker_host")
        request.getfixturevalue("health_checks")
    yield Deployer(request.param, tmp_path, capsys)
    for kind, label in (("pod", "io.modelport.deployment"), ("container", "com.docker.compose.service")):
        listed = [engine.program, kind, "ps", "--quiet", "--filter", f"label={label}={NAME}"]
        listed += ["--all"] if kind == "container" else []
        found = subprocess.run(listed, check=True, capture_output=True, text=True).stdout.split()
        if found:
            subprocess.run(
                [engine.program, kind, "rm", "--force", "--time", "2", *found], check=True, capture_output=True
            )


def test_from_nothing_to_a_failed_successor(deploy, image, model, python_base, tmp_path):
    # What would be done, and that it is not done.
    code, out, _ = deploy(image, "--dry-run")
    assert code == 0
    assert "0 to change, 0 to remove, 0 as they are" in out
    assert f"image: {image}" in out
    # The first one: ready when a sample was answered.
    code, out, err = deploy(image, "--json")
    assert code == 0, err
    told = json.loads(out)
    assert told["readiness"] == "a sample was answered over rest and grpc"
    assert told["applied"]
    first = deploy.answers(model)
    # The same once more.
    code, out, _ = deploy(image, "--dry-run")
    assert code == 0
    assert out.startswith("0 to create, 0 to change, 0 to remove")
    # A changed spec is another deployment, which is shown and then takes over.
    document = yaml.safe_load((EXAMPLE / "modelport.yaml").read_text(encoding="utf-8"))
    for name in ("model.skops", "samples.npz"):
        (tmp_path / name).write_bytes((EXAMPLE / name).read_bytes())
    document.setdefault("resources", {})["memory"] = "3Gi"
    document.setdefault("serving", {})["batching"] = {"max_size": 7}
    (tmp_path / "changed.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    code, out, _ = deploy(image, "--dry-run", spec=tmp_path / "changed.yaml")
    assert "3" in out
    assert "(runs)\n+++" in out
    code, out, err = deploy(image, spec=tmp_path / "changed.yaml")
    assert code == 0, err
    assert "a sample was answered" in out
    # The image says what it was made from: the spec as it was.
    assert "was made from another artifact" in err
    # An image that serves nothing is taken back.
    code, _, err = deploy(python_base, "--timeout", "20")
    assert code == 5
    assert "Rolled back:" in err
    assert "NOT rolled back" not in err
    wait_until(lambda: [*deploy.answers(model)] == [*first])
    code, out, _ = deploy(image, "--dry-run", spec=tmp_path / "changed.yaml")
    assert out.startswith("0 to create, 0 to change, 0 to remove")
    # An image that is nowhere does not even stop what runs.
    code, _, err = deploy("localhost/modelport-tests/absent:1")
    assert code == 5
    assert "Build it with: modelport containerize" in err
    assert "Nothing was changed" in err
    deploy.answers(model)


def test_a_port_that_is_taken(deploy, image):
    with socket.create_server(("127.0.0.1", deploy.ports["rest"])):
        code, _, err = deploy(image)
    assert code == 5
    assert f"port {deploy.ports['rest']} on 127.0.0.1: Address already in use" in err
    assert "Nothing was changed" in err


def test_a_first_one_that_is_interrupted_leaves_nothing(deploy, engine, python_base):
    """The signal comes while it waits for a server that will not come."""
    command = [sys.executable, "-m", "modelport", *deploy.arguments(python_base)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    lines = []
    for line in process.stderr:
        lines.append(line)
        if "waiting for" in line and not any("waiting for" in earlier for earlier in lines[:-1]):
            process.send_signal(signal.SIGTERM)
    assert process.wait(120) == 143, "".join(lines)
    text = "".join(lines)
    assert "interrupted\nApplied in" in text
    assert "removed" in text
    left = [engine.program, "ps", "--all", "--format", "{{.Names}}"]
    assert NAME not in subprocess.run(left, check=True, capture_output=True, text=True).stdout


def wait_until(holds):
    deadline = time.monotonic() + 60
    while True:
        try:
            if holds():
                return
        except Exception:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.5)
