"""The InferenceService of a backend: how many replicas, their pod, and a canary beside them.

The server stands in the InferenceService itself (a custom predictor), not in a ServingRuntime that it refers to: the
image carries the model, and KServe takes a ``model`` without ``storageUri`` for a multi-model server, before which it
puts an agent that waits for models for ever (`IsMMSPredictor` in kserve/kserve).
"""

from __future__ import annotations

import re
from typing import Any

from modelport.errors import SpecError
from modelport.plan import Port, ServicePlan
from modelport.spec.schema import AutoscaleSection, DeploySection, ModelSpec
from modelport_manifests.kubernetes.configuration import identity, metadata
from modelport_manifests.kubernetes.pods import notes, plan_pod_spec
from modelport_manifests.names import digest, labels, object_name
from modelport_manifests.resources import check_resources
from modelport_manifests.serving import find_port, http_get, port_name, require_probe, start_s

from .modes import mode_notes, mode_of

Object = dict[str, Any]

API = {"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService"}
CONTAINER = "kserve-container"  # by which KServe's webhooks find the server
KNATIVE_POD = ("serviceAccountName", "automountServiceAccountToken", "enableServiceLinks", "imagePullSecrets")
"""What Knative takes of a pod beside containers and volumes, without flags in the cluster."""
LONGEST_LABEL = 63
DEFAULT_MEMORY = 2 * 2**30  # what KServe gives a container that says nothing


def plan_inference_service(spec: ModelSpec, service: ServicePlan) -> Object:
    """Give the InferenceService of one backend.

    Raises:
        SpecError: The memory does not hold the model, or a probe is missing.
    """
    check_resources(spec, service)
    if spec.resources.memory is None and service.model_bytes >= DEFAULT_MEMORY:
        raise SpecError(
            f"resources.memory: is left out, for which KServe sets 2Gi, and the model on {service.backend} is larger; "
            "give resources.memory"
        )
    about = metadata(spec, service, object_name(spec, service.backend))
    about["annotations"] = {**mode_notes(spec), **notes(spec, service)}
    return {**API, "metadata": about, "spec": {"predictor": plan_predictor(spec, service)}}


def plan_predictor(spec: ModelSpec, service: ServicePlan) -> Object:
    """Give the predictor: how many replicas, and their pod."""
    deploy = spec.deploy or DeploySection()
    scale = deploy.autoscale or AutoscaleSection(min=deploy.replicas, max=deploy.replicas)
    found: Object = {"minReplicas": scale.min, "maxReplicas": scale.max}
    if deploy.autoscale is not None and scale.min > 0:
        found |= {"scaleMetric": "cpu", "scaleTarget": scale.cpu_percent}
    found["timeout"] = spec.serving.timeout_s
    found["labels"] = labels(spec, service, "stable")
    found["annotations"] = notes(spec, service)
    if mode_of(spec) == "knative":
        found["annotations"]["serving.knative.dev/progress-deadline"] = f"{start_s(service) + 60}s"
        return found | _knative_pod(spec, service)
    found["deploymentStrategy"] = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    return found | _standard_pod(spec, service)


def _standard_pod(spec: ModelSpec, service: ServicePlan) -> Object:
    """Give the pod as on plain Kubernetes, under the names that KServe has for ports."""
    pod = plan_pod_spec(spec, service, "stable")
    container = pod["containers"][0]
    served = port_name(served_port(service))
    numbers = {port["name"]: port["containerPort"] for port in container["ports"]}
    kinds = {port_name(port): "h2c" if port.protocol == "grpc" else port_name(port) for port in service.ports}
    kinds[served] = "http1"
    # KServe's Service leads port 80 to the first of them.
    ports = sorted(container["ports"], key=lambda port: bool(port["name"] != served))
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        for how in ("httpGet", "tcpSocket"):
            if how in container[probe]:
                asked = container[probe][how]
                asked["port"] = numbers.get(asked["port"], asked["port"])
    container |= {"name": CONTAINER, "ports": [{**port, "name": kinds[port["name"]]} for port in ports]}
    return pod


def _knative_pod(spec: ModelSpec, service: ServicePlan) -> Object:
    """Give what Knative takes of the pod: it has hooks, grace, spreading and start-up of its own."""
    pod = plan_pod_spec(spec, service, "stable")
    container = pod["containers"][0]
    served = served_port(service)
    by_http = service.readiness.port == served.name
    question: Object = {"httpGet": http_get(service.readiness, served)}
    if not by_http:
        question = {"exec": {"command": list(require_probe(service))}}
    period, timeout = (5, 4) if by_http else (10, 9)  # a command starts an interpreter each time
    container = {key: container[key] for key in container if key not in {"lifecycle", "startupProbe", "livenessProbe"}}
    container |= {
        "name": CONTAINER,
        "ports": [{"name": "http1", "containerPort": served.number, "protocol": "TCP"}],
        "readinessProbe": {**question, "periodSeconds": period, "timeoutSeconds": timeout, "failureThreshold": 3},
    }
    kept = {key: pod[key] for key in KNATIVE_POD if key in pod}
    return kept | {"containers": [container]} | ({"volumes": pod["volumes"]} if "volumes" in pod else {})


def plan_canary(spec: ModelSpec, service: ServicePlan, percent: int) -> Object:
    """Give this version a share of the traffic.

    Returns:
        In Knative mode the InferenceService with a share: KServe knows the version before it. In Standard mode a merge
        patch of the InferenceService that runs, which gets a second predictor.
    """
    whole = plan_inference_service(spec, service)
    if mode_of(spec) == "knative":
        whole["spec"]["predictor"] = {"canaryTrafficPercent": percent, **whole["spec"]["predictor"]}
        return whole
    name = object_name(spec, service.backend)
    predictor = whole["spec"]["predictor"]
    inner: Object = {"name": canary_name(name, spec.version)}
    inner["labels"] = labels(spec, service, "canary")
    inner |= {key: predictor[key] for key in ("annotations", "containers", "volumes") if key in predictor}
    canary = [{"trafficPercent": percent, "predictor": inner}]
    return {**API, "metadata": identity(spec, name), "spec": {"canary": canary}}


def canary_name(name: str, version: str) -> str:
    """Name a canary after its version, so that ``NAME-CANARY-predictor`` is a label; by a digest where it is not."""
    plain = "v" + re.sub(r"[^a-z0-9]+", "-", version.lower()).strip("-")
    faithful = re.fullmatch(r"[0-9a-z]+([.-][0-9a-z]+)*", version) and "-" not in version
    fits = len(f"{name}-{plain}-predictor") <= LONGEST_LABEL
    return plain if faithful and fits else f"v{digest(version.encode())[:6]}"


def served_port(service: ServicePlan) -> Port:
    """Give the port of the first protocol (REST), to which KServe leads its callers."""
    return find_port(service, next(iter(service.endpoints)))
