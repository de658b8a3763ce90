"""``modelport manifests``: from a spec to files in a folder, and one clear error for each thing that cannot be."""

import json
import re
import shutil
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from modelport.artifact import Artifact
from modelport.cli.group import run
from modelport.cli.manifests import CHECKS
from modelport.errors import SpecError
from modelport.release import plan_release, read_images, require_containers

ROOT = Path(__file__).parents[3]
DIGEST = "sha256:" + "0123456789abcdef" * 4
BACKENDS = [SimpleNamespace(name="bentoml"), SimpleNamespace(name="tfserving")]

with_checks = pytest.mark.skipif(
    not entry_points(group=CHECKS), reason="the installed metadata is older than the checks; install modelport anew"
)


class Contained:
    """A backend as far as describing its container goes."""

    name = "bentoml"

    def __init__(self, service):
        self.service = service
        self.asked = []

    def image(self, artifact, settings):
        raise AssertionError("nobody builds an image here")

    def container(self, artifact, reference):
        self.asked.append(reference)
        return self.service


@pytest.fixture
def spec_file(tmp_path):
    folder = tmp_path / "digits"
    shutil.copytree(ROOT / "examples" / "digits", folder, ignore=shutil.ignore_patterns("dist", "__pycache__"))
    return folder / "modelport.yaml"


@pytest.fixture
def artifact(make_spec, tmp_path):
    record = {"spec": make_spec().model_dump(mode="json", exclude_none=True)}
    return Artifact(backend="bentoml", path=tmp_path, sha256="0" * 64, record=record)


def manifests(spec, output, *more, target="compose"):
    return run(["manifests", str(spec), "-b", "torchserve", "-t", target, "-o", str(output), *more])


def test_a_spec_becomes_files(spec_file, tmp_path, capsys):
    out = tmp_path / "out"
    assert manifests(spec_file, out) == 0
    printed = capsys.readouterr().out.splitlines()
    assert str(out / "compose.yaml") in printed
    text = (out / "compose.yaml").read_text()
    assert f"from {spec_file}: digits 1.2.0." in text
    assert yaml.safe_load(text)["services"]["digits-torchserve"]["image"] == "digits:1.2.0-torchserve"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["digits", "out"]

    assert manifests(spec_file, out) == 0
    assert "files are up to date" in capsys.readouterr().out

    with (out / "compose.yaml").open("a") as file:
        file.write("# mine\n")
    assert manifests(spec_file, out, "--image", f"digits@{DIGEST}") == 2
    assert "compose.yaml: changed since modelport wrote it" in capsys.readouterr().err
    assert manifests(spec_file, out, "--image", f"digits@{DIGEST}", "--force") == 0
    assert f"digits@{DIGEST}" in (out / "compose.yaml").read_text()


def test_kubernetes_with_namespace_and_digest_for_programs(spec_file, tmp_path, capsys):
    image = f"registry.example.com:5000/team/digits:1.2.0@{DIGEST}"
    more = ("--namespace", "ml", "--image", image, "--json")
    assert manifests(spec_file, tmp_path / "out", *more, target="kubernetes") == 0
    printed = capsys.readouterr()
    answer = json.loads(printed.out)
    assert answer["images"] == {"torchserve": image}
    assert "base/deployment.yaml" in answer["written"]
    assert answer["removed"] == []
    assert all(f"warning: kubernetes: {warning}" in printed.err for warning in answer["warnings"])
    found = yaml.safe_load((tmp_path / "out" / "base" / "deployment.yaml").read_text())
    assert found["metadata"]["namespace"] == "ml"
    assert found["spec"]["template"]["spec"]["containers"][0]["image"] == image


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["-t", "kubernets"], 2, "no target is called 'kubernets'; installed: .*Did you mean 'kubernetes'"),
        (["-t", "compose", "-b", "bento"], 2, "no backend is called 'bento'"),
        (["-t", "compose", "--image", "Digits:1"], 2, "--image Digits:1"),
        (["-t", "kubernetes", "--namespace", "My_Space"], 2, "--namespace My_Space: must be at most 63 lower-case"),
        ([], 2, "Missing option '-t' / '--target'"),
    ],
)
def test_a_wrong_word_is_told_of(spec_file, tmp_path, capsys, arguments, code, message):
    backend = [] if "-b" in arguments else ["-b", "torchserve"]
    assert run(["manifests", str(spec_file), "-o", str(tmp_path / "out"), *backend, *arguments]) == code
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_a_folder_is_no_spec(tmp_path, capsys):
    assert manifests(tmp_path, tmp_path / "out") == 2
    assert "a folder; name the spec file in it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["bentoml=digits:1"], {"bentoml": "digits:1"}),
        (["bentoml=a:1", f"tfserving=b@{DIGEST}"], {"bentoml": "a:1", "tfserving": f"b@{DIGEST}"}),
        ([f"tfserving=localhost:5000/b:2@{DIGEST}"], {"tfserving": f"localhost:5000/b:2@{DIGEST}"}),
    ],
)
def test_images_by_backend(given, expected):
    assert read_images(given, BACKENDS) == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["digits:1"], "which of bentoml, tfserving is in it"),
        (["torchserve=digits:1"], "'torchserve' is not among the backends asked for: bentoml, tfserving"),
        (["bentoml=a:1", "bentoml=b:1"], "bentoml has the image a:1 already"),
        (["bentoml=digits"], "--image bentoml=digits"),
        (["bentoml=Digits:1"], "must be lower-case"),
        (["bentoml=digits@sha256:abc"], "must be sha256: and 64 digits"),
        (["bentoml="], "--image bentoml="),
    ],
)
def test_images_that_are_none(given, message):
    with pytest.raises(SpecError, match=message):
        read_images(given, BACKENDS)


def test_a_backend_without_containers_is_told_of():
    with pytest.raises(SpecError, match="tfserving: this backend describes no container"):
        require_containers([Contained(None), SimpleNamespace(name="tfserving")])


def test_a_release_has_the_image_that_containerize_names_unless_told(make_spec, services, artifact):
    backend = Contained(services["bentoml"])
    spec = make_spec()
    release = plan_release(spec, Path("a/modelport.yaml"), [(backend, artifact)], {}, namespace="ml")
    plan_release(spec, Path("a/modelport.yaml"), [(backend, artifact)], {"bentoml": "other:1"})
    assert backend.asked == ["digits:1.2.0-bentoml", "other:1"]
    assert (release.spec.deploy.namespace, release.spec_path) == ("ml", "a/modelport.yaml")
    assert release.services == (services["bentoml"],)


@pytest.mark.parametrize("image", ["registry.example.com:5000/digits:1", f"digits:1@{DIGEST}", f"digits@{DIGEST}"])
def test_weights_apart_are_found_by_a_tag(make_spec, services, artifact, image):
    backend = Contained(replace(services["bentoml"], image=image))
    spec = make_spec(deploy={"weights": "init_container"})
    if ":1" in image:
        assert plan_release(spec, Path("modelport.yaml"), [(backend, artifact)], {"bentoml": image}).services
        return
    with pytest.raises(SpecError, match=r"--image digits@sha256.*: has no tag, and deploy\.weights: init_container"):
        plan_release(spec, Path("modelport.yaml"), [(backend, artifact)], {"bentoml": image})


@with_checks
def test_own_files_have_no_mistakes(spec_file, tmp_path, capsys):
    assert manifests(spec_file, tmp_path / "out", target="kubernetes") == 0
    capsys.readouterr()
    assert run(["manifests", "check", str(tmp_path / "out")]) == 0
    assert "nothing found" in capsys.readouterr().out


@with_checks
def test_a_mistake_has_its_place_and_ends_with_1(tmp_path, capsys):
    (tmp_path / "a.yaml").write_text("apiVersion: v1\nkind: Service\nmetadata: [\n")
    assert run(["manifests", "check", str(tmp_path)]) == 1
    printed = capsys.readouterr()
    assert "a.yaml:" in printed.out
    assert "1 mistake" in printed.err
    assert run(["manifests", "check", str(tmp_path), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)[0]["file"] == "a.yaml"


def test_a_folder_that_is_not_there_is_not_checked(tmp_path, capsys):
    assert run(["manifests", "check", str(tmp_path / "gone")]) == 2
    assert "no such folder" in capsys.readouterr().err
