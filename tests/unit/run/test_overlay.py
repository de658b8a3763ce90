"""Kustomize bases and overlays, resolved in memory."""

import json
import subprocess

import pytest
import yaml

from modelport.errors import SpecError
from modelport.run.overlay import merge, resolve_objects

DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "digits", "labels": {"a": "1"}},
    "spec": {
        "replicas": 2,
        "template": {
            "metadata": {"labels": {"a": "1"}},
            "spec": {
                "containers": [{"name": "server", "image": "team/digits:1", "env": [{"name": "A", "value": "1"}]}],
                "topologySpreadConstraints": [
                    {"topologyKey": "zone", "maxSkew": 1, "whenUnsatisfiable": "ScheduleAnyway"}
                ],
            },
        },
    },
}
BUDGET = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "digits"}}
HEAD = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}


def files(**kustomizations):
    """A base with an overlay called dev; more files by path, with ``_`` for ``/`` and no ending."""
    found = {
        "base/kustomization.yaml": {**HEAD, "resources": ["all.yaml"]},
        "overlays/dev/kustomization.yaml": {**HEAD, "resources": ["../../base"], **kustomizations.pop("dev", {})},
        **{f"overlays/dev/{name}.yaml": content for name, content in kustomizations.items()},
    }
    contents = {path: yaml.safe_dump(content).encode() for path, content in found.items()}
    return {**contents, "base/all.yaml": yaml.safe_dump_all([DEPLOYMENT, BUDGET]).encode()}


def patched(patch, **settings):
    return resolve_objects(files(dev={"patches": [{"path": "patch.yaml"}], **settings}, patch=patch), "dev")


def change(**spec):
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "digits"}, "spec": spec}


def test_the_base_is_what_its_files_hold():
    assert resolve_objects(files(), None) == [DEPLOYMENT, BUDGET]


def test_a_patch_is_merged_into_its_target():
    container = {"name": "server", "env": [{"name": "B", "value": "2"}]}
    objects = patched(change(replicas=1, template={"spec": {"containers": [container]}}))
    assert objects[0]["spec"]["replicas"] == 1
    server = objects[0]["spec"]["template"]["spec"]["containers"][0]
    assert server["image"] == "team/digits:1"
    assert {entry["name"]: entry["value"] for entry in server["env"]} == {"A": "1", "B": "2"}
    assert objects[1] == BUDGET


def test_a_patch_deletes_its_target():
    assert patched({**BUDGET, "$patch": "delete"}) == [DEPLOYMENT]


def test_a_patch_replaces_a_list():
    spread = [{"$patch": "replace"}, {"topologyKey": "host", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"}]
    objects = patched(change(template={"spec": {"topologySpreadConstraints": spread}}))
    assert objects[0]["spec"]["template"]["spec"]["topologySpreadConstraints"] == spread[1:]


def test_none_removes_a_field():
    assert "replicas" not in patched(change(replicas=None))[0]["spec"]


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ({"newTag": "2"}, "team/digits:2"),
        ({"newName": "other/digits"}, "other/digits:1"),
        ({"digest": "sha256:" + "0" * 64}, "team/digits@sha256:" + "0" * 64),
        ({"newName": "localhost:5000/digits", "newTag": "3"}, "localhost:5000/digits:3"),
    ],
)
def test_images_replicas_namespace_and_labels(image, expected):
    settings = {
        "images": [{"name": "team/digits", **image}],
        "replicas": [{"name": "digits", "count": 7}],
        "namespace": "ml",
        "labels": [{"pairs": {"team": "a"}, "includeTemplates": True}],
    }
    deployment, budget = resolve_objects(files(dev=settings), "dev")
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == expected
    assert deployment["spec"]["replicas"] == 7
    assert deployment["metadata"] == {"name": "digits", "namespace": "ml", "labels": {"a": "1", "team": "a"}}
    assert deployment["spec"]["template"]["metadata"]["labels"] == {"a": "1", "team": "a"}
    assert budget["metadata"]["namespace"] == "ml"


def test_an_overlay_that_is_misspelt():
    with pytest.raises(SpecError, match=r"--overlay dve: there is none; there are dev\. Did you mean 'dev'"):
        resolve_objects(files(), "dve")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"namePrefix": "x-"}, "namePrefix: not understood here; apply it with kubectl apply -k"),
        ({"patches": [{"path": "absent.yaml"}]}, "absent.yaml: named by a kustomization, and not there"),
        ({"patches": [{"patch": "[{op: remove, path: /spec}]", "target": {"kind": "Deployment"}}]}, "a JSON patch"),
        ({"labels": [{"pairs": {"a": "b"}, "includeSelectors": True}]}, "includeSelectors are not understood"),
        (
            {"patches": [{"patch": "{kind: Deployment, apiVersion: apps/v1, metadata: {name: other}}"}]},
            "which is not there",
        ),
    ],
)
def test_what_is_not_understood_is_refused(settings, message):
    with pytest.raises(SpecError, match=message):
        resolve_objects(files(dev=settings), "dev")


def test_lists_without_keys_are_replaced():
    assert merge({"args": ["a", "b"]}, {"args": ["c"]}) == {"args": ["c"]}


def test_an_entry_of_a_list_is_deleted():
    base = {"volumes": [{"name": "a"}, {"name": "b"}]}
    assert merge(base, {"volumes": [{"name": "a", "$patch": "delete"}]}) == {"volumes": [{"name": "b"}]}


def test_kubectl_finds_the_same(tool, tmp_path):
    kubectl = tool("kubectl")
    container = {"name": "server", "env": [{"name": "B", "value": "2"}]}
    patch = change(template={"spec": {"containers": [container]}})
    settings = {
        "patches": [{"path": "patch.yaml"}],
        "images": [{"name": "team/digits", "newTag": "2"}],
        "replicas": [{"name": "digits", "count": 7}],
    }
    contents = files(dev=settings, patch=patch)
    for path, content in contents.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    done = subprocess.run(
        [kubectl, "kustomize", str(tmp_path / "overlays" / "dev")], check=True, capture_output=True, text=True
    )
    assert ordered(yaml.safe_load_all(done.stdout)) == ordered(resolve_objects(contents, "dev"))


def ordered(objects):
    """Objects and variables have no order."""
    found = []
    for each in objects:
        for container in each.get("spec", {}).get("template", {}).get("spec", {}).get("containers", ()):
            container["env"].sort(key=lambda entry: entry["name"])
        found.append(json.dumps(each, sort_keys=True))
    return sorted(found)
