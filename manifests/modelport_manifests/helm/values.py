"""The values of a chart: what an operator may change without the spec, and what is allowed for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from modelport.plan import ServicePlan
from modelport.spec.schema import AutoscaleSection, DeploySection, ModelSpec
from modelport_manifests.kubernetes.network import plan_ingress
from modelport_manifests.kubernetes.pods import plan_resources

Object = dict[str, Any]

TEXT = {"type": "string"}
NAME = {"type": "string", "maxLength": 253}
STRINGS = {"type": "object", "additionalProperties": TEXT}
QUANTITIES = {"type": "object", "additionalProperties": {"type": ["string", "integer", "number"]}}


class Image(NamedTuple):
    """An image's reference, in parts; tag and digest may be empty."""

    repository: str
    tag: str
    digest: str


def split_image(reference: str) -> Image:
    """Take a reference to pieces: a colon before the last slash is that of a registry's port."""
    name, _, digest = reference.partition("@")
    head, slash, last = name.rpartition("/")
    base, _, tag = last.partition(":")
    return Image(head + slash + base, tag, digest)


def plan_values(spec: ModelSpec, service: ServicePlan) -> Object:
    """Give the default values: with them a chart renders to what plain Kubernetes gets."""
    deploy = spec.deploy or DeploySection()
    autoscale = deploy.autoscale or AutoscaleSection(min=max(1, deploy.replicas), max=max(1, deploy.replicas))
    values: Object = {
        "image": {**split_image(service.image)._asdict(), "pullPolicy": "IfNotPresent"},
        "pullSecrets": [deploy.pull_secret] if deploy.pull_secret is not None else [],
        "replicas": deploy.replicas,
        "autoscale": {
            "enabled": deploy.autoscale is not None,
            "min": autoscale.min,
            "max": autoscale.max,
            "cpuPercent": autoscale.cpu_percent,
        },
        "resources": plan_resources(spec),
        "env": {},
        "labels": {},
        "podAnnotations": {},
        "ingress": _ingress(spec, service),
    }
    if service.metrics is not None:
        values["monitoring"] = {"enabled": deploy.monitoring}
    return values


def has_gateway(spec: ModelSpec) -> bool:
    """Whether the entrance is an HTTPRoute rather than an Ingress."""
    deploy = spec.deploy or DeploySection()
    return deploy.ingress is not None and deploy.ingress.kind == "gateway"


def _ingress(spec: ModelSpec, service: ServicePlan) -> Object:
    ingress = spec.deploy.ingress if spec.deploy is not None else None
    found: Object = {"enabled": ingress is not None, "host": ingress.host if ingress is not None else ""}
    if has_gateway(spec):
        return found | {"gateway": ingress.gateway if ingress is not None else ""}
    annotations = {} if ingress is None else plan_ingress(spec, service, ingress)["metadata"].get("annotations", {})
    return found | {
        "className": (ingress.class_name if ingress is not None else None) or "",
        "tlsSecret": (ingress.tls_secret if ingress is not None else None) or "",
        "annotations": annotations,
    }


DESCRIPTIONS: Mapping[str, str] = {
    "image.repository": "The image's name, without tag.",
    "image.tag": "Its tag.",
    "image.digest": "Its digest (sha256:…); decides over the tag.",
    "image.pullPolicy": "When it is pulled.",
    "pullSecrets": "Names of the Secrets that it is pulled with.",
    "replicas": "How many pods run, without autoscale.",
    "autoscale.enabled": "Let the use of the CPU decide how many pods run; needs resources.requests.cpu.",
    "autoscale.min": "Fewest pods.",
    "autoscale.max": "Most pods.",
    "autoscale.cpuPercent": "Use of the requested CPU to aim at, in percent.",
    "resources": "Requests and limits of the server's container; the memory must hold the model.",
    "env": "More variables of the server, by name.",
    "labels": "More labels of every object.",
    "podAnnotations": "More annotations of the pods.",
    "ingress.enabled": "Let callers outside the cluster in.",
    "ingress.host": "The host name that they use.",
    "ingress.gateway": "The Gateway that leads here.",
    "ingress.className": "Class of the Ingress; the cluster's default if empty.",
    "ingress.tlsSecret": "Secret with the certificate; no TLS if empty.",
    "ingress.annotations": "Annotations of the Ingress.",
    "monitoring.enabled": "Tell the Prometheus operator (ServiceMonitor and PrometheusRule).",
}
TYPES: Mapping[str, Object] = {
    "image.repository": {"type": "string", "minLength": 1},
    "image.tag": {"type": "string", "pattern": "^([A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?$"},
    "image.digest": {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
    "image.pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
    "pullSecrets": {"type": "array", "items": NAME},
    "replicas": {"type": "integer", "minimum": 0},
    "autoscale.min": {"type": "integer", "minimum": 1},
    "autoscale.max": {"type": "integer", "minimum": 1},
    "autoscale.cpuPercent": {"type": "integer", "minimum": 1, "maximum": 100},
    "resources": {
        "type": "object",
        "properties": {"requests": QUANTITIES, "limits": QUANTITIES},
        "additionalProperties": False,
    },
    "env": STRINGS,
    "labels": STRINGS,
    "podAnnotations": STRINGS,
    "ingress.annotations": STRINGS,
}


def plan_schema(values: Object) -> Object:
    """Give the JSON Schema of some values: no other key is taken, so that a misspelt one is told."""
    return {"$schema": "http://json-schema.org/draft-07/schema#", "title": "Values", **_schema_of(values, "")}


def _schema_of(values: Object, path: str) -> Object:
    properties: Object = {}
    for key, default in values.items():
        inner = f"{path}{key}"
        if inner in DESCRIPTIONS:
            kind = TYPES.get(inner) or ({"type": "boolean"} if isinstance(default, bool) else NAME)
            properties[key] = {**kind, "description": DESCRIPTIONS[inner]}
        else:
            properties[key] = _schema_of(default, f"{inner}.")
    # Values that are common to a chart and those around it: Helm passes them to every chart.
    shared = {} if path else {"global": {"type": "object"}}
    return {"type": "object", "properties": properties | shared, "additionalProperties": False}
