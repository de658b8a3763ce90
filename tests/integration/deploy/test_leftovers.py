"""Configuration of earlier versions in a cluster goes when nothing names it any more."""

import json
from pathlib import Path

import pytest

from modelport.errors import ServerFailed
from modelport.run.cluster_rollout import ClusterRollout
from modelport.run.kubeconfig import connect_cluster
from modelport.run.rollout import run_rollout

LABELS = {"app.kubernetes.io/managed-by": "modelport", "app.kubernetes.io/instance": "digits-torchserve"}


def config_map(name, labels=LABELS):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels}, "data": {"a": name}}


def mounting(config):
    return {
        "containers": [],
        "volumes": [{"name": "config", "projected": {"sources": [{"configMap": {"name": config}}]}}],
    }


def release(number, image="digits:1"):
    name = f"digits-torchserve-config-{number}"
    container = {"name": "server", "image": image, "envFrom": [{"configMapRef": {"name": name}}]}
    template = {"metadata": {"labels": {"app": "digits"}}, "spec": {"containers": [container]}}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "digits-torchserve", "labels": LABELS},
        "spec": {"selector": {"matchLabels": {"app": "digits"}}, "template": template},
    }
    return [config_map(name), deployment]


def deploy(objects, timeout_s=5.0):
    rollout = ClusterRollout(cluster=connect_cluster(None), namespace="ml", objects=objects, poll_s=0.01)
    notes = []
    outcome = run_rollout(rollout, wait=True, timeout_s=timeout_s, ask=lambda urls: "yes", note=notes.append)
    return outcome, "\n".join(notes)


def maps(cluster):
    return {name.removeprefix("ConfigMap ") for name in cluster.names() if name.startswith("ConfigMap ")}


def test_only_what_nothing_names_goes(cluster):
    deploy(release(1))
    kept = {
        "in-a-revision": LABELS,
        "in-a-pod-of-somebody": LABELS,
        "of-another-service": {**LABELS, "app.kubernetes.io/instance": "other"},
        "of-somebody-else": {"app.kubernetes.io/instance": "digits-torchserve"},
    }
    for name, labels in kept.items():
        cluster.add(config_map(name, labels))
    replica_set = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "digits-torchserve-6f"}}
    cluster.add({**replica_set, "spec": {"replicas": 0, "template": {"spec": mounting("in-a-revision")}}})
    cluster.add(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "shell"}, "spec": mounting("in-a-pod-of-somebody")}
    )
    outcome, _ = deploy(release(2))
    assert outcome.applied[-1] == "ConfigMap digits-torchserve-config-1: removed, nothing names it any more"
    assert maps(cluster) == {*kept, "digits-torchserve-config-2"}
    # The same again: nothing to do.
    assert deploy(release(2))[0].applied[-1] == "Deployment digits-torchserve: unchanged"


def test_a_release_that_fails_removes_none(cluster):
    deploy(release(1))
    cluster.behaviour["bad"] = "unready"
    with pytest.raises(ServerFailed):
        deploy(release(2, "bad"), timeout_s=0.1)
    assert maps(cluster) == {"digits-torchserve-config-1"}


def test_what_came_while_it_was_rolled_out_stays(cluster):
    deploy(release(1))

    def another_begins(method, path, query):
        if method == "PATCH" and "/deployments/" in path and "dryRun" not in query:
            cluster.on_request = None
            cluster.add(config_map("of-another-deployment"))

    cluster.on_request = another_begins
    deploy(release(2))
    assert maps(cluster) == {"digits-torchserve-config-2", "of-another-deployment"}


@pytest.mark.parametrize("refused", [("LIST", "configmaps"), ("LIST", "replicasets"), ("DELETE", "configmaps")])
def test_who_may_deploy_need_not_be_allowed_to_remove(cluster, refused):
    deploy(release(1))
    names = maps(cluster)
    answer = {"kind": "Status", "code": 403, "reason": "Forbidden", "message": f"{refused[1]} is forbidden"}
    cluster.refusals[refused] = (403, answer)
    outcome, notes = deploy(release(2))
    assert outcome.answered == "yes"
    assert "is forbidden" in notes
    assert maps(cluster) == {*names, "digits-torchserve-config-2"}


def test_what_modelport_generates_has_the_labels(cluster, tmp_path, capsys):
    from modelport.cli.group import run

    cluster.add(config_map("digits-torchserve-config-0"))
    example = Path(__file__).parents[3] / "examples" / "digits" / "modelport.yaml"
    command = ["deploy", str(example), "-b", "torchserve", "-t", "kubernetes", "-o", str(tmp_path), "--json"]
    assert run(command) == 0
    applied = json.loads(capsys.readouterr().out)["applied"]
    assert applied[-1] == "ConfigMap digits-torchserve-config-0: removed, nothing names it any more"
