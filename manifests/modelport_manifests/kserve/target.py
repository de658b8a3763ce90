"""The target ``kserve``: an InferenceService for each backend, for KServe 0.20."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from modelport.plan import PlannedFile
from modelport.spec.schema import CanarySection, DeploySection
from modelport.target import Release
from modelport_manifests.kubernetes.configuration import plan_account, plan_config_map
from modelport_manifests.kubernetes.workloads import plan_budget
from modelport_manifests.writer import yaml_file

from .modes import check_mode, mode_of
from .monitoring import plan_pod_alerts, plan_pod_monitor
from .predictor import plan_canary, plan_inference_service, served_port

Object = dict[str, Any]

NAME = "kserve"


class KServe:
    """InferenceServices for KServe, in the deployment mode that the spec names."""

    name = NAME

    def render(self, release: Release) -> tuple[PlannedFile, ...]:
        """Give a file for each kind, with a document for each backend, and ``canary/`` where the spec has steps.

        Raises:
            SpecError: The spec asks for what the mode would ignore.
        """
        check_mode(release.spec)
        return tuple(_render(release))

    def warnings(self, release: Release) -> tuple[str, ...]:
        """Say what the mode leaves out, and what KServe decides by itself."""
        spec = release.spec
        found = []
        for service in release.services if mode_of(spec) == "knative" else ():
            served = served_port(service).name
            others = [protocol for protocol in service.endpoints if protocol != served]
            if others:
                found.append(
                    f"{service.backend}: Knative serves one port, {served}; {', '.join(others)} cannot be reached"
                )
        if mode_of(spec) == "knative" and spec.resources.gpu:
            found.append(
                "resources.gpu: Knative refuses tolerations unless its flag kubernetes.podspec-tolerations is set, so "
                "none is written; tainted GPU nodes need the cluster's own (ExtendedResourceToleration)"
            )
        if spec.resources.memory is None or spec.resources.cpu is None:
            found.append("resources.cpu and resources.memory: where one is left out KServe sets its own, 1 and 2Gi")
        return tuple(found)


def _render(release: Release) -> Iterator[PlannedFile]:
    spec, services = release.spec, release.services
    deploy = spec.deploy or DeploySection()
    standard = mode_of(spec) == "standard"
    wanted: dict[str, list[Object | None]] = {
        "serviceaccount": [plan_account(spec, service) for service in services],
        "configmap": [plan_config_map(spec, service) for service in services],
        "inferenceservice": [plan_inference_service(spec, service) for service in services],
        "poddisruptionbudget": [plan_budget(spec, service) for service in services if standard],
        "podmonitor": [plan_pod_monitor(spec, service) for service in services if deploy.monitoring],
        "prometheusrule": [plan_pod_alerts(spec, service) for service in services if deploy.monitoring],
    }
    for kind, objects in wanted.items():
        found = [each for each in objects if each is not None]
        if found:
            yield yaml_file(f"{kind}.yaml", found, release, NAME)
    canary = deploy.strategy.canary if deploy.strategy is not None else None
    if canary is not None:
        canaries = [plan_canary(spec, service, canary.steps[0]) for service in services]
        yield from _canary_files(release, canaries, canary)


def _canary_files(release: Release, objects: Sequence[Object], canary: CanarySection) -> Iterator[PlannedFile]:
    spec = release.spec
    later = f"Later steps: {', '.join(f'{step} %' for step in canary.steps[1:])}." if canary.steps[1:] else ""
    share = f"{canary.steps[0]} % of the traffic for this version, beside the one that runs. {later}".strip()
    if mode_of(spec) == "knative":
        about = (
            share,
            "Apply in place of ../inferenceservice.yaml; applying that one afterwards gives it all traffic.",
            "Without a version before it KServe gives the first one all traffic at once.",
        )
        yield yaml_file("canary/inferenceservice.yaml", objects, release, NAME, about)
        return
    for service, patch in zip(release.services, objects, strict=True):
        name = patch["metadata"]["name"]
        place = f" -n {patch['metadata']['namespace']}" if "namespace" in patch["metadata"] else ""
        command = f"kubectl patch inferenceservice {name}{place} --type merge"
        steps = (
            share,
            "It is a patch of the InferenceService that runs, for KServe 0.20 or newer (older ones drop spec.canary),",
            "and needs the version's ConfigMap (../configmap.yaml), where there is one:",
            f"  {command} --patch-file {service.backend}.yaml",
            "Go on: apply .. and then take the canary away, as one does to go back:",
            f'  {command} -p \'{{"spec":{{"canary":null}}}}\'',
        )
        yield yaml_file(f"canary/{service.backend}.yaml", [patch], release, NAME, steps)
