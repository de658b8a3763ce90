"""All objects of a service as the spec has it: the Kustomize base."""

from __future__ import annotations

from typing import Any

from modelport.plan import ServicePlan
from modelport.spec.schema import DeploySection, ModelSpec
from modelport_manifests.resources import check_resources

from .configuration import plan_account, plan_config_map
from .monitoring import plan_alerts, plan_monitor
from .network import plan_entrance, plan_policy, plan_service
from .workloads import plan_autoscaler, plan_budget, plan_deployment

Object = dict[str, Any]


def plan_base(spec: ModelSpec, service: ServicePlan) -> tuple[Object, ...]:
    """Give the objects of one service, what others refer to first.

    Raises:
        SpecError: The spec asks for what could not work; the message has the ways out.
    """
    check_resources(spec, service)
    found = [
        plan_account(spec, service),
        plan_config_map(spec, service),
        plan_service(spec, service),
        plan_deployment(spec, service),
        plan_autoscaler(spec, service),
        plan_budget(spec, service),
        plan_policy(spec, service),
        plan_entrance(spec, service),
    ]
    if (spec.deploy or DeploySection()).monitoring:
        found += [plan_monitor(spec, service), plan_alerts(spec, service)]
    return tuple(each for each in found if each is not None)
