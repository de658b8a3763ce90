"""A Bento elsewhere: by hand, without modelport, with a model that fails."""

import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from modelport.artifact import read_artifact
from modelport.backend import ServeSettings
from modelport.errors import ServerFailed
from modelport.run.ports import choose_ports
from modelport.run.service import running
from modelport_bentoml.backend import BentoMLBackend

pytestmark = pytest.mark.server

BENTO = Path("home/bentos/doubler.x/1.2.0-a")
HOST = "127.0.0.1"
REQUEST = {"a b/c.d": [[1, 2, 3]], "text": ["a"], "n:0": [1], "flag": [True]}


@pytest.fixture
def by_hand(stranger, tmp_path):
    """Run BentoML as a user would who has no modelport, in a home of its own."""
    tools = tmp_path / "tools"
    tools.mkdir()
    # BentoML installs uv over the network where it finds none, though these builds have no use for it.
    (tools / "uv").write_text("#!/bin/sh\nexit 1\n")
    (tools / "uv").chmod(0o755)
    environment = {
        "PATH": f"{tools}:{os.defpath}",
        "HOME": str(tmp_path),
        "BENTOML_HOME": str(tmp_path / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "True",
        "PYTHONDONTWRITEBYTECODE": "1",
        "TMPDIR": str(tmp_path),
    }

    def start(*arguments, cwd):
        return subprocess.Popen(
            [stranger, "-m", "bentoml", *arguments],
            cwd=cwd,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    return start


def finish(process):
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    return output


def predict_with(process, url):
    """Wait for a server, ask it once, end it."""
    try:
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline and process.poll() is None:
            try:
                if httpx.get(f"{url}/readyz", timeout=5).status_code == 200:
                    return httpx.post(f"{url}/predict", json=REQUEST, timeout=60).json()
            except httpx.HTTPError:
                time.sleep(0.1)
        pytest.fail(f"not ready: {process.stdout.read() if process.poll() is not None else ''}")
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


def url_and_port():
    port = str(choose_ports({"rest": 0}, HOST)["rest"])
    return f"http://{HOST}:{port}", ("--host", HOST, "--port", port)


def test_the_stranger_has_no_modelport(stranger):
    script = "import bentoml, onnxruntime, importlib.util as u; print(u.find_spec('modelport_runtime'))"
    assert subprocess.check_output([stranger, "-c", script], text=True, timeout=60).strip() == "None"


def test_the_archive_is_imported_and_served_without_modelport(artifact, by_hand, tmp_path):
    archive = artifact.path / "doubler.x-1.2.0-a.bento"
    finish(by_hand("import", str(archive), cwd=tmp_path))
    imported = tmp_path / "bentoml/bentos/doubler.x/1.2.0-a"
    ours = {p.relative_to(artifact.path / BENTO): p.read_bytes() for p in files(artifact.path / BENTO)}
    assert {p.relative_to(imported): p.read_bytes() for p in files(imported)} == ours
    url, address = url_and_port()
    answer = predict_with(by_hand("serve", "doubler.x:1.2.0-a", *address, cwd=tmp_path), url)
    assert answer["y"] == [[2.0, 4.0, 6.0]]


def test_a_user_builds_and_serves_the_project_by_hand(artifact, by_hand, tmp_path):
    project = tmp_path / "project"
    shutil.copytree(artifact.path / "project", project)
    finish(by_hand("build", "--version", "7", cwd=project))
    built = tmp_path / "bentoml/bentos/doubler.x/7/src"
    for file in files(project):
        if file.name != "bentofile.yaml":
            assert (built / file.relative_to(project)).read_bytes() == file.read_bytes()
    url, address = url_and_port()
    assert predict_with(by_hand("serve", ".", *address, cwd=project), url)["text/out"] == ["a"]


def files(root):
    return sorted(path for path in root.rglob("*") if path.is_file())


def test_nothing_in_the_artifact_tells_on_which_machine_it_was_built(artifact):
    secrets = [str(artifact.path), str(Path.home()), str(Path(__file__).parents[3]), os.uname().nodename]
    secrets = [secret.encode() for secret in secrets if len(secret) > 5]
    for file in files(artifact.path):
        data = file.read_bytes()
        assert not [secret for secret in secrets if secret in data], file


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("model.weights/net.onnx", "no model", "ONNX Runtime cannot load it"),
        (
            "transform.py",
            "class Transform:\n    def preprocess(self, inputs):\n        raise OSError('no disk')\n",
            "no disk",
        ),
        ("modelport.json", None, "modelport.json"),
    ],
)
def test_a_bento_that_cannot_answer_its_samples_ends_at_once(artifact, tmp_path, file, content, words):
    broken = tmp_path / "broken"
    shutil.copytree(artifact.path, broken)
    target = broken / BENTO / "src/model" / file
    target.unlink() if content is None else target.write_text(content)
    plan = BentoMLBackend().service(
        read_artifact(broken), ServeSettings(host=HOST, ports=choose_ports({"rest": 0}, HOST))
    )
    statuses = set()

    def ready():
        with suppress(httpx.HTTPError):
            statuses.add(httpx.get(f"{plan.endpoints['rest']}/readyz", timeout=1).status_code)
        return 200 in statuses

    with running(plan, HOST) as process, pytest.raises(ServerFailed, match=words) as caught:
        process.wait_ready(ready)
    assert 200 not in statuses
    assert "not ready after" not in str(caught.value)
