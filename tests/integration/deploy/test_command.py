"""``modelport deploy --target kubernetes`` from a spec to the objects in a cluster."""

import json
import sys
from pathlib import Path

import pytest
import yaml

from modelport.cli.group import run

EXAMPLE = Path(__file__).parents[3] / "examples" / "digits" / "modelport.yaml"


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    return tmp_path_factory.mktemp("dist")


@pytest.fixture
def deploy(cluster, output, capsys):
    """Run the command; give exit code, stdout and stderr."""

    def call(*more, spec=EXAMPLE):
        code = run(["deploy", str(spec), "-b", "torchserve", "-t", "kubernetes", "-o", str(output), *more])
        out, err = capsys.readouterr()
        return code, out, err

    return call


def test_the_base_is_applied(deploy, cluster):
    code, out, err = deploy("--json")
    assert code == 0, err
    told = json.loads(out)
    assert told["place"] == "namespace ml of context 'staging'"
    assert told["image"] == "digits:1.2.0-torchserve"
    assert "Deployment digits-torchserve: created" in told["applied"]
    assert "no sample was sent, since the service cannot be reached from here" in told["readiness"]
    live = cluster.find("deployments", "digits-torchserve")
    assert live["spec"]["template"]["spec"]["containers"][0]["image"] == "digits:1.2.0-torchserve"
    assert "Deployment digits-torchserve: 1 of 1 pods are ready" in err


def test_a_dry_run_touches_nothing(deploy, cluster):
    code, out, _ = deploy("--dry-run")
    assert code == 0
    assert "+++ Deployment digits-torchserve (wanted)" in out
    assert cluster.names() == ["Namespace ml"]
    code, out, _ = deploy("--dry-run", "--json")
    assert {"name": "Service digits-torchserve", "action": "create"} in json.loads(out)["changes"]


def test_an_overlay(deploy, cluster):
    assert deploy("--overlay", "canary")[0] == 0
    assert cluster.find("deployments", "digits-torchserve-canary") is not None
    assert cluster.find("deployments", "digits-torchserve") is None


def test_another_namespace(deploy, cluster):
    code, _, err = deploy("--namespace", "other")
    assert code == 5
    assert "kubectl create namespace other" in err
    cluster.add({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "other"}})
    assert deploy("--namespace", "other")[0] == 0
    assert cluster.find("deployments", "digits-torchserve", namespace="other") is not None


def test_a_release_that_fails_is_rolled_back(deploy, cluster):
    assert deploy()[0] == 0
    cluster.behaviour["registry.example.com/digits:2"] = "unready"
    code, out, err = deploy("--image", "registry.example.com/digits:2", "--timeout", "1")
    assert code == 5
    assert out == ""
    assert "not ready after 1 s: 0 of 1 pods are ready" in err
    assert "Rolled back:\n    Deployment digits-torchserve: as it was before" in err
    live = cluster.find("deployments", "digits-torchserve")
    assert live["spec"]["template"]["spec"]["containers"][0]["image"] == "digits:1.2.0-torchserve"


def test_without_waiting(deploy, cluster):
    cluster.behaviour["digits:1.2.0-torchserve"] = "unready"
    code, out, _ = deploy("--no-wait")
    assert code == 0
    assert "not waited for; nothing is rolled back" in out


def test_monitoring_needs_its_operator(deploy, cluster, tmp_path):
    document = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    document["deploy"] = {**document.get("deploy", {}), "monitoring": True}
    spec = tmp_path / "modelport.yaml"
    for path in EXAMPLE.parent.iterdir():
        if path.is_file() and path != EXAMPLE:
            (tmp_path / path.name).write_bytes(path.read_bytes())
    spec.write_text(yaml.safe_dump(document), encoding="utf-8")
    code, _, err = deploy(spec=spec)
    assert code == 5
    assert "Install the operator that brings it, or leave out of the spec what asks for it (deploy.monitoring" in err
    assert cluster.names() == ["Namespace ml"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--overlay", "prd"), "Did you mean 'prod'"),
        (("--context", "stagin"), "Did you mean 'staging'"),
        (("--port", "8080"), "--port means nothing for --target kubernetes; it is for compose and podman"),
        (("--image", "Digits:1"), "must be lower-case letters and digits"),
    ],
)
def test_options_that_cannot_be(deploy, cluster, more, message):
    code, _, err = deploy(*more)
    assert code == 2
    assert message in err
    assert cluster.names() == ["Namespace ml"]


def test_options_of_a_cluster_mean_nothing_elsewhere(capsys):
    assert run(["deploy", str(EXAMPLE), "-b", "torchserve", "-t", "podman", "--overlay", "dev"]) == 2
    assert "--overlay means nothing for --target podman; it is for kubernetes" in capsys.readouterr().err


def test_without_the_client(deploy, cluster, monkeypatch):
    monkeypatch.setitem(sys.modules, "kubernetes", None)
    code, _, err = deploy()
    assert code == 3
    assert "pip install 'modelport[kubernetes]'" in err


def test_forbidden(deploy, cluster):
    said = 'User "dev" cannot patch resource "deployments" in API group "apps" in the namespace "ml"'
    cluster.refusals["PATCH", "deployments"] = (403, {"kind": "Status", "message": said})
    code, _, err = deploy()
    assert code == 5
    assert f"cannot apply Deployment digits-torchserve: not allowed: {said}" in err
    assert "Nothing was changed" in err
