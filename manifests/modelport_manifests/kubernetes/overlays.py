"""What differs from the base: in a development cluster, in production, and while a new version takes over.

``dev`` and ``prod`` change the base. ``canary`` and ``blue-green`` add a second Deployment beside what the base has put
there, which stays as it is: they are applied from the new version's folder while the old one serves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from modelport.plan import ServicePlan
from modelport.spec.schema import DeploySection, ModelSpec
from modelport_manifests.names import Track, object_name

from .configuration import identity, plan_config_map
from .network import NGINX, is_nginx, plan_entrance, plan_ingress, plan_service
from .pods import NODE, soft_spreads, spread
from .workloads import plan_autoscaler, plan_deployment

Object = dict[str, Any]

WHOLE = 100
FIRST_SHARE = 10  # percent of the traffic, where the spec has no steps


@dataclass(frozen=True, slots=True, kw_only=True)
class Canary:
    """A second Deployment that gets a share of the traffic.

    Attributes:
        objects: What is applied beside the base.
        asked: Share of the traffic in percent that the spec asks for.
        share: The share that it gets.
        means: What splits the traffic, for people.
    """

    objects: tuple[Object, ...]
    asked: int
    share: float
    means: str


def canary_overlays(spec: ModelSpec) -> dict[str, int]:
    """Give the share of the traffic in percent by the overlay's name: the first step, and those that come after it.

    All of the traffic is no overlay but the base, unless the spec begins with it.
    """
    strategy = spec.deploy.strategy if spec.deploy is not None else None
    canary = strategy.canary if strategy is not None else None
    first, *later = canary.steps if canary is not None else (FIRST_SHARE,)
    return {"canary": first, **{f"canary-{step}": step for step in later if step < WHOLE}}


def plan_canary(spec: ModelSpec, service: ServicePlan, asked: int) -> Canary:
    """Give this version a share of the traffic, by what the spec's entrance has for it.

    An HTTPRoute has weights, ingress-nginx an annotation. Without either, a Service spreads connections over the pods
    of both versions, so that the share is that of their numbers.

    Args:
        spec: The spec.
        service: What runs in the canary's pods.
        asked: Share of the traffic, in percent.
    """
    deploy = spec.deploy or DeploySection()
    running = deploy.replicas if deploy.autoscale is None else deploy.autoscale.min
    count = max(1, math.ceil(running * asked / 100))
    share = float(asked)
    if deploy.ingress is not None and deploy.ingress.kind == "gateway":
        means = "weights of the HTTPRoute"
        shares: dict[Track, int] = {"stable": 100 - asked, "canary": asked}
        traffic = [plan_service(spec, service, "canary", of="canary"), plan_entrance(spec, service, shares)]
    elif deploy.ingress is not None and is_nginx(deploy.ingress):
        means = "annotations of ingress-nginx"
        weight = {f"{NGINX}/canary": "true", f"{NGINX}/canary-weight": str(asked)}
        traffic = [
            plan_service(spec, service, "canary", of="canary"),
            plan_ingress(spec, service, deploy.ingress, "canary", weight),
        ]
    else:
        means = "the number of pods" if deploy.autoscale is None else "the number of pods before any autoscaling"
        count = max(1, round(running * asked / (100 - asked))) if asked < 100 else max(1, running)
        share = 100 * count / (running + count)
        traffic = [plan_service(spec, service, "stable", of=None)]
    own = (plan_config_map(spec, service, "canary"), plan_deployment(spec, service, "canary", count=count), *traffic)
    return Canary(objects=tuple(each for each in own if each is not None), asked=asked, share=share, means=means)


def plan_green(spec: ModelSpec, service: ServicePlan) -> tuple[Object, ...]:
    """Give a second Deployment of full size, and a Service of its own by which it can be tried."""
    own = (
        plan_config_map(spec, service, "green"),
        plan_service(spec, service, "green", of="green"),
        plan_deployment(spec, service, "green"),
        plan_autoscaler(spec, service, "green"),
    )
    return tuple(each for each in own if each is not None)


def plan_switch(spec: ModelSpec, service: ServicePlan) -> tuple[Object, ...]:
    """Give the Service that all callers use, leading to the green pods."""
    return (plan_service(spec, service, "stable", of="green"),)


def plan_dev_patches(spec: ModelSpec, service: ServicePlan) -> tuple[Object, ...]:
    """Take away what a single replica has no use for."""
    about = identity(spec, object_name(spec, service.backend))
    gone = [("policy/v1", "PodDisruptionBudget")]
    if spec.deploy is not None and spec.deploy.autoscale is not None:
        gone.append(("autoscaling/v2", "HorizontalPodAutoscaler"))
    return tuple({"apiVersion": version, "kind": kind, "metadata": about, "$patch": "delete"} for version, kind in gone)


def plan_prod_patches(spec: ModelSpec, service: ServicePlan) -> tuple[Object, ...]:
    """Let no two pods crowd a node while another has none: a pod waits rather than that."""
    name = object_name(spec, service.backend)
    # Entries are told apart by key and strictness: the base's own stay, and whoever replaces the list has them, too.
    spreads = [spread(NODE, name, "stable", hard=True), *soft_spreads(name, "stable")]
    return (
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": identity(spec, name),
            "spec": {"template": {"spec": {"topologySpreadConstraints": spreads}}},
        },
    )
