"""TorchServe's image and the service in it, planned as data."""

import json
import re
import shlex
import zipfile
from dataclasses import replace

import pytest

from modelport.artifact import copied, write_content
from modelport.backend import Containerized, ImageSettings
from modelport.build import build_artifact, plan_for
from modelport.errors import SpecError
from modelport.image import Detachable
from modelport.run.tool import run_tool
from modelport_torchserve.backend import TorchServeBackend

BACKEND = TorchServeBackend()
SETTINGS = ImageSettings(reference="team/toy:1", labels={"a": "1"}, platforms=("linux/arm64",), max_size=10)
DIGEST = "registry.example/python@sha256:" + "0" * 64
EVERYTHING = {
    "base": DIGEST,
    "system_packages": ["curl"],
    "build_packages": ["g++", "make"],
    "pytorch_index": "https://mirror.example/cpu",
}


@pytest.fixture
def build(make_model, tmp_path):
    def make(*, requirements=("numpy==2.0.0", "torch==2.13.0"), **fields):
        model = replace(make_model(**fields), requirements=requirements)
        artifact = build_artifact(BACKEND, plan_for(BACKEND, model), tmp_path / "dist")
        tools = {"torch": "2.13.0+cpu"}
        return replace(artifact, record={**artifact.record, "tools": tools})

    return make


def image(artifact, **settings):
    plan = BACKEND.image(artifact, replace(SETTINGS, **settings))
    return plan, {file.path: file.content for file in plan.files}


def text(files, path):
    return files[path].data.decode()


def test_the_dockerfile(build, golden, tool, tmp_path):
    _, files = image(build())
    golden("torchserve/Dockerfile", text(files, "Dockerfile"))
    golden("torchserve/container.properties", text(files, "config/config.properties"))
    lint(tool, tmp_path, text(files, "Dockerfile"))


def test_the_dockerfile_of_an_image_that_asks_for_everything(build, golden, tool, tmp_path):
    artifact = build(
        requirements=("onnxruntime-gpu", "torch", "transformers"),
        files=("a b.pt", "it's.bin"),
        environment={"device": "cuda", "python": "3.12"},
        backends={"torchserve": {"image": EVERYTHING, "jvm": ["-Xmx1g"], "token_authorization": False}},
    )
    plan, files = image(artifact, require_digest=True)
    golden("torchserve/Dockerfile_full", text(files, "Dockerfile"))
    lint(tool, tmp_path, text(files, "Dockerfile"))
    assert plan.bases == (DIGEST,)
    assert plan.warnings == ()
    assert text(files, "requirements.txt").split() == [
        "nvgpu", "onnxruntime-gpu", "pillow>=10", "psutil>=5.9", "pyyaml>=6", "torch", "torchserve==0.12.0",
        "transformers",
    ]  # fmt: skip


def lint(tool, folder, dockerfile):
    (folder / "Dockerfile").write_text(dockerfile)
    run_tool((tool("hadolint"), "Dockerfile"), cwd=folder, timeout_s=60, what="hadolint")


def test_the_plan(build):
    artifact = build()
    plan, files = image(artifact)
    assert isinstance(BACKEND, Containerized)
    assert (plan.reference, plan.labels, plan.platforms, plan.max_size, plan.tool) == (
        "team/toy:1", {"a": "1"}, ("linux/arm64",), 10, (),
    )  # fmt: skip
    assert plan.bases == ("docker.io/library/python:3.11-slim",)
    # The archive is copied as it was built, checked by its digest.
    assert files["model.mar"] == copied(artifact.path / "model-store" / "toy.mar")
    assert text(files, "requirements.txt").split() == [
        "numpy==2.0.0", "pillow>=10", "psutil>=5.9", "pyyaml>=6", "torch==2.13.0", "torchserve==0.12.0",
    ]  # fmt: skip
    ignored = text(files, ".dockerignore").splitlines()
    kept = {line.removeprefix("!") for line in ignored[1:]}
    assert {path.partition("/")[0] for path in files} - {"Dockerfile", ".dockerignore"} == kept


def test_what_is_not_pinned_by_the_spec_is_as_the_artifact_was_built(build):
    _, files = image(build(requirements=("onnxruntime==1.20.0",)))
    assert "torch==2.13.0" in text(files, "requirements.txt").split()


@pytest.mark.parametrize(
    ("fields", "source", "serialized", "moved"),
    [
        ({}, "model.weights/model.pt", "model.weights/model.pt", ["model.pt"]),
        ({"files": ("a b.onnx", "$HOME's.data"), "code": ("code/x.py",)}, "model.weights/a b.onnx",
         "model.weights/a b.onnx", ["$HOME's.data", "a b.onnx"]),
        ({"files": ("a.pb", "v/w.data"), "folder": "saved"}, "model.weights", None, ["model/a.pb", "model/v/w.data"]),
    ],
)  # fmt: skip
def test_weights_lie_in_a_folder_of_their_own(build, tmp_path, fields, source, serialized, moved):
    """The archive is unpacked here by the commands of the Dockerfile."""
    artifact = build(**fields)
    _, files = image(artifact)
    assert json.loads(text(files, "archive/modelport.json"))["source"] == source
    assert json.loads(text(files, "archive/MANIFEST.json"))["model"].get("serializedFile") == serialized
    with (tmp_path / "model.mar").open("wb") as stream:
        write_content(files["model.mar"], stream)
    with zipfile.ZipFile(tmp_path / "model.mar") as archive:
        archive.extractall(tmp_path / "archive")
        originals = {name.removeprefix("model/"): archive.read(name) for name in moved}
    (command,) = re.findall(r"^ && (.*mv .*) \\$", text(files, "Dockerfile"), re.MULTILINE)[1:]
    run_tool(
        ("sh", "-c", command.replace("/archive", f"{tmp_path}/archive").replace("/weights", f"{tmp_path}/weights")),
        cwd=tmp_path, timeout_s=10, what="mv",
    )  # fmt: skip
    weights = tmp_path / "weights"
    found = {path.relative_to(weights).as_posix(): path.read_bytes() for path in weights.rglob("*") if path.is_file()}
    assert found == originals
    assert BACKEND.container(artifact, "x:1").model_bytes == sum(map(len, originals.values()))
    # An image of their own would have the same.
    assert isinstance(BACKEND, Detachable)
    assert {file.path: file.content.data for file in BACKEND.weights(artifact)} == originals


def test_a_handler_of_ones_own_finds_the_model_where_it_was(build, tmp_path):
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "own.py").write_text("def handle(data, context): ...\n")
    artifact = build(backends={"torchserve": {"handler": "own.py:handle"}})
    _, files = image(artifact)
    assert json.loads(text(files, "archive/MANIFEST.json"))["model"]["serializedFile"] == "model.pt"
    plan = BACKEND.container(artifact, "x:1")
    assert plan.model_folder == "/opt/modelport/model-store/toy"
    # Only our handler describes the model to a GET, so nothing that others reach tells whether this one is ready.
    assert plan.readiness.port not in {port.name for port in plan.ports}
    with pytest.raises(SpecError, match=r"deploy\.weights.*handler of your own"):
        BACKEND.weights(artifact)


def test_weights_can_come_from_elsewhere(build):
    _, files = image(build(deploy={"weights": "init_container"}))
    assert "/weights/ /opt" not in text(files, "Dockerfile")


def test_the_container(build):
    artifact = build()
    plan = BACKEND.container(artifact, "x:1")
    _, files = image(artifact)
    assert plan.image == "x:1"
    assert plan.endpoints == {
        "rest": "http://127.0.0.1:8080/predictions/toy/1.2.0",
        "grpc": "grpc://127.0.0.1:7070/toy/1.2.0",
    }
    assert {port.name: port.number for port in plan.ports} == {"rest": 8080, "grpc": 7070, "metrics": 8082}
    assert {plan.readiness.port, plan.metrics.port} <= {port.name for port in plan.ports}
    assert plan.writable == ("/tmp",)
    # What the plan says is what the image runs, asks and holds.
    lines = text(files, "Dockerfile").splitlines()
    assert shlex.split(lines[-1])[0] == "ENTRYPOINT"
    assert json.loads(lines[-1].removeprefix("ENTRYPOINT ")) == list(plan.command)
    assert json.loads(lines[-2].partition(" CMD ")[2]) == list(plan.probe)
    assert {f"config/{file.path}": file.content for file in plan.files}.items() <= files.items()


def test_others_do_not_reach_management(build):
    _, files = image(build())
    addresses = dict(re.findall(r"^(\w+_address)=(.*)$", text(files, "config/config.properties"), re.MULTILINE))
    assert addresses == {
        "inference_address": "http://0.0.0.0:8080",
        "management_address": "http://127.0.0.1:8081",
        "metrics_address": "http://0.0.0.0:8082",
        "grpc_inference_address": "0.0.0.0",
        "grpc_management_address": "127.0.0.1",
    }


def test_metrics_only_where_they_are_told(build):
    assert BACKEND.container(build(backends={"torchserve": {"metrics_mode": "log"}}), "x:1").metrics is None


def test_tokens_are_refused(build):
    artifact = build(backends={"torchserve": {"token_authorization": True}})
    with pytest.raises(SpecError, match=r"token_authorization: is true.*end after an hour.*Say false"):
        image(artifact)
    with pytest.raises(SpecError, match="token_authorization"):
        BACKEND.container(artifact, "x:1")


def test_what_will_surprise_is_said(build):
    options = {"install_requirements": True, "ports": {"rest": 9000}}
    said = " ".join(image(build(backends={"torchserve": options}))[0].warnings)
    for part in ("asks nobody for a token", "installs nothing", "TorchServe's own ports"):
        assert part in said


def test_a_base_without_a_digest_is_refused_where_one_is_demanded(build):
    with pytest.raises(SpecError, match=r"backends\.torchserve\.image\.base"):
        image(build(), require_digest=True)
