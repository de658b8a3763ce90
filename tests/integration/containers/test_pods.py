"""Deployments to podman that are killed, that fail, and that meet each other; the server is a few lines of Python."""

import json
import subprocess
import time
import urllib.request

import pytest

from modelport.errors import ServerFailed
from modelport.plan import Readiness, ServicePlan
from modelport.run.pod_manifest import plan_pod
from modelport.run.pods import PodRollout
from modelport.run.ports import choose_ports
from modelport.run.rollout import run_rollout

pytestmark = [pytest.mark.server, pytest.mark.timeout(300)]

NAME = "modelport-tests-pods"
SERVER = """\
import http.server, os, signal
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(os.environ["VERSION"].encode())
http.server.HTTPServer(("0.0.0.0", 8000), Answer).serve_forever()
"""


class Killed(BaseException):
    """Ends a deployment as SIGKILL does: nothing is tidied up."""


@pytest.fixture
def port(engine):
    yield choose_ports({"rest": 0}, "127.0.0.1")["rest"]
    listed = [engine.program, "pod", "ps", "--quiet", "--filter", f"label=io.modelport.deployment={NAME}"]
    found = subprocess.run(listed, check=True, capture_output=True, text=True).stdout.split()
    if found:
        subprocess.run([engine.program, "pod", "rm", "--force", "--time", "0", *found], check=True, capture_output=True)


@pytest.fixture
def version(port):
    """Give the version that answers; an empty text for none."""

    def ask():
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2) as answer:  # our own server
                return answer.read().decode()
        except OSError:
            return ""

    return ask


@pytest.fixture
def rollout(engine, python_base, port, version):
    """Give the rollout of a version; one called ``mute…`` never answers."""

    def make(wanted, image=python_base):
        command = ["sleep", "100"] if wanted.startswith("mute") else ["python3", "-c", SERVER]
        container = {
            "name": "server",
            "image": image,
            "command": command,
            "env": [{"name": "VERSION", "value": wanted}],
            "ports": [{"containerPort": 8000}],
        }
        template = {"metadata": {}, "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]}}
        deployment = {"kind": "Deployment", "metadata": {"name": NAME}, "spec": {"template": template}}
        service = ServicePlan(
            backend="python",
            server="the server",
            command=(),
            ports=(),
            readiness=Readiness(port="rest", path="/"),
            endpoints={},
            grace_s=1,
            image=image,
        )
        return PodRollout(
            engine=engine,
            manifest=plan_pod([deployment], {8000: port}),
            service=service,
            urls={},
            host_ports=(port,),
            answers=lambda: version() == wanted,
            image_hint="",
            poll_s=0.1,
        )

    return make


@pytest.fixture
def watched(engine, python_base):
    """Give an image that has a health check."""
    name = f"localhost/{NAME}:watched"
    check = "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/', timeout=4)"
    text = f"FROM {python_base}\nHEALTHCHECK --timeout=5s CMD {json.dumps(['python3', '-c', check])}\n"
    build = [engine.program, "build", "--format", "docker", "--tag", name, "--file", "-"]
    subprocess.run(build, input=text, check=True, capture_output=True, text=True)
    yield name
    subprocess.run([engine.program, "rmi", "--force", name], check=True, capture_output=True)


def run(rollout, *, killed_at="never", timeout_s=30.0, wait=True):
    def note(text):
        if killed_at in text:
            raise Killed

    return run_rollout(rollout, wait=wait, timeout_s=timeout_s, ask=lambda urls: "yes", note=note)


def wait_for(version, wanted):
    deadline = time.monotonic() + 30
    while version() != wanted:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_deployment_that_was_killed_does_not_lose_what_ran_before(rollout, version):
    run(rollout("1"))
    # Killed between the old pod's end and the new one's start.
    with pytest.raises(Killed):
        run(rollout("2"), killed_at=": starting")
    assert version() == ""
    with pytest.raises(ServerFailed, match="started again"):
        run(rollout("mute"), timeout_s=0.5)
    wait_for(version, "1")
    # Killed while it waited for a pod that never answers, which the next one finds running.
    with pytest.raises(Killed):
        run(rollout("mute"), killed_at="waiting for")
    with pytest.raises(ServerFailed, match="found running, from a deployment that did not end") as caught:
        run(rollout("mute"), timeout_s=0.5)
    assert "NOT rolled back" not in str(caught.value)
    wait_for(version, "1")
    # And on.
    outcome = run(rollout("2"))
    assert version() == "2"
    assert len(outcome.applied) == 3
    assert [pod.runs for pod in rollout("2")._pods()] == [True]


def test_a_bad_pod_that_a_killed_deployment_left_running_is_not_what_ran_before(rollout, version):
    run(rollout("1"))
    with pytest.raises(Killed):
        run(rollout("mute"), killed_at="waiting for")
    with pytest.raises(ServerFailed, match="started again") as caught:
        run(rollout("mute, too"), timeout_s=0.5)
    assert "NOT rolled back" not in str(caught.value)
    wait_for(version, "1")


def test_a_healthy_pod_that_nobody_waited_for_is_what_ran_before(rollout, version, watched):
    run(rollout("1", watched))
    run(rollout("2", watched), wait=False)
    wait_for(version, "2")
    with pytest.raises(ServerFailed, match="started again"):
        run(rollout("mute", watched), timeout_s=0.5)
    wait_for(version, "2")


def test_two_at_once(rollout, version):
    first = rollout("1")
    with first.turn(), pytest.raises(ServerFailed, match="another deployment is under way"):
        run(rollout("2"))
    assert first._pods() == []
    run(rollout("2"))
    assert version() == "2"
