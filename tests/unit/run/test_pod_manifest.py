"""What podman is given to play."""

import copy

import pytest
import yaml

from modelport.errors import SpecError
from modelport.run.pod_manifest import DIGEST, MANIFEST, NAME, plan_pod

CONFIG = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "digits-config", "labels": {"a": "b"}},
    "data": {"a.conf": "x = 1"},
}
DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "digits"},
    "spec": {
        "replicas": 1,
        "template": {
            "metadata": {"labels": {"app.kubernetes.io/instance": "digits"}},
            "spec": {
                "serviceAccountName": "digits",
                "terminationGracePeriodSeconds": 40,
                "topologySpreadConstraints": [{"maxSkew": 1}],
                "containers": [
                    {
                        "name": "server",
                        "image": "digits:1",
                        "ports": [{"name": "rest", "containerPort": 8080}, {"name": "other", "containerPort": 9}],
                        "readinessProbe": {"httpGet": {"path": "/", "port": "rest"}},
                        "volumeMounts": [
                            {"name": "config", "mountPath": "/etc/x"},
                            {"name": "tmp", "mountPath": "/tmp"},
                        ],
                    }
                ],
                "volumes": [
                    {"name": "config", "configMap": {"name": "digits-config"}},
                    {"name": "tmp", "emptyDir": {"medium": "Memory"}},
                ],
            },
        },
    },
}
SERVICE = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "digits"}}


def planned(change=lambda spec: None, ports=None):
    deployment = copy.deepcopy(DEPLOYMENT)
    change(deployment["spec"])
    return plan_pod([CONFIG, SERVICE, deployment], {8080: 18080} if ports is None else ports)


def test_what_is_played():
    manifest = planned()
    config, deployment = yaml.safe_load_all(manifest.text())
    spec = deployment["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert manifest.left_out == ()
    assert manifest.images == ("digits:1",)
    assert config["data"] == CONFIG["data"]
    assert deployment["metadata"]["name"] == manifest.unique == f"digits-{manifest.digest}"
    assert container["ports"][0] == {
        "name": "rest",
        "containerPort": 8080,
        "hostPort": 18080,
        "hostIP": "127.0.0.1",
    }
    assert "hostPort" not in container["ports"][1]
    assert "readinessProbe" not in container
    assert "topologySpreadConstraints" not in spec
    assert spec["terminationGracePeriodSeconds"] == 40


def test_volumes_have_names_that_no_other_pod_has():
    manifest = planned()
    config, deployment = yaml.safe_load_all(manifest.text())
    spec = deployment["spec"]["template"]["spec"]
    names = [volume["name"] for volume in spec["volumes"]]
    assert names == [f"{manifest.unique}-config", f"{manifest.unique}-tmp"]
    assert [mount["name"] for mount in spec["containers"][0]["volumeMounts"]] == names
    assert spec["volumes"][0]["configMap"]["name"] == config["metadata"]["name"] == f"digits-config-{manifest.digest}"


def test_it_is_found_again_with_what_it_was_made_from():
    manifest = planned()
    _, deployment = yaml.safe_load_all(manifest.text())
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert labels[NAME] == "digits"
    assert labels[DIGEST] == manifest.digest
    assert tuple(yaml.safe_load(labels[MANIFEST])) == manifest.documents


def test_the_digest_tells_apart_ports_configuration_and_images():
    manifests = [
        planned(),
        planned(ports={8080: 18081}),
        planned(lambda spec: spec["template"]["spec"].update(terminationGracePeriodSeconds=41)),
        planned().with_image_ids(["1"]),
        planned().with_image_ids(["2"]),
    ]
    assert len({manifest.digest for manifest in manifests}) == len(manifests)
    assert planned().with_image_ids(["1"]).digest == planned().with_image_ids(["1"]).digest


def test_planning_leaves_the_objects_as_they_are():
    before = copy.deepcopy(DEPLOYMENT)
    plan_pod([CONFIG, DEPLOYMENT], {8080: 1}).with_image_ids(["1"]).text()
    assert before == DEPLOYMENT


def test_what_podman_cannot_do_is_said():
    def change(spec):
        spec["replicas"] = 3
        spec["template"]["spec"]["containers"][0]["resources"] = {"limits": {"nvidia.com/gpu": 1}}

    manifest = planned(change)
    assert [sentence.partition(":")[0] for sentence in manifest.left_out] == ["deploy.replicas", "resources.gpu"]
    assert next(iter(manifest.documents[1:]))["spec"]["replicas"] == 1


def test_a_volume_from_an_image_is_refused():
    def change(spec):
        spec["template"]["spec"]["volumes"].append({"name": "model", "image": {"reference": "digits:1-weights"}})

    with pytest.raises(SpecError, match=r"deploy\.weights: volume: podman mounts no volume from an image"):
        planned(change)


def test_several_deployments_are_refused():
    other = {**DEPLOYMENT, "metadata": {"name": "other"}}
    with pytest.raises(SpecError, match=r"podman runs one Deployment, and there are 2 \(digits, other\)"):
        plan_pod([DEPLOYMENT, other], {})
