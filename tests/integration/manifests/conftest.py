"""An engine, and an image that stands in for a server's: it answers over HTTP and tells what it may do."""

import importlib.util
import json
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

from modelport.plan import Generated, Metrics, PlannedFile, Port, Readiness, ServicePlan
from modelport.spec.schema import ModelSpec
from modelport.target import Release

CONTAINERS = Path(__file__).parents[1] / "containers" / "conftest.py"
REFERENCE = "localhost/modelport-tests/stand-in:1.0-other"
PORT = 8000
CONFIG = "answer: 42\n"

SERVER = """
import http.server, json, os, pathlib, signal, sys, threading, time

STARTED = time.monotonic()

def may_write(path):
    try:
        pathlib.Path(path, "probe").write_text("x")
    except OSError:
        return False
    return True

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        ready = time.monotonic() - STARTED > 2
        status = pathlib.Path("/proc/self/status").read_text()
        facts = {
            "uid": os.getuid(),
            "capabilities": status.split("CapEff:")[1].split()[0],
            "no_new_privileges": status.split("NoNewPrivs:")[1].split()[0],
            "writes_to_root": may_write("/"),
            "writes_to_tmp": may_write("/tmp"),
            "configuration": pathlib.Path("/etc/modelport/server.config").read_text(),
            "variable": os.environ.get("GREETING"),
        }
        body = json.dumps(facts).encode()
        self.send_response(200 if ready or self.path != "/ready" else 503)
        self.end_headers()
        self.wfile.write(body)

server = http.server.ThreadingHTTPServer(("0.0.0.0", 8000), Handler)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever()
"""
PROBE = f"import urllib.request as r; r.urlopen('http://127.0.0.1:{PORT}/ready', timeout=4)"


def load_fixtures():
    """The fixtures of the images' tests: an engine that works here, and a Python image."""
    spec = importlib.util.spec_from_file_location("containers_conftest", CONTAINERS)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_containers = load_fixtures()
engine = _containers.engine
bases = _containers.bases
python_base = _containers.python_base


@pytest.fixture(scope="session")
def image(engine, python_base, tmp_path_factory):
    """Build the stand-in; give its reference."""
    folder = tmp_path_factory.mktemp("stand-in")
    (folder / "server.py").write_text(SERVER)
    lines = (f"FROM {python_base}", "COPY server.py /server.py", 'CMD ["python3", "/server.py"]')
    (folder / "Dockerfile").write_text("\n".join(lines) + "\n")
    command = [engine.program, "build", "--format", "docker", "--tag", REFERENCE, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    yield REFERENCE
    subprocess.run([engine.program, "rmi", "--force", REFERENCE], capture_output=True, timeout=120, check=False)


@pytest.fixture(scope="session")
def ask():
    """Ask a service until it is ready; give its answer."""

    def wait(url, seconds=180):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                with urllib.request.urlopen(f"{url}/ready", timeout=5) as answer:
                    return json.load(answer)
            except OSError:  # urllib's errors are such, too
                time.sleep(0.5)
        raise AssertionError(f"{url} was not ready within {seconds} s")

    return wait


@pytest.fixture(scope="session")
def release(image):
    """A release of a service that runs in the stand-in."""
    config = PlannedFile(path="server.config", content=Generated(data=CONFIG.encode(), origin="the test"))

    service = ServicePlan(
        backend="other",
        server="a stand-in",
        command=(),
        environment={"GREETING": "a $HOME $(HOME)"},
        files=(config,),
        ports=(Port(name="rest", number=PORT),),
        readiness=Readiness(port="rest", path="/ready"),
        endpoints={"rest": f"http://127.0.0.1:{PORT}"},
        image=image,
        config_folder="/etc/modelport",
        writable=("/tmp",),
        probe=("python3", "-c", PROBE),
        metrics=Metrics(port="rest", path="/metrics", requests="r{$selector}", errors="e{$selector}"),
        model_bytes=1000,
        model_folder="/model",
    )
    spec = ModelSpec.model_validate(
        {
            "modelport": 1,
            "name": "stand-in",
            "version": "1.0",
            "model": {"framework": "onnx", "source": "model.onnx"},
            "serving": {"timeout_s": 5},
            "resources": {"cpu": "500m", "memory": "256Mi"},
        }
    )
    return Release(spec=spec, spec_path="modelport.yaml", services=(service,))
