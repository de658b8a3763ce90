"""ConfigMaps of earlier versions in a cluster: looked up before a roll-out, removed after it where nothing names them.

They are named after their content, so each version may bring one. What a Deployment may be rolled back to is known by
its ReplicaSets, of which it keeps as many as its ``revisionHistoryLimit`` says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from modelport.run.cluster import Cluster, describe

Object = dict[str, Any]

MANAGED = "app.kubernetes.io/managed-by"
INSTANCE = "app.kubernetes.io/instance"
USERS = (("v1", "Pod"), ("apps/v1", "Deployment"), ("apps/v1", "ReplicaSet"))
REFERENCES = {"configMap", "configMapRef", "configMapKeyRef"}


def find_config_maps(cluster: Cluster, namespace: str, objects: Sequence[Object]) -> list[Object]:
    """Give the ConfigMaps that are there with modelport's labels for the services that ``objects`` deploy.

    Raises:
        ServerFailed: The cluster does not let us look.
    """
    labels = [each["metadata"].get("labels", {}) for each in objects if each["kind"] == "Deployment"]
    instances = {each[INSTANCE] for each in labels if each.get(MANAGED) == "modelport" and INSTANCE in each}
    return [
        {**each, "apiVersion": "v1", "kind": "ConfigMap"}  # items of a list do not say what they are
        for instance in sorted(instances)
        for each in cluster.find(
            "v1", "ConfigMap", namespace, labelSelector=f"{MANAGED}=modelport,{INSTANCE}={instance}"
        )
    ]


def remove_unnamed(cluster: Cluster, namespace: str, found: Sequence[Object]) -> Iterator[str]:
    """Delete those of the ConfigMaps that no pod, Deployment or ReplicaSet names; name each that went.

    Raises:
        ServerFailed: The cluster refused to tell, or to delete.
    """
    if not found:
        return
    named = {
        name
        for version, kind in USERS
        for each in cluster.find(version, kind, namespace)
        for name in _named(each.get("spec"))
    }
    for each in found:
        if each["metadata"]["name"] not in named:
            cluster.delete(each)
            yield describe(each)


def _named(value: Any) -> Iterator[str]:
    """Give the name of every ConfigMap that a pod's specification mounts or reads, however deep it stands."""
    if isinstance(value, list):
        for each in value:
            yield from _named(each)
    elif isinstance(value, dict):
        for key, each in value.items():
            if key in REFERENCES and isinstance(each, dict) and "name" in each:
                yield str(each["name"])
            yield from _named(each)
