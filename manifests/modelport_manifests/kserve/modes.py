"""KServe's deployment modes: what each is called, and what of a spec it would ignore."""

from __future__ import annotations

from modelport.errors import SpecError
from modelport.spec.schema import DeploySection, ModelSpec

ANNOTATION = "serving.kserve.io/deploymentMode"
NAMES = {"standard": "Standard", "knative": "Knative"}  # RawDeployment and Serverless are the old ones
HPA = {"serving.kserve.io/autoscalerClass": "hpa"}
HPA_OF_KNATIVE = {"autoscaling.knative.dev/class": "hpa.autoscaling.knative.dev"}


def mode_of(spec: ModelSpec) -> str:
    """Give the mode as the spec has it: ``standard`` or ``knative``."""
    return (spec.deploy or DeploySection()).kserve.mode


def mode_notes(spec: ModelSpec) -> dict[str, str]:
    """Give the annotations that choose the mode and its autoscaler."""
    mode = mode_of(spec)
    found = {ANNOTATION: NAMES[mode]}
    autoscale = spec.deploy.autoscale if spec.deploy is not None else None
    if mode == "standard":
        found |= HPA
    elif autoscale is not None and autoscale.min > 0:
        found |= HPA_OF_KNATIVE
    return found


def check_mode(spec: ModelSpec) -> None:
    """Refuse what the mode would ignore.

    Raises:
        SpecError: With the ways out.
    """
    deploy = spec.deploy or DeploySection()
    standard = deploy.kserve.mode == "standard"
    if deploy.strategy is not None and deploy.strategy.blue_green is not None:
        raise SpecError(
            "deploy.strategy.blue_green: KServe has no second deployment that waits for all traffic; set "
            "deploy.strategy.canary, or deploy with --target kubernetes"
        )
    if deploy.ingress is not None:
        raise SpecError(
            "deploy.ingress: KServe makes the route itself, under a host that its own configuration "
            "(inferenceservice-config, ingressDomain) decides, and would read past this; take it out, or deploy with "
            "--target kubernetes"
        )
    if not standard and deploy.weights != "image":
        raise SpecError(
            f"deploy.weights: {deploy.weights} cannot be had in Knative mode, which takes neither init containers nor "
            "image volumes; set deploy.weights: image, or deploy.kserve.mode: standard"
        )
    if deploy.autoscale is None and deploy.replicas == 0:
        raise SpecError(
            "deploy.replicas: 0 is taken by KServe for its default; to stop a service that runs, annotate it with "
            'serving.kserve.io/stop: "true"; to have none without requests, set deploy.kserve.mode: knative and '
            "deploy.autoscale.min: 0"
        )
    _check_scale(deploy, standard=standard)


def _check_scale(deploy: DeploySection, *, standard: bool) -> None:
    autoscale = deploy.autoscale
    if autoscale is None or autoscale.min > 0:
        return
    if standard:
        raise SpecError(
            "deploy.autoscale.min: 0 is taken for 1 in Standard mode, whose autoscaler never scales to zero; set 1, or "
            "deploy.kserve.mode: knative"
        )
    if "cpu_percent" in autoscale.model_fields_set:
        raise SpecError(
            "deploy.autoscale.cpu_percent: Knative scales to zero by requests and would ignore it; leave it out, or "
            "set deploy.autoscale.min: 1"
        )
