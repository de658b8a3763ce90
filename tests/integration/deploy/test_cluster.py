"""Deploying to Kubernetes: the official client talks to an API that keeps objects as a cluster does."""

import copy
import signal
import threading

import pytest

from modelport.errors import ServerFailed, SpecError
from modelport.run.cluster_rollout import ClusterRollout
from modelport.run.difference import render_changes
from modelport.run.kubeconfig import connect_cluster
from modelport.run.rollout import Interrupted, run_rollout

MAIN = threading.main_thread().ident
LABELS = {"app.kubernetes.io/instance": "digits"}
SERVICE = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "digits"}, "spec": {"selector": LABELS}}


def deployment(image="digits:1", **spec):
    container = {"name": "server", "image": image}
    template = {"metadata": {"labels": LABELS}, "spec": {"containers": [container]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "digits"},
        "spec": {"selector": {"matchLabels": LABELS}, "template": template, **spec},
    }


def config_map(name, text="a = 1"):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a.conf": text}}


def rollout(objects, **more):
    return ClusterRollout(
        cluster=connect_cluster(None), namespace="ml", objects=copy.deepcopy(objects), poll_s=0.01, **more
    )


def run(objects, *, wait=True, timeout_s=60.0, ask=lambda urls: "yes", **more):
    return run_rollout(rollout(objects, **more), wait=wait, timeout_s=timeout_s, ask=ask, note=lambda text: None)


def failure(objects, timeout_s=0.1, **more):
    with pytest.raises(ServerFailed) as caught:
        run(objects, timeout_s=timeout_s, **more)
    assert caught.value.exit_code == 5
    return str(caught.value)


def test_a_release_is_applied_in_the_order_of_need(cluster):
    outcome = run([deployment(), SERVICE, config_map("digits-1")])
    assert outcome.applied == ("ConfigMap digits-1: created", "Service digits: created", "Deployment digits: created")
    assert outcome.answered == "yes"
    asked = [query for method, _, query in cluster.requests if method == "PATCH"]
    assert {(query["fieldManager"], query["force"], query["fieldValidation"]) for query in asked} == {
        ("modelport", "false", "Strict")
    }


def test_the_same_release_again_changes_nothing(cluster):
    run([deployment(), SERVICE])
    version = cluster.version
    outcome = run([deployment(), SERVICE])
    assert outcome.applied == ("Service digits: unchanged", "Deployment digits: unchanged")
    assert cluster.version == version


def test_a_field_that_is_no_longer_asked_for_goes(cluster):
    run([deployment(minReadySeconds=5)])
    run([deployment()])
    assert "minReadySeconds" not in cluster.find("deployments", "digits")["spec"]


def test_a_dry_run_tells_the_difference_and_touches_nothing(cluster):
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "key"},
        "stringData": {"token": "first-secret"},
    }
    run([deployment("digits:1"), SERVICE, secret])
    before = copy.deepcopy(cluster.objects)
    secret["stringData"]["token"] = "second-secret"
    text = render_changes(rollout([deployment("digits:2"), SERVICE, secret, config_map("new")]).changes())
    assert cluster.objects == before
    assert "-      - image: digits:1\n+      - image: digits:2" in text
    assert "+++ ConfigMap new (wanted)" in text
    assert "1 to create, 2 to change, 0 to remove, 1 as they are" in text
    assert "*** (before)" in text
    assert "-secret" not in text
    assert "resourceVersion" not in text
    assert "status" not in text


def test_a_conflict_names_field_and_owner_before_anything_is_touched(cluster):
    cluster.add(deployment("digits:0"), manager="argocd")
    message = failure([deployment("digits:1"), SERVICE])
    assert '.spec.template.spec.containers: conflict with "argocd"' in message
    assert "--force" in message
    assert "Nothing was changed" in message
    assert cluster.find("services", "digits") is None


def test_force_takes_the_field(cluster):
    cluster.add(deployment("digits:0"), manager="argocd")
    run([deployment("digits:1")], force=True)
    assert cluster.find("deployments", "digits")["spec"]["template"]["spec"]["containers"][0]["image"] == "digits:1"


def test_a_release_that_never_gets_ready_is_rolled_back(cluster):
    run([deployment("digits:1"), SERVICE, config_map("digits-1")])
    cluster.behaviour["digits:2"] = {
        "container": {"state": {"running": {}}, "ready": False},
        "events": [("Pod", "Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 503")],
    }
    cluster.logs["digits-5d9c-x1"] = "loading\ncannot open model.pt\n"
    message = failure([deployment("digits:2"), SERVICE, config_map("digits-2")])
    assert "Deployment digits: not ready after 0 s: 0 of 1 pods are ready" in message
    assert "its readiness probe does not pass" in message
    assert "Readiness probe failed: HTTP probe failed with statuscode: 503" in message
    assert "cannot open model.pt" in message
    assert "Deployment digits: as it was before\n    ConfigMap digits-2: removed" in message
    assert cluster.find("deployments", "digits")["spec"]["template"]["spec"]["containers"][0]["image"] == "digits:1"
    assert cluster.find("configmaps", "digits-2") is None
    assert cluster.find("configmaps", "digits-1") is not None


def test_what_the_failed_release_added_to_an_object_goes_too(cluster):
    run([deployment("digits:1")])
    cluster.behaviour["digits:2"] = "unready"
    failure([deployment("digits:2", minReadySeconds=7)])
    assert "minReadySeconds" not in cluster.find("deployments", "digits")["spec"]
    assert run([deployment("digits:1")]).applied == ("Deployment digits: unchanged",)


def test_a_deployment_that_came_between_is_told_of_and_left_alone(cluster):
    run([deployment("digits:1"), SERVICE])
    ours = rollout([deployment("digits:2"), SERVICE])

    def note(text):
        if text == "Deployment digits: changed":
            run([deployment("digits:3"), SERVICE])

    with pytest.raises(ServerFailed) as caught:
        run_rollout(ours, wait=True, timeout_s=60, ask=lambda urls: "yes", note=note)
    message = str(caught.value)
    assert "Deployment digits: somebody else changed its pods while it was rolled out" in message
    assert "NOT rolled back:\n    anything: Deployment digits has somebody else's pods by now" in message
    assert cluster.find("deployments", "digits")["spec"]["template"]["spec"]["containers"][0]["image"] == "digits:3"


def test_what_others_set_meanwhile_stays(cluster):
    run([deployment("digits:1")])
    cluster.find("deployments", "digits")["spec"]["replicas"] = 4  # as an autoscaler does
    cluster.behaviour["digits:2"] = "unready"
    failure([deployment("digits:2")])
    assert cluster.find("deployments", "digits")["spec"]["replicas"] == 4


def test_what_was_taken_from_others_is_put_back(cluster):
    cluster.add(deployment("digits:0", paused=False), manager="argocd")
    cluster.behaviour["digits:1"] = "unready"
    failure([deployment("digits:1")], force=True)
    spec = cluster.find("deployments", "digits")["spec"]
    assert spec["template"]["spec"]["containers"][0]["image"] == "digits:0"
    assert spec["paused"] is False


def test_a_first_release_that_fails_leaves_nothing(cluster):
    cluster.behaviour["digits:1"] = "unready"
    failure([deployment(), SERVICE, config_map("digits-1")])
    assert cluster.names() == ["Namespace ml"]


def test_an_answer_that_does_not_come_rolls_back(cluster):
    def ask(urls):
        raise ServerFailed("no answer")

    assert "no answer\nApplied in namespace ml" in failure([deployment()], timeout_s=60, ask=ask)
    assert cluster.find("deployments", "digits") is None


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (
            {"container": {"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such manifest"}}}},
            "ImagePullBackOff: no such manifest: the image cannot be pulled: is it built and pushed",
        ),
        (
            {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3"}]},
            "pod digits-5d9c-x1: Unschedulable: 0/3: no node has room",
        ),
        (
            {
                "deployment": {
                    "conditions": [{"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: team"}]
                },
                "events": [("ReplicaSet", "FailedCreate", "exceeded quota: team, requested: cpu=4")],
            },
            "event: ReplicaSet digits-5d9c: FailedCreate: exceeded quota: team, requested: cpu=4",
        ),
        (
            {
                "container": {
                    "state": {"waiting": {"reason": "CreateContainerConfigError", "message": "no secret"}},
                    "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
                }
            },
            "ended with exit code 137: OOMKilled: it took more memory than resources.memory allows",
        ),
    ],
)
def test_why_it_does_not_get_ready(cluster, state, expected):
    cluster.behaviour["digits:1"] = state
    assert expected in failure([deployment()])


def test_a_crash_loop_is_not_waited_for(cluster):
    waiting = {"reason": "CrashLoopBackOff", "message": "back-off 40s"}
    cluster.behaviour["digits:1"] = {"container": {"state": {"waiting": waiting}, "restartCount": 4}}
    cluster.logs["digits-5d9c-x1"] = "Traceback: no module named net\n"
    message = failure([deployment()], timeout_s=60)
    assert "will not get ready: CrashLoopBackOff" in message
    assert "no module named net" in message
    assert any(query.get("previous") == "true" for _, path, query in cluster.requests if path.endswith("/log"))


def test_a_deadline_of_the_cluster_is_the_end(cluster):
    gone = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "timed out"}
    cluster.behaviour["digits:1"] = {"deployment": {"conditions": [gone]}}
    assert "the cluster gave it up: timed out" in failure([deployment()], timeout_s=60)


def refuse(code, message, **details):
    return code, {"kind": "Status", "message": message, "details": details}


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (
            refuse(403, 'User "dev" cannot patch resource "deployments" in API group "apps" in the namespace "ml"'),
            'not allowed: User "dev" cannot patch resource "deployments"',
        ),
        (refuse(403, "exceeded quota: team, requested: count/deployments=1"), "a quota of the namespace is exceeded"),
        (refuse(401, "Unauthorized"), "does not accept these credentials (Unauthorized); log in again"),
        (
            refuse(422, "invalid", causes=[{"field": "spec.replicas", "message": "must be at least 0"}]),
            "finds it invalid: \n    spec.replicas: must be at least 0",
        ),
        (refuse(503, "etcd is down"), "answered 503: etcd is down; try again later"),
    ],
)
def test_refusals_come_before_the_first_change(cluster, answer, expected):
    cluster.refusals["PATCH", "deployments"] = answer
    message = failure([deployment(), SERVICE])
    assert expected in message
    assert "Nothing was changed in namespace ml of context 'staging'" in message
    assert cluster.names() == ["Namespace ml"]


def test_a_refusal_midway_is_rolled_back(cluster):
    cluster.late_refusals["PATCH", "deployments"] = refuse(403, "exceeded quota: team")
    message = failure([deployment(), SERVICE])
    assert "Rolled back:\n    Service digits: removed" in message
    assert cluster.names() == ["Namespace ml"]


def test_what_cannot_be_rolled_back_is_said(cluster):
    cluster.behaviour["digits:1"] = "unready"
    cluster.refusals["DELETE", "services"] = refuse(403, 'User "dev" cannot delete resource "services"')
    message = failure([deployment(), SERVICE])
    assert "NOT rolled back:\n    Service digits: cannot delete Service digits: not allowed" in message
    assert "Deployment digits: removed" in message


def test_a_namespace_that_is_not_there(cluster):
    del cluster.objects["/api/v1/namespaces/ml"]
    assert "make it with: kubectl create namespace ml" in failure([deployment()])


def test_a_kind_that_the_cluster_does_not_know(cluster):
    monitor = {"apiVersion": "monitoring.coreos.com/v1", "kind": "ServiceMonitor", "metadata": {"name": "digits"}}
    message = failure([deployment(), monitor])
    assert "knows no ServiceMonitor of monitoring.coreos.com/v1" in message
    assert cluster.names() == ["Namespace ml"]


def test_nobody_waits_where_nobody_was_asked_to(cluster):
    cluster.behaviour["digits:1"] = "unready"
    outcome = run([deployment()], wait=False)
    assert outcome.answered == ""
    assert cluster.find("deployments", "digits") is not None


@pytest.mark.parametrize("plural", ["services", "deployments"])
def test_an_interruption_rolls_back(cluster, plural):
    def interrupt(method, path, query):
        if method == "PATCH" and "dryRun" not in query and f"/{plural}/" in path:
            cluster.on_request = None
            signal.pthread_kill(MAIN, signal.SIGINT)

    cluster.behaviour["digits:2"] = "unready"
    run([deployment("digits:1")])
    cluster.on_request = interrupt
    with pytest.raises(Interrupted) as caught:
        run([deployment("digits:2"), SERVICE], timeout_s=60)
    assert "interrupted\nApplied in namespace ml" in str(caught.value)
    assert cluster.find("deployments", "digits")["spec"]["template"]["spec"]["containers"][0]["image"] == "digits:1"
    assert cluster.find("services", "digits") is None


def test_a_second_interruption_leaves_it_and_says_so(cluster):
    def interrupt(method, path, query):
        if method == "DELETE" or (method == "PATCH" and "dryRun" not in query and "/deployments/" in path):
            signal.pthread_kill(MAIN, signal.SIGINT)

    cluster.on_request = interrupt
    with pytest.raises(Interrupted) as caught:
        run([deployment(), SERVICE], timeout_s=60)
    assert "The roll-back was interrupted, and is not complete" in str(caught.value)
    assert "run the same command again" in str(caught.value)


def test_an_interruption_while_a_failure_is_rolled_back(cluster):
    def interrupt(method, path, query):
        if method == "DELETE":
            signal.pthread_kill(MAIN, signal.SIGINT)

    cluster.behaviour["digits:1"] = "unready"
    cluster.on_request = interrupt
    with pytest.raises(Interrupted) as caught:
        run([deployment(), SERVICE], timeout_s=0.1)
    assert "not ready after 0 s" in str(caught.value)
    assert "The roll-back was interrupted" in str(caught.value)


def test_who_may_deploy_need_not_be_allowed_to_look_at_pods(cluster):
    cluster.refusals["GET", "pods"] = refuse(403, 'User "dev" cannot list resource "pods"')
    assert run([deployment()]).answered == "yes"
    cluster.behaviour["digits:2"] = "unready"
    message = failure([deployment("digits:2")])
    assert "not ready after 0 s" in message
    assert "(why cannot be told: cannot list pods: not allowed" in message


def test_an_api_that_is_gone_for_a_moment_is_waited_for(cluster):
    asked = []

    def restart(method, path, query):
        if method == "GET" and path.endswith("/deployments/digits"):
            asked.append(path)
            cluster.refusals = {("GET", "deployments"): refuse(503, "starting")} if len(asked) in {2, 3} else {}

    cluster.on_request = restart
    assert run([deployment()]).answered == "yes"
    assert len(asked) == 4


def test_an_unreachable_cluster(cluster, tmp_path):
    path = tmp_path / "kubeconfig"
    text = path.read_text(encoding="utf-8")
    start = text.index("http://127.0.0.1:")
    port = text[start:].split()[0]
    path.write_text(text.replace(port, "http://127.0.0.1:1"), encoding="utf-8")
    with pytest.raises(ServerFailed, match=r"context 'staging' \(http://127.0.0.1:1\) cannot be reached"):
        run([deployment()])


def test_a_context_that_is_misspelt(cluster):
    with pytest.raises(SpecError, match="Did you mean 'staging'"):
        connect_cluster("stagin")


def test_no_kubeconfig(monkeypatch, tmp_path):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "absent"))
    with pytest.raises(SpecError, match="there is no kubeconfig"):
        connect_cluster(None)


def test_a_kubeconfig_that_is_none(monkeypatch, tmp_path):
    (tmp_path / "config").write_text("contexts: {", encoding="utf-8")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    with pytest.raises(SpecError, match="kubeconfig cannot be used"):
        connect_cluster(None)
