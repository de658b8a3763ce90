"""The image of a Bento, planned as data."""

from pathlib import Path

import jinja2
import pytest

from modelport.artifact import Artifact, digest_tree, write_files
from modelport.backend import Containerized, ImageSettings
from modelport.errors import SpecError
from modelport.image import Detachable
from modelport.plan import Copied
from modelport_bentoml.backend import BentoMLBackend
from modelport_bentoml.image import render_template

BACKEND = BentoMLBackend()
DIGEST = "registry.example/python@sha256:" + "0" * 64
BENTO = "home/bentos/doubler/1.2.0"
LGBM = {"model": {"framework": "lightgbm", "source": "net.onnx"}}


def dockerfile(model, **image):
    """The Dockerfile as it will stand in the Bento: the template that BentoML renders, its way."""
    made = BACKEND.plan(model, BACKEND.parse_options({"image": image}))
    text = next(f.content.data for f in made.files if f.path == "project/Dockerfile.template").decode()
    return jinja2.Environment(trim_blocks=True, lstrip_blocks=True).from_string(text).render()


@pytest.fixture
def artifact(make_model, tmp_path):
    """An artifact as far as it can be had without BentoML: what is converted is written by hand."""

    def make(spec=None):
        model = make_model(spec=spec)
        options = BACKEND.parse_options(model.spec.backends.get("bentoml", {}))
        made = BACKEND.plan(model, options)
        root = tmp_path / "artifact"
        write_files(made.files, root)
        file = root / BENTO / "env/docker/Dockerfile"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dockerfile(model, **options.image.model_dump(exclude_unset=True)))
        record = {
            "spec": model.spec.model_dump(mode="json", exclude_none=True),
            "files": digest_tree(root),
            "tools": {},
        }
        return Artifact(backend="bentoml", path=root, sha256="0" * 64, record=record)

    return make


def test_the_dockerfile(make_model, golden, tool, tmp_path):
    text = dockerfile(make_model())
    golden("bentoml/Dockerfile", text)
    lint(tool, tmp_path, text)


def test_the_dockerfile_of_an_image_that_asks_for_everything(make_model, golden, tool, tmp_path):
    model = make_model(
        spec={"deploy": {"weights": "volume"}, "environment": {"python": "3.12"}},
        requirements=("numpy==2.0.0", "torch==2.8.0", "torchvision"),
    )
    text = dockerfile(
        model,
        base="registry.example/python:3.12",
        system_packages=["curl"],
        build_packages=["g++", "make"],
        pytorch_index="https://mirror.example/cpu",
    )
    golden("bentoml/Dockerfile_full", text)
    lint(tool, tmp_path, text)


def lint(tool, folder, text):
    from modelport.run.tool import run_tool

    (folder / "Dockerfile").write_text(text)
    run_tool((tool("hadolint"), "Dockerfile"), cwd=folder, timeout_s=60, what="hadolint")


def test_a_gpu_keeps_its_libraries(make_model):
    text = dockerfile(make_model(spec={"environment": {"device": "cuda"}}, requirements=("torch==2.8.0",)))
    assert "PYTORCH_INDEX" not in text
    assert "nvidia" not in text


@pytest.mark.parametrize(
    ("spec", "image", "installed"),
    [
        ({}, {}, None),
        (LGBM, {}, "libgomp1"),
        (LGBM, {"system_packages": ["curl", "libgomp1"]}, "libgomp1 curl"),
        (LGBM, {"base": "debian:12", "system_packages": ["curl"]}, "curl"),
    ],
)
def test_images_get_the_openmp_that_lightgbm_leans_on(make_model, spec, image, installed):
    final = dockerfile(make_model(spec=spec), **image).rpartition("\nFROM ")[2]
    line = next((line for line in final.splitlines() if line.startswith("RUN apt-get")), None)
    expected = installed and f"RUN apt-get update && apt-get install --yes --no-install-recommends {installed} \\"
    assert line == expected


def test_nothing_in_a_template_is_replaced():
    text = "RUN echo {{ x }} {% if %} {# y #}\n"
    assert jinja2.Environment(trim_blocks=True).from_string(render_template(text)).render() == text


def test_bentoml_builds_it_from_the_bento(artifact):
    built = artifact()
    labels = {"b": "2, and: more", "a": "1"}
    settings = ImageSettings(reference="x:1", labels=labels, platforms=("linux/arm64",), max_size=10)
    plan = BACKEND.image(built, settings)
    assert isinstance(BACKEND, Containerized)
    assert plan.tool[-2:] == ("--opt", "platform={platform}")
    assert plan.tool[plan.tool.index("containerize") + 1 :][:5] == (
        "doubler:1.2.0", "--backend", "{engine}", "--image-tag", "{reference}",
    )  # fmt: skip
    assert [part for part in plan.tool if part.startswith("label=")] == ["label=a=1", "label=b=2, and: more"]
    assert (plan.reference, plan.labels, plan.platforms, plan.max_size) == ("x:1", labels, ("linux/arm64",), 10)
    files = {file.path: file.content for file in plan.files}
    assert files["Dockerfile"].data == (built.path / BENTO / "env/docker/Dockerfile").read_bytes()
    assert isinstance(files[f"{BENTO}/src/model/model.weights/net.onnx"], Copied)
    assert not any(path.startswith("project/") for path in files)


def test_a_base_without_a_digest_is_refused_where_one_is_demanded(artifact):
    settings = ImageSettings(reference="x:1", require_digest=True)
    with pytest.raises(SpecError, match=r"backends\.bentoml\.image\.base"):
        BACKEND.image(artifact(), settings)
    pinned = artifact({"backends": {"bentoml": {"image": {"base": DIGEST}}}})
    assert BACKEND.image(pinned, settings).bases == (DIGEST,)


def test_the_container(artifact):
    built = artifact()
    plan = BACKEND.container(built, "x:1")
    assert plan.image == "x:1"
    assert plan.endpoints == {"rest": "http://127.0.0.1:3000"}
    assert plan.readiness.port in {port.name for port in plan.ports}
    assert plan.writable == ("/tmp",)
    assert plan.model_bytes == len(b"weights")
    assert plan.model_folder == "/opt/modelport/bento/src/model/model.weights"
    # What the plan says is what the image runs, and asks.
    text = (built.path / BENTO / "env/docker/Dockerfile").read_text()
    for words in (plan.command, plan.probe):
        assert all(f'"{word}"' in text for word in words)


def test_weights_can_come_from_an_image_of_their_own(artifact):
    built = artifact({"deploy": {"weights": "volume"}})
    assert isinstance(BACKEND, Detachable)
    (file,) = BACKEND.weights(built)
    assert file.path == "net.onnx"
    assert Path(file.content.path).read_bytes() == b"weights"
    folder = BACKEND.container(built, "x:1").model_folder
    assert folder not in (built.path / BENTO / "env/docker/Dockerfile").read_text()
    assert folder in (artifact().path / BENTO / "env/docker/Dockerfile").read_text()
