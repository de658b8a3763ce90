"""What an image is called, how it is marked, and how large it may be."""

import json
from pathlib import Path

import pytest

from modelport.artifact import Artifact
from modelport.errors import SpecError
from modelport.image import (
    check_reference,
    describe_size,
    git_revision,
    parse_quantity,
    plan_weights,
    require_digests,
    settings_for,
    spec_digest,
)
from modelport.plan import Generated, ImagePlan, PlannedFile


def artifact_of(name="Digits", version="1.2.0+cu1", **spec):
    return Artifact(
        backend="toy",
        path=Path("/nowhere"),
        sha256="a" * 64,
        record={"spec": {"name": name, "version": version, **spec}},
    )


@pytest.mark.parametrize(
    ("image", "tag", "reference"),
    [
        ({}, None, "digits:1.2.0-cu1-toy"),
        (
            {"repository": "registry.example.com:5000/team/digits"},
            None,
            "registry.example.com:5000/team/digits:1.2.0-cu1-toy",
        ),
        ({"repository": "team/digits"}, ":stable", "team/digits:stable"),
        ({}, "other/name:V2", "other/name:V2"),
        ({}, "localhost:5000/name", "localhost:5000/name:1.2.0-cu1-toy"),
    ],
)
def test_references(image, tag, reference):
    assert settings_for(artifact_of(image=image), tag=tag).reference == reference


@pytest.mark.parametrize(
    ("tag", "words"),
    [
        ("Team/Digits:1", "'Team' in the image's name must be lower-case .* write team/digits:1"),
        ("digits:1.0+cu1", r"the tag '1.0\+cu1' must be"),
        ("digits:", "the tag '' must be"),
        (f"digits:{'x' * 129}", "at most 128"),
        ("digits@sha256:" + "0" * 64, "a digest is what a registry answers with"),
        ("-digits:1", "'-digits' in the image's name"),
        ("a//b:1", "'' in the image's name"),
        ("exa_mple.com:5000/a:1", "no registry's host"),
        ("-x.example.com/a:1", "no registry's host"),
        ("digits:1 2", "the tag '1 2'"),
    ],
)
def test_references_that_a_registry_would_refuse(tag, words):
    with pytest.raises(SpecError, match=f"--tag .*{words}"):
        settings_for(artifact_of(), tag=tag)


def test_a_registry_may_have_capitals_and_a_port():
    assert check_reference("Registry.Example.com:5000/a__b/c-d.e:Tag", "x")


def test_a_name_that_no_registry_takes_is_said():
    with pytest.raises(SpecError, match=r"set image\.repository or --tag.*'a\._b' in the image's name"):
        settings_for(artifact_of(name="a._b"))


def test_labels_tell_where_an_image_comes_from():
    settings = settings_for(
        artifact_of(description="What", image={"labels": {"team": "x"}, "max_size": "1.5Gi", "require_digest": True}),
        revision="f" * 40,
    )
    assert settings.labels["org.opencontainers.image.revision"] == "f" * 40
    assert settings.labels["org.opencontainers.image.version"] == "1.2.0+cu1"
    assert settings.labels["io.modelport.artifact.sha256"] == "a" * 64
    assert settings.labels["team"] == "x"
    assert (settings.max_size, settings.require_digest) == (3 * 2**29, True)
    assert "org.opencontainers.image.revision" not in settings_for(artifact_of()).labels


def test_the_specs_digest_is_that_of_its_meaning():
    assert spec_digest({"a": 1, "b": {"c": 2, "d": 3}}) == spec_digest({"b": {"d": 3, "c": 2}, "a": 1})
    assert spec_digest({"a": 1}) != spec_digest({"a": 2})


@pytest.mark.parametrize(
    ("text", "size"),
    [("1.5Gi", 3 * 2**29), ("500M", 500_000_000), ("0.1Ki", 103), ("17", 17), ("1500m", 2), ("2k", 2000)],
)
def test_quantities(text, size):
    assert parse_quantity(text) == size


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (1020 * 2**20, "1020 MiB"), (1402 * 2**20, "1.37 GiB")],
)
def test_sizes_for_people(size, text):
    assert describe_size(size) == text


def test_bases_without_a_digest_are_refused_where_asked():
    require_digests(("scratch", f"a:1@sha256:{'0' * 64}"), "key")
    with pytest.raises(SpecError, match=r"docker.io/a:1 .* by digest with key, such as docker.io/a:1@sha"):
        require_digests(("docker.io/a:1",), "key")


def test_the_revision_is_read_from_git(tmp_path):
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    git = tmp_path / ".git"
    (git / "refs" / "heads").mkdir(parents=True)
    assert git_revision(inner) in {"", git_revision(tmp_path.parent)}
    (git / "HEAD").write_text("1" * 40 + "\n")
    assert git_revision(inner) == "1" * 40
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    assert git_revision(inner) == ""  # a repository without a commit
    (git / "packed-refs").write_text(f"# pack-refs\n{'2' * 40} refs/heads/main\n{'3' * 40} refs/heads/other\n")
    assert git_revision(inner) == "2" * 40
    (git / "refs" / "heads" / "main").write_text("4" * 40 + "\n")
    assert git_revision(inner) == "4" * 40


class Toy:
    name = "toy"

    def weights(self, artifact):
        return (PlannedFile(path="w/1.bin", content=Generated(data=b"1", origin="test")),)


class Closed:
    name = "closed"


def server_image():
    return ImagePlan(backend="toy", reference="digits:1", bases=("builder:1", "base:1"), files=(), labels={"a": "b"})


@pytest.mark.parametrize(
    ("how", "dockerfile", "file"),
    [
        ("volume", 'FROM scratch\nCOPY ["weights/", "/"]\n', "weights/w/1.bin"),
        ("init_container", 'FROM base:1\nCOPY ["weights/", "/"]\nUSER 10001:0\n', "weights/model/w/1.bin"),
    ],
)
def test_weights_of_their_own(how, dockerfile, file):
    artifact = artifact_of(deploy={"weights": how})
    (plan,) = plan_weights(Toy(), artifact, server_image())
    files = {file.path: file.content.data for file in plan.files}
    assert plan.reference == "digits:1-weights"
    assert files["Dockerfile"].decode() == dockerfile
    assert files[file] == b"1"
    assert plan.labels == {"a": "b"}
    with pytest.raises(SpecError, match="closed's image always holds the model's files"):
        plan_weights(Closed(), artifact, server_image())
    assert plan_weights(Closed(), artifact_of(), server_image()) == ()


def test_a_dry_run_needs_no_engine(tmp_path, capsys, monkeypatch):
    from modelport.cli.group import run

    monkeypatch.setenv("PATH", "")
    assert run(["containerize", str(tmp_path), "--dry-run"]) == 2  # no artifact
    assert "no artifact of modelport stands there" in capsys.readouterr().err
    assert run(["containerize", str(tmp_path), "--engine", "podman"]) == 3
    assert "podman is not installed here" in capsys.readouterr().err
    (tmp_path / "artifact.json").write_text(json.dumps({"backend": "tfserving", "sha256": "0"}))
    assert run(["containerize", str(tmp_path), "-b", "bentoml", "--dry-run"]) == 2
    assert "an artifact of tfserving" in capsys.readouterr().err
