"""How many pods run and how they are replaced: Deployment, HorizontalPodAutoscaler, PodDisruptionBudget."""

from __future__ import annotations

from typing import Any

from modelport.errors import SpecError
from modelport.plan import ServicePlan
from modelport.spec.schema import DeploySection, ModelSpec
from modelport_manifests.names import Track, object_name, selector, track_name
from modelport_manifests.serving import DRAIN_S, start_s, stop_s

from .configuration import metadata
from .pods import notes, plan_pod

Object = dict[str, Any]


def plan_deployment(
    spec: ModelSpec, service: ServicePlan, track: Track = "stable", *, count: int | None = None
) -> Object:
    """Give a Deployment of one track.

    Args:
        spec: The spec.
        service: What runs in its pods.
        track: Beside which others it runs; each has pods of its own.
        count: How many pods; left out, what the spec says, and nothing where an autoscaler says it.
    """
    deploy = spec.deploy or DeploySection()
    name = object_name(spec, service.backend)
    number = deploy.replicas if count is None and deploy.autoscale is None else count
    about = metadata(spec, service, track_name(name, track), track)
    about["annotations"] = notes(spec, service)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": about,
        "spec": {
            **({} if number is None else {"replicas": number}),
            "revisionHistoryLimit": 5,
            "progressDeadlineSeconds": start_s(service) + DRAIN_S + stop_s(spec, service) + 60,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "selector": {"matchLabels": selector(name, track)},
            "template": plan_pod(spec, service, track),
        },
    }


def plan_autoscaler(spec: ModelSpec, service: ServicePlan, track: Track = "stable") -> Object | None:
    """Give the autoscaler; None where the number of pods is fixed.

    Raises:
        SpecError: It could not work: it counts the use of a CPU request that is not there, or goes down to none.
    """
    autoscale = (spec.deploy or DeploySection()).autoscale
    if autoscale is None:
        return None
    if autoscale.min == 0:
        raise SpecError(
            "deploy.autoscale.min: is 0, which a HorizontalPodAutoscaler that counts CPU cannot do: without a pod "
            "there is no use to measure. Set 1, or deploy with --target kserve and deploy.kserve.mode: knative"
        )
    if spec.resources.cpu is None:
        raise SpecError(
            "deploy.autoscale.cpu_percent: is a share of resources.cpu, which is left out; the autoscaler would do "
            "nothing. Give resources.cpu"
        )
    name = track_name(object_name(spec, service.backend), track)
    target = {"type": "Utilization", "averageUtilization": autoscale.cpu_percent}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": metadata(spec, service, name, track),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": autoscale.min,
            "maxReplicas": autoscale.max,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 300}},
        },
    }


def plan_budget(spec: ModelSpec, service: ServicePlan) -> Object:
    """Let a node be emptied one pod at a time; a single replica does not hold it up, nor do pods that are not ready."""
    name = object_name(spec, service.backend)
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(spec, service, name),
        "spec": {
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": selector(name)},
        },
    }
