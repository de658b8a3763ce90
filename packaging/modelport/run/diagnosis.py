"""Why a Deployment does not get ready: what its pods, its events and its logs say."""

from __future__ import annotations

from typing import Any

from modelport.errors import ModelportError
from modelport.run.cluster import Cluster

Object = dict[str, Any]

LOG_LINES = 15
EVENTS = 8
CRASHES = 3  # so many restarts tell a crash from a hiccup

# What keeps a container waiting, and what mends it.
REMEDIES = {
    "ErrImagePull": "the image cannot be pulled: is it built and pushed (modelport containerize … --push), and may the "
    "cluster pull it (deploy.pull_secret)?",
    "ImagePullBackOff": "the image cannot be pulled: is it built and pushed (modelport containerize … --push), and may "
    "the cluster pull it (deploy.pull_secret)?",
    "InvalidImageName": "the image's name is wrong; see --image",
    "ErrImageNeverPull": "the node does not have the image, and may not pull it",
    "CrashLoopBackOff": "the server ends again and again; its log says why",
    "CreateContainerConfigError": "what the container refers to is missing",
    "Unschedulable": "no node has room: ask for less (resources, deploy.replicas), or add nodes",
    "OOMKilled": "it took more memory than resources.memory allows",
}
HOPELESS = ("InvalidImageName", "ErrImageNeverPull")  # they do not mend by themselves


def progress(deployment: Object) -> tuple[bool, str]:
    """Tell whether a roll-out has come to its end, and how far it is, as ``kubectl rollout status`` does."""
    wanted = deployment.get("spec", {}).get("replicas", 1)
    status = deployment.get("status", {})
    updated, total = status.get("updatedReplicas", 0), status.get("replicas", 0)
    available = status.get("availableReplicas", 0)
    if status.get("observedGeneration", 0) < deployment["metadata"].get("generation", 1):
        return False, "waiting for the cluster to take note of it"
    if updated < wanted:
        return False, f"{updated} of {wanted} pods are started"
    if total > updated:
        return False, f"{total - updated} pods of the version before are ending"
    if available < updated:
        return False, f"{available} of {wanted} pods are ready"
    return True, f"{available} of {wanted} pods are ready"


def hopeless(cluster: Cluster, deployment: Object) -> str:
    """Say why waiting longer is of no use, or give nothing."""
    for condition in deployment.get("status", {}).get("conditions", ()):
        if condition["type"] == "Progressing" and condition.get("reason") == "ProgressDeadlineExceeded":
            return f"the cluster gave it up: {condition.get('message', 'its progress deadline is exceeded')}"
    for pod in _unready_pods(cluster, deployment):
        for container in _containers(pod):
            reason, message = _waiting(container)
            crashed = reason == "CrashLoopBackOff" and container.get("restartCount", 0) >= CRASHES
            if reason in HOPELESS or crashed:
                return f"will not get ready: {reason}: {message}"
    return ""


def diagnose(cluster: Cluster, deployment: Object) -> str:
    """Give one indented block: faults of pods with what mends them, warnings, last lines of logs.

    Raises:
        ServerFailed: The cluster does not tell.
    """
    pods = _unready_pods(cluster, deployment)
    lines = [
        f"{condition['type']}: {condition.get('message', '')}"
        for condition in deployment.get("status", {}).get("conditions", ())
        if condition["type"] == "ReplicaFailure" and condition.get("status") == "True"
    ]
    for pod in pods:
        lines += _faults(pod)
    lines += _warnings(cluster, deployment, pods)
    for pod in pods[:1]:  # its fellows say the same
        lines += _logs(cluster, pod)
    return "".join(f"\n    {line}" for line in dict.fromkeys(lines))


def _unready_pods(cluster: Cluster, deployment: Object) -> list[Object]:
    labels = deployment["spec"]["selector"].get("matchLabels", {})
    selector = ",".join(f"{key}={value}" for key, value in labels.items())
    pods = cluster.find("v1", "Pod", deployment["metadata"]["namespace"], labelSelector=selector)
    newest_first = sorted(pods, key=lambda pod: pod["metadata"].get("creationTimestamp") or "", reverse=True)
    return [pod for pod in newest_first if not _is_ready(pod) and "deletionTimestamp" not in pod["metadata"]]


def _is_ready(pod: Object) -> bool:
    conditions = pod.get("status", {}).get("conditions", ())
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _containers(pod: Object) -> list[Object]:
    status = pod.get("status", {})
    return [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]


def _waiting(container: Object) -> tuple[str, str]:
    waiting = container.get("state", {}).get("waiting") or {}
    return waiting.get("reason", ""), waiting.get("message", "")


def _faults(pod: Object) -> list[str]:
    name = pod["metadata"]["name"]
    lines = [
        f"pod {name}: {_remedied(condition.get('reason', ''), condition.get('message', ''))}"
        for condition in pod.get("status", {}).get("conditions", ())
        if condition["type"] == "PodScheduled" and condition["status"] == "False"
    ]
    for container in _containers(pod):
        where = f"pod {name}, container {container['name']}"
        reason, message = _waiting(container)
        if reason and reason != "ContainerCreating":
            lines.append(f"{where}: {_remedied(reason, message)}")
        ended = container.get("lastState", {}).get("terminated") or container.get("state", {}).get("terminated")
        if ended and ended.get("exitCode") != 0:
            said = _remedied(ended.get("reason", "Error"), ended.get("message", ""))
            lines.append(f"{where}: ended with exit code {ended.get('exitCode')}: {said}")
        elif "running" in container.get("state", {}) and not container.get("ready"):
            lines.append(f"{where}: runs, and its readiness probe does not pass")
    return lines


def _remedied(reason: str, message: str) -> str:
    parts = [reason, message, REMEDIES.get(reason, "")]
    return ": ".join(part for part in parts if part)


def _warnings(cluster: Cluster, deployment: Object, pods: list[Object]) -> list[str]:
    """Give the newest warnings about the Deployment, its ReplicaSets and these pods."""
    name = deployment["metadata"]["name"]
    events = cluster.find("v1", "Event", deployment["metadata"]["namespace"], fieldSelector="type=Warning")
    names = {pod["metadata"]["name"] for pod in pods}
    lines = []
    for event in sorted(events, key=lambda each: each.get("lastTimestamp") or each.get("eventTime") or ""):
        about = event["involvedObject"]
        ours = about["name"] in names or about["name"] == name
        if ours or (about["kind"] == "ReplicaSet" and about["name"].rpartition("-")[0] == name):
            lines.append(f"event: {about['kind']} {about['name']}: {event.get('reason')}: {event.get('message')}")
    return list(dict.fromkeys(lines))[-EVENTS:]


def _logs(cluster: Cluster, pod: Object) -> list[str]:
    lines = []
    for container in _containers(pod):
        ran = container.get("restartCount", 0) > 0 or "running" in container.get("state", {})
        if not ran and "terminated" not in container.get("state", {}):
            continue  # a container that never started has no log
        previous = "running" not in container.get("state", {}) and container.get("restartCount", 0) > 0
        try:
            text = cluster.log(pod, container["name"], lines=LOG_LINES, previous=previous)
        except ModelportError as error:
            lines.append(f"log of {container['name']}: {error}")
            continue
        lines.append(f"log of pod {pod['metadata']['name']}, container {container['name']}:")
        lines += [f"    {line}" for line in text.rstrip().splitlines()] or ["    (it printed nothing)"]
    return lines
