"""``modelport containerize`` on a real engine: what goes wrong is said in one message, and nothing is left of it."""

import json
import os
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from modelport.cli.group import run
from modelport.errors import BuildError
from modelport.plan import Generated, ImagePlan, PlannedFile
from modelport.run.engine import find_engine
from modelport.run.images import build_images, image_id, remove_image

pytestmark = [pytest.mark.server, pytest.mark.timeout(600)]

NAME = "localhost/modelport-tests/one"
SPEC = """\
modelport: 1
name: one
version: "1.0"
model: {framework: onnx, source: one.onnx}
"""


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    """A model of one op."""
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    x, y = (helper.make_tensor_value_info(name, kind, ["n", 2]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "g", [x], [y])
    folder = tmp_path_factory.mktemp("spec")
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, folder / "one.onnx")
    (folder / "modelport.yaml").write_text(SPEC)
    return folder / "modelport.yaml"


@pytest.fixture(scope="module")
def artifact(spec, tmp_path_factory):
    output = tmp_path_factory.mktemp("dist")
    assert run(["build", str(spec), "-b", "tfserving", "-o", str(output)]) == 0
    return output / "one" / "1.0" / "tfserving"


@pytest.fixture
def changed(artifact, tmp_path):
    """Give a copy of the artifact whose spec says something else."""

    def change(**sections):
        copy = tmp_path / "artifact"
        subprocess.run(["cp", "-r", artifact, copy], check=True)
        record = json.loads((copy / "artifact.json").read_text())
        record["spec"].update(sections)
        (copy / "artifact.json").write_text(json.dumps(record))
        return copy

    return change


@pytest.fixture
def clean(engine):
    """Look whether a test leaves an image behind."""
    yield
    with pytest.raises(BuildError):
        image_id(engine, f"{NAME}:1")


def containerize(capsys, *arguments, engine="podman"):
    code = run(["containerize", "--engine", engine, "--quiet", *map(str, arguments)])
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.fixture(scope="module")
def small(engine, python_base):
    """A base on which nothing runs, under a name that tells a server's version."""
    reference = "localhost/modelport-tests/serving:99.0.0"
    subprocess.run([engine.program, "tag", python_base, reference], check=True)
    yield reference
    subprocess.run([engine.program, "untag", reference, reference], check=True)


def on(base):
    return {"backends": {"tfserving": {"image": {"base": base}}}}


def test_an_image_is_named_labelled_and_told(changed, small, engine, capsys):
    folder = changed(**on(small), image={"labels": {"team": "a b"}})
    code, out, _ = containerize(capsys, folder, "--tag", f"{NAME}:1", "--json")
    try:
        assert code == 0
        (facts,) = json.loads(out)
        found = engine.ask_json("image", "inspect", f"{NAME}:1", what="inspect")[0]
        assert facts["id"] == f"sha256:{found['Id']}"
        assert facts["size"] == found["Size"]
        assert found["Labels"]["team"] == "a b"
        assert found["Labels"]["org.opencontainers.image.version"] == "1.0"
        assert found["User"] == "10001:0"
        assert found["Healthcheck"]["Test"][1] == "/bin/bash"
    finally:
        subprocess.run([engine.program, "rmi", f"{NAME}:1"], check=False, capture_output=True)


def test_buildah_builds_the_same(changed, small, engine, capsys):
    code = run(
        ["containerize", str(changed(**on(small))), "--engine", "buildah", "-t", f"{NAME}:2", "--json", "--quiet"]
    )
    try:
        assert code == 0
        (facts,) = json.loads(capsys.readouterr().out)
        found = engine.ask_json("image", "inspect", f"{NAME}:2", what="inspect")[0]
        assert facts["id"] == f"sha256:{found['Id']}"
        assert facts["size"] == pytest.approx(found["Size"], rel=0.01)
    finally:
        subprocess.run([engine.program, "rmi", f"{NAME}:2"], check=False, capture_output=True)


@pytest.mark.parametrize("how", ["volume", "init_container"])
def test_weights_get_an_image_of_their_own(changed, small, engine, capsys, how):
    code, out, _ = containerize(capsys, changed(**on(small), deploy={"weights": how}), "-t", f"{NAME}:3", "--json")
    try:
        assert code == 0
        assert [facts["reference"] for facts in json.loads(out)] == [f"{NAME}:3", f"{NAME}:3-weights"]
        mount = engine.ask("image", "mount", f"{NAME}:3-weights", what="mount").strip()
        root = Path(mount) / ("" if how == "volume" else "model")
        assert [path.name for path in root.glob("*/saved_model.pb")] == ["saved_model.pb"]
        engine.ask("image", "unmount", f"{NAME}:3-weights", what="unmount")
        inner = engine.ask("image", "mount", f"{NAME}:3", what="mount").strip()
        assert not list(Path(inner).glob("models/*"))
        engine.ask("image", "unmount", f"{NAME}:3", what="unmount")
    finally:
        for tag in ("3", "3-weights"):
            subprocess.run([engine.program, "rmi", f"{NAME}:{tag}"], check=False, capture_output=True)


@pytest.mark.parametrize("name", ["podman", "buildah"])
def test_several_platforms_stand_under_one_name(engine, name):
    files = {"Dockerfile": b'FROM scratch\nCOPY ["w/", "/"]\n', "w/m/a.bin": b"x" * 5000}
    plan = ImagePlan(
        backend="toy",
        reference=f"{NAME}:several",
        bases=("scratch",),
        files=tuple(PlannedFile(path=k, content=Generated(data=v, origin="test")) for k, v in files.items()),
        platforms=("linux/amd64", "linux/arm64"),
        labels={"io.modelport.tests": "several"},
    )
    builder = find_engine(name)
    try:
        for _ in range(2):  # the second time the name is there already
            (image,) = build_images(builder, [plan])
            assert 5000 <= image.size < 20_000
            listed = engine.ask_json("manifest", "inspect", plan.reference, what="inspect")["manifests"]
            assert sorted(entry["platform"]["architecture"] for entry in listed) == ["amd64", "arm64"]
    finally:
        remove_image(builder, plan.reference)
        # What a list named stays without a name, as it does after every build for several platforms.
        engine.ask("image", "prune", "--force", "--filter", "label=io.modelport.tests=several", what="prune")
    with pytest.raises(BuildError):
        engine.ask("manifest", "inspect", plan.reference, what="inspect")


def test_a_dry_run_shows_what_would_be_built(artifact, clean, capsys):
    code, out, _ = containerize(capsys, artifact, "--dry-run", "--tag", f"{NAME}:1")
    assert code == 0
    assert f"# {NAME}:1\nFROM docker.io/tensorflow/serving:" in out
    assert "saved_model.pb" in out
    code, out, _ = containerize(capsys, artifact, "--dry-run", "--json")
    assert json.loads(out)[0]["reference"] == "one:1.0-tfserving"


def test_too_large_an_image_goes_and_says_what_is_large(changed, small, clean, capsys):
    folder = changed(**on(small), image={"max_size": "50Mi"})
    code, _, err = containerize(capsys, folder, "-t", f"{NAME}:1")
    assert code == 4
    assert "image.max_size allows 50 MiB; it was removed" in err
    rows = err.partition("What takes the most room:\n")[2].splitlines()
    assert len(rows) == 10
    assert "layer of" in rows[0]
    assert any(" /usr/lib" in row for row in rows)


def test_an_image_of_the_same_name_stays_where_a_build_fails(changed, small, engine, capsys):
    subprocess.run([engine.program, "tag", small, f"{NAME}:kept"], check=True)
    try:
        code, _, _ = containerize(capsys, changed(**on(small), image={"max_size": "1Mi"}), "-t", f"{NAME}:kept")
        assert code == 4
        assert image_id(engine, small) == image_id(engine, f"{NAME}:kept")
    finally:
        subprocess.run([engine.program, "untag", f"{NAME}:kept", f"{NAME}:kept"], check=False, capture_output=True)


def test_a_base_that_cannot_be_pulled(changed, clean, capsys):
    base = "localhost:1/none/serving:99.0.0"
    code, _, err = containerize(capsys, changed(**on(base)), "-t", f"{NAME}:1")
    assert code == 4
    assert f"the base image {base} cannot be pulled: check its name and the network" in err
    assert "connection refused" in err


def test_a_step_that_fails(changed, small, clean, capsys):
    """pip finds no such version."""
    embedded = {"tfserving": {"image": {"server": "embedded", "base": small, "version": "98.76.0"}}}
    code, _, err = containerize(capsys, changed(backends=embedded), "-t", f"{NAME}:1")
    assert code == 4
    assert "the step `" in err
    assert "tensorflow-cpu==98.76.0" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--tag", "Team/One:1"], "lower-case letters"),
        (["--tag", "one:a+b"], "the tag 'a+b'"),
        (["--platform", "linux/amd64,linux/s390x", "--tag", ":1"], "server: embedded"),
    ],
)
def test_wrong_words(artifact, clean, capsys, arguments, words):
    code, _, err = containerize(capsys, artifact, *arguments, "--dry-run")
    assert words in err
    assert code == (0 if "--platform" in arguments else 2)


class Refusal(BaseHTTPRequestHandler):
    """A registry that takes nothing."""

    def do_GET(self):
        self.send_response(200 if self.path == "/v2/" else 403)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815  # the names that the standard library looks for

    def log_message(self, *arguments):
        pass


def test_a_registry_that_refuses(changed, small, engine, capsys, tmp_path, monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusal)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    registry = f"localhost:{server.server_port}"
    (tmp_path / "registries.conf").write_text(f'[[registry]]\nlocation = "{registry}"\ninsecure = true\n')
    monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(tmp_path / "registries.conf"))
    try:
        code, _, err = containerize(capsys, changed(**on(small)), "-t", f"{registry}/one:1", "--push")
        assert code == 4
        assert f"podman push {registry}/one:1: failed" in err
        assert "403" in err
        assert f"The image is built, and here as {registry}/one:1" in err
    finally:
        server.shutdown()
        server.server_close()
        subprocess.run([engine.program, "rmi", f"{registry}/one:1"], check=False, capture_output=True)


@pytest.fixture
def slow(engine, small, tmp_path):
    """A base that makes every image which starts from it wait."""
    reference = "localhost/modelport-tests/serving:99.0.1"
    (tmp_path / "Dockerfile").write_text(f"FROM {small}\nONBUILD RUN echo waiting && sleep 77.7\n")
    build = ("build", "--format", "docker", "-t", reference, str(tmp_path))
    engine.work(build, what="build", timeout_s=60)
    yield reference
    subprocess.run([engine.program, "rmi", reference], check=True, capture_output=True)


def test_an_interrupted_build_leaves_nothing(changed, slow, engine, clean, tmp_path):
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "modelport",
            "containerize",
            changed(**on(slow)),
            "--engine",
            "podman",
            "-t",
            f"{NAME}:1",
        ],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    assert any(line.strip() == "waiting" for line in process.stderr)
    process.send_signal(signal.SIGINT)
    rest = process.stderr.read()
    assert process.wait(timeout=60) == 130
    assert "interrupted; nothing half-written was left" in rest
    assert list(temporary.iterdir()) == []
    left = engine.ask("ps", "--all", "--external", "--format", "{{.Image}}", what="ps")
    assert "serving:99.0.1" not in left
    assert "77.7" not in subprocess.run(["ps", "-eo", "args"], check=True, capture_output=True, text=True).stdout
