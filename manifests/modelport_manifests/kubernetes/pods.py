"""The pod of a service: its container, its probes, what it may do, and what it mounts."""

from __future__ import annotations

import math
from typing import Any

from modelport.plan import ServicePlan
from modelport.spec.schema import DeploySection, ModelSpec
from modelport_manifests.names import Track, labels, object_name, selector
from modelport_manifests.resources import MIB, plan_scratch
from modelport_manifests.serving import (
    BYTES_NOTE,
    DRAIN_S,
    USER,
    VERSION_NOTE,
    find_port,
    http_get,
    is_asked_by_http,
    port_name,
    protocol_ports,
    reachable_ports,
    require_probe,
    start_s,
    stop_s,
    variables,
)

from .configuration import config_map_name, config_volume

Object = dict[str, Any]

GPU = "nvidia.com/gpu"
ZONE = "topology.kubernetes.io/zone"
NODE = "kubernetes.io/hostname"
CONTAINER = "server"
MODEL_VOLUME = "model"
UNPACKED = "/model"  # where an image of weights for init containers has them


def plan_pod(spec: ModelSpec, service: ServicePlan, track: Track) -> Object:
    """Give the template of a service's pods: metadata and spec."""
    return {
        "metadata": {"labels": labels(spec, service, track), "annotations": notes(spec, service)},
        "spec": plan_pod_spec(spec, service, track),
    }


def notes(spec: ModelSpec, service: ServicePlan) -> dict[str, str]:
    """Annotations with what labels cannot hold."""
    return {VERSION_NOTE: spec.version, BYTES_NOTE: str(service.model_bytes)}


def plan_pod_spec(spec: ModelSpec, service: ServicePlan, track: Track) -> Object:
    """Give a pod's spec; it meets the Pod Security standard "restricted"."""
    deploy = spec.deploy or DeploySection()
    name = object_name(spec, service.backend)
    pod: Object = {
        "serviceAccountName": name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": DRAIN_S + stop_s(spec, service),
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    if deploy.pull_secret is not None:
        pod["imagePullSecrets"] = [{"name": deploy.pull_secret}]
    if deploy.weights == "init_container":
        pod["initContainers"] = [plan_fetch(spec, service)]
    pod["containers"] = [plan_container(spec, service, track)]
    if spec.resources.gpu:
        pod["tolerations"] = [{"key": GPU, "operator": "Exists", "effect": "NoSchedule"}]
    pod["topologySpreadConstraints"] = soft_spreads(name, track)
    if volumes := plan_volumes(spec, service, track):
        pod["volumes"] = volumes
    return pod


def soft_spreads(name: str, track: Track) -> list[Object]:
    """Spread the pods over zones and nodes as far as that can be had."""
    return [spread(topology, name, track) for topology in (ZONE, NODE)]


def spread(topology: str, name: str, track: Track, *, hard: bool = False) -> Object:
    """Spread the pods of one version evenly over zones or nodes; ``hard`` lets a pod wait rather than crowd."""
    return {
        "maxSkew": 1,
        "topologyKey": topology,
        "whenUnsatisfiable": "DoNotSchedule" if hard else "ScheduleAnyway",
        "labelSelector": {"matchLabels": selector(name, track)},
        "matchLabelKeys": ["pod-template-hash"],
    }


def plan_container(spec: ModelSpec, service: ServicePlan, track: Track) -> Object:
    """Give the server's container. Its command is the image's own."""
    container: Object = {"name": CONTAINER, "image": service.image, "imagePullPolicy": "IfNotPresent"}
    if environment := variables(service):
        # "$(" would begin a reference to another variable.
        container["env"] = [{"name": name, "value": text.replace("$(", "$$(")} for name, text in environment.items()]
    container["ports"] = [
        {"name": port_name(port), "containerPort": port.number, "protocol": "TCP"} for port in reachable_ports(service)
    ]
    if resources := plan_resources(spec):
        container["resources"] = resources
    container |= plan_probes(service)
    container["lifecycle"] = {"preStop": {"exec": {"command": ["sleep", str(DRAIN_S)]}}}
    container["securityContext"] = confinement()
    if mounts := plan_mounts(spec, service, track):
        container["volumeMounts"] = mounts
    return container


def confinement() -> Object:
    """What no container needs: other privileges, capabilities, and a file system that it can write to."""
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "runAsUser": USER,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def plan_resources(spec: ModelSpec) -> Object:
    """Give requests that are the limits too: a replica has what it may use. Empty where the spec says nothing."""
    asked = {key: value for key, value in (("cpu", spec.resources.cpu), ("memory", spec.resources.memory)) if value}
    if spec.resources.gpu:
        asked[GPU] = str(spec.resources.gpu)
    return {"requests": asked, "limits": dict(asked)} if asked else {}


def plan_probes(service: ServicePlan) -> Object:
    """Give the three probes.

    The start-up probe has as long as reading the model may take, and only then do the others begin. Readiness is a
    real answer. Liveness asks for a connection alone: a server that is busy, or waits for its model, is not killed.
    """
    by_http = is_asked_by_http(service)
    period, timeout = (5, 4) if by_http else (10, 9)  # a command starts an interpreter each time
    question = _http_question(service) if by_http else {"exec": {"command": list(require_probe(service))}}
    timing = {"periodSeconds": period, "timeoutSeconds": timeout}
    served = protocol_ports(service)[0]
    return {
        "startupProbe": {**question, **timing, "failureThreshold": math.ceil(start_s(service) / period)},
        "readinessProbe": {**question, **timing, "failureThreshold": 3},
        "livenessProbe": {
            "tcpSocket": {"port": served.number},
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": 6,
        },
    }


def _http_question(service: ServicePlan) -> Object:
    port = find_port(service, service.readiness.port)
    return {"httpGet": http_get(service.readiness, port)}


def plan_fetch(spec: ModelSpec, service: ServicePlan) -> Object:
    """Give the container that copies the model's files out of their image, before the server starts."""
    container: Object = {
        "name": "fetch-model",
        "image": service.weights_reference,
        "imagePullPolicy": "IfNotPresent",
        "command": ["cp", "-R", f"{UNPACKED}/.", f"{service.model_folder}/"],
        "securityContext": confinement(),
        "volumeMounts": [{"name": MODEL_VOLUME, "mountPath": service.model_folder}],
    }
    if resources := plan_resources(spec.model_copy(update={"resources": spec.resources.model_copy(update={"gpu": 0})})):
        container["resources"] = resources
    return container


def plan_mounts(spec: ModelSpec, service: ServicePlan, track: Track) -> list[Object]:
    """Say where the volumes of `plan_volumes` stand in the server's container."""
    mounts: list[Object] = [
        {"name": f"scratch-{index}", "mountPath": path} for index, path in enumerate(service.writable)
    ]
    if config_map_name(spec, service, track) is not None:
        mounts.append({"name": "config", "mountPath": service.config_folder, "readOnly": True})
    if spec.deploy is not None and spec.deploy.weights != "image":
        mounts.append({"name": MODEL_VOLUME, "mountPath": service.model_folder, "readOnly": True})
    return mounts


def plan_volumes(spec: ModelSpec, service: ServicePlan, track: Track) -> list[Object]:
    """Give room to write to, the configuration, and the model where it is not in the image."""
    room = plan_scratch(service)
    kind = {"medium": "Memory"} if room.in_memory else {}
    volumes: list[Object] = [
        {"name": f"scratch-{index}", "emptyDir": {**kind, "sizeLimit": f"{room.size // MIB}Mi"}}
        for index, _ in enumerate(service.writable)
    ]
    if (config := config_map_name(spec, service, track)) is not None:
        volumes.append({"name": "config", "configMap": config_volume(config, service)})
    weights = (spec.deploy or DeploySection()).weights
    if weights == "init_container":
        size = -(-service.model_bytes // MIB) + 64
        volumes.append({"name": MODEL_VOLUME, "emptyDir": {"sizeLimit": f"{size}Mi"}})
    elif weights == "volume":
        image = {"reference": service.weights_reference, "pullPolicy": "IfNotPresent"}
        volumes.append({"name": MODEL_VOLUME, "image": image})
    return volumes
