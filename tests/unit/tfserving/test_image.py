"""TensorFlow Serving's Dockerfile, the versions that fit, and the service in the container."""

import json
import subprocess

import pytest

from modelport.artifact import Artifact
from modelport.errors import SpecError
from modelport.image import settings_for
from modelport.spec.schema import ModelSpec
from modelport_tfserving.backend import TFServingBackend
from modelport_tfserving.image import METRICS

BACKEND = TFServingBackend()


@pytest.fixture
def artifact_of(tmp_path):
    """An artifact's folder with everything that an image needs, without a model in it."""

    def make(tensorflow="2.19.1", deploy=None, device="cpu", image=None, **options):
        folder = tmp_path / "tfserving"
        version = folder / "models" / "digits" / "7" / "variables"
        version.mkdir(parents=True, exist_ok=True)
        (version / "variables.index").write_bytes(b"12345")
        (version.parent / "saved_model.pb").write_bytes(b"123")
        for name in ("models.config", "batching.config", "monitoring.config"):
            (folder / name).write_text(name)
        spec = ModelSpec.model_validate(
            {
                "modelport": 1,
                "name": "digits",
                "version": "7",
                "model": {"framework": "tensorflow", "source": "m"},
                "environment": {"device": device},
                "serving": {"batching": {}, "timeout_s": 9},
                "backends": {"tfserving": {"image": image or {}, **options}},
                **({"deploy": deploy} if deploy else {}),
            }
        )
        return Artifact(
            backend="tfserving",
            path=folder,
            sha256="a" * 64,
            record={
                "spec": spec.model_dump(mode="json", exclude_none=True),
                "tools": {"tensorflow": tensorflow} if tensorflow else {},
            },
        )

    return make


def image_of(artifact, **settings):
    return BACKEND.image(artifact, settings_for(artifact, **settings))


def dockerfile_of(plan):
    return next(file.content.data.decode() for file in plan.files if file.path == "Dockerfile")


@pytest.mark.parametrize("server", ["official", "embedded"])
def test_dockerfiles(artifact_of, golden, tool, tmp_path, server):
    plan = image_of(artifact_of(image={"server": server}, labels={"stable": 7}))
    text = dockerfile_of(plan)
    golden(f"tfserving/Dockerfile.{server}", text)
    file = tmp_path / "Dockerfile"
    file.write_text(text)
    done = subprocess.run([tool("hadolint"), file], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_context_holds_what_the_dockerfile_copies_and_nothing_else(artifact_of):
    paths = [file.path for file in image_of(artifact_of()).files]
    assert paths == [
        "Dockerfile",
        ".dockerignore",
        "model/models/digits/7/saved_model.pb",
        "model/models/digits/7/variables/variables.index",
        "config/models.config",
        "config/batching.config",
        "config/monitoring.config",
        "programs/init.sh",
        "programs/ready.sh",
    ]
    embedded = image_of(artifact_of(image={"server": "embedded"}))
    needed = next(file for file in embedded.files if file.path == "requirements.txt").content.data.decode()
    assert 'tensorflow-cpu==2.19.1; platform_machine == "x86_64"' in needed
    assert "programs/modelport_tfserving/server/__main__.py" in {file.path for file in embedded.files}


@pytest.mark.parametrize(
    ("image", "base"),
    [
        ({}, "docker.io/tensorflow/serving:2.19.1"),
        ({"version": "2.20.0"}, "docker.io/tensorflow/serving:2.20.0"),
        ({"server": "embedded"}, "docker.io/library/python:3.11-slim"),
        ({"base": "my/serving:2.19.0"}, "my/serving:2.19.0"),
    ],
)
def test_bases(artifact_of, image, base):
    plan = image_of(artifact_of(image=image))
    assert plan.bases == (base,)
    assert plan.warnings == ()


def test_a_gpu_takes_the_servers_with_cuda(artifact_of):
    assert image_of(artifact_of(device="cuda")).bases == ("docker.io/tensorflow/serving:2.19.1-gpu",)
    plan = image_of(artifact_of(device="cuda", image={"server": "embedded"}))
    assert "tensorflow[and-cuda]==2.19.1" in dockerfile_of(plan) + "".join(
        file.content.data.decode() for file in plan.files if file.path == "requirements.txt"
    )


@pytest.mark.parametrize(
    "image", [{"version": "2.18.0"}, {"base": "x/serving:2.18.1"}, {"server": "embedded", "version": "2.9.0"}]
)
def test_an_older_server_is_refused_with_the_ways_out(artifact_of, image):
    with pytest.raises(SpecError, match=r"written with TensorFlow 2\.19\.1.*image\.version: 2\.19\.1.*embedded"):
        image_of(artifact_of(image=image))


def test_unknown_versions(artifact_of):
    with pytest.raises(SpecError, match="does not tell which TensorFlow wrote the model"):
        image_of(artifact_of(tensorflow=None))
    assert image_of(artifact_of(tensorflow=None, image={"version": "2.19.1"})).bases[0].endswith(":2.19.1")
    (warning,) = image_of(artifact_of(image={"base": "my/own:latest"})).warnings
    assert "does not tell its server's version" in warning


def test_bases_by_digest_where_they_are_demanded(artifact_of):
    artifact = artifact_of()
    artifact.record["spec"]["image"] = {"require_digest": True}
    with pytest.raises(SpecError, match=r"backends\.tfserving\.image\.base"):
        image_of(artifact)
    base = f"docker.io/tensorflow/serving:2.19.1@sha256:{'0' * 64}"
    artifact.record["spec"]["backends"]["tfserving"]["image"] = {"base": base}
    assert image_of(artifact).bases == (base,)


def test_platforms_that_nobody_publishes_are_warned_of(artifact_of):
    (warning,) = image_of(artifact_of(), platforms=("linux/amd64", "linux/arm64")).warnings
    assert "linux/arm64" in warning
    assert "server: embedded" in warning


def test_weights_of_their_own_leave_the_image(artifact_of):
    artifact = artifact_of(deploy={"weights": "volume"})
    assert not [file.path for file in image_of(artifact).files if file.path.startswith("model/")]
    assert "/models/digits" not in dockerfile_of(image_of(artifact)).partition("CMD")[0].replace(
        "/v1/models/digits", ""
    )
    assert [file.path for file in BACKEND.weights(artifact)] == ["7/saved_model.pb", "7/variables/variables.index"]


@pytest.mark.parametrize("server", ["official", "embedded"])
def test_the_service_is_what_the_image_runs(artifact_of, server):
    artifact = artifact_of(image={"server": server}, base_path="/srv/m")
    service = BACKEND.container(artifact, "digits:7")
    lines = dockerfile_of(image_of(artifact)).splitlines()
    said = {line.split()[0]: line.partition(" ")[2] for line in lines}
    assert list(service.command) == json.loads(said["ENTRYPOINT"]) + json.loads(said["CMD"])
    assert list(service.probe) == json.loads(said["HEALTHCHECK"].partition("CMD ")[2])
    assert said["EXPOSE"] == " ".join(str(port.number) for port in service.ports)
    assert (service.model_folder, service.model_bytes) == ("/srv/m/digits", 8)
    assert "--rest_api_timeout_in_ms=9000" in service.command
    assert "--batching_parameters_file=/etc/modelport/batching.config" in service.command
    assert {file.path for file in service.files} == {"models.config", "batching.config", "monitoring.config"}
    assert service.readiness.path == "/v1/models/digits/versions/7/metadata"


@pytest.mark.parametrize("base_path", ["/tmp/models", "/models/../etc", "/proc"])
def test_folders_that_a_container_hides_are_refused(artifact_of, base_path):
    with pytest.raises(SpecError, match=r"backends\.tfserving\.base_path"):
        image_of(artifact_of(base_path=base_path))


def test_queries_take_a_selector_of_any_length():
    for query in (METRICS.requests, METRICS.errors, METRICS.latency_s, METRICS.saturation):
        for selector in ("", 'pod="a"'):
            assert "{," not in query.replace("$selector", selector)
        assert "$window" in query
