"""What the Prometheus operator is told of an InferenceService."""

from __future__ import annotations

from typing import Any

from modelport.plan import ServicePlan
from modelport.spec.schema import ModelSpec
from modelport_manifests.kubernetes.configuration import metadata
from modelport_manifests.kubernetes.monitoring import plan_alerts
from modelport_manifests.names import object_name, selector
from modelport_manifests.serving import find_port

Object = dict[str, Any]


def plan_pod_monitor(spec: ModelSpec, service: ServicePlan) -> Object | None:
    """Give the PodMonitor; None where the server has no metrics. KServe's own Service does not lead to every port."""
    if service.metrics is None:
        return None
    name = object_name(spec, service.backend)
    number = find_port(service, service.metrics.port).number
    # The alerts look for the label that a ServiceMonitor would have given.
    named = {"targetLabel": "service", "replacement": name}
    endpoint = {"portNumber": number, "path": service.metrics.path, "interval": "30s", "relabelings": [named]}
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PodMonitor",
        "metadata": metadata(spec, service, name),
        "spec": {"selector": {"matchLabels": selector(name)}, "podMetricsEndpoints": [endpoint]},
    }


def plan_pod_alerts(spec: ModelSpec, service: ServicePlan) -> Object | None:
    """Give the alerts of plain Kubernetes, with the one about Deployments looking for those that KServe makes."""
    if service.metrics is None:
        return None
    rule = plan_alerts(spec, service)
    matcher = f'deployment=~"{object_name(spec, service.backend)}-(.+-)?predictor.*"'
    if spec.deploy is not None and spec.deploy.namespace is not None:
        matcher = f'namespace="{spec.deploy.namespace}",{matcher}'
    for alert in rule["spec"]["groups"][0]["rules"]:
        if alert["alert"] == "ModelportNotReady":
            ready, wanted = (
                f"kube_deployment_{kind}{{{matcher}}}" for kind in ("status_replicas_ready", "spec_replicas")
            )
            alert["expr"] = f"{ready} < {wanted}"
    return rule
