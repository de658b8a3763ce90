"""The Compose file, really run: `docker compose up --wait` on podman's socket ends when the service is healthy."""

import os
import subprocess
import threading
import time
from contextlib import contextmanager

import pytest
import yaml

from modelport.plan import Generated, PlannedFile
from modelport.run.ports import choose_ports
from modelport.written import write_set
from modelport_manifests.compose import Compose

pytestmark = [pytest.mark.server, pytest.mark.timeout(600)]

NAME = "stand-in-other"


@contextmanager
def api(engine, folder):
    """Give the address of podman's API, which Compose takes for Docker's."""
    socket = folder / "podman.sock"
    server = subprocess.Popen([engine.program, "system", "service", "--time=0", f"unix://{socket}"])
    try:
        deadline = time.monotonic() + 60
        while not socket.exists():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield f"unix://{socket}"
    finally:
        server.terminate()
        server.wait(timeout=60)


@contextmanager
def health_checks(engine):
    """Run the health checks: podman leaves that to systemd, which need not be here."""
    ended = threading.Event()

    def repeat():
        while not ended.wait(0.5):
            names = run(engine.program, "ps", "--format", "{{.Names}}", "--filter", f"name={NAME}").stdout.split()
            for name in names:
                run(engine.program, "healthcheck", "run", name)

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(timeout=60)


def run(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, **options)


def publish(files, port):
    """Take another port of this machine, where the service's own may be taken."""
    for file in files:
        if file.path != "compose.yaml":
            yield file
            continue
        project = yaml.safe_load(file.content.data)
        project["services"][NAME]["ports"] = [f"127.0.0.1:{port}:8000"]
        yield PlannedFile(path=file.path, content=Generated(data=yaml.safe_dump(project).encode(), origin="the test"))


def test_up_waits_for_a_healthy_service_and_down_ends_it(engine, release, tool, tmp_path, ask):
    compose = tool("docker-compose")
    port = choose_ports({"rest": 0}, "127.0.0.1")["rest"]
    write_set(publish(Compose().render(release), port), tmp_path / "out", "compose")
    with api(engine, tmp_path) as address:
        settings = {"cwd": tmp_path / "out", "env": {**os.environ, "DOCKER_HOST": address}}
        try:
            with health_checks(engine):
                up = run(compose, "up", "--detach", "--wait", "--wait-timeout", "180", **settings)
            assert up.returncode == 0, up.stdout + up.stderr
            assert ask(f"http://127.0.0.1:{port}") == {
                "uid": 10001,
                "capabilities": "0000000000000000",
                "no_new_privileges": "1",
                "writes_to_root": False,
                "writes_to_tmp": True,
                "configuration": "answer: 42\n",
                "variable": "a $HOME $(HOME)",
            }
        finally:
            down = run(compose, "down", "--volumes", **settings)
        assert down.returncode == 0, down.stdout + down.stderr
