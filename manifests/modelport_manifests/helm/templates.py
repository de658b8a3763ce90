"""The objects of plain Kubernetes, with markers where a chart's values go."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from modelport.plan import ServicePlan
from modelport.spec.schema import AutoscaleSection, DeploySection, IngressSection, ModelSpec
from modelport_manifests.kubernetes.configuration import plan_account, plan_config_map
from modelport_manifests.kubernetes.monitoring import plan_alerts, plan_monitor
from modelport_manifests.kubernetes.network import plan_entrance, plan_policy, plan_service
from modelport_manifests.kubernetes.workloads import plan_autoscaler, plan_budget, plan_deployment

from .text import Fills, lines, value
from .values import has_gateway

Object = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One object of a chart.

    Attributes:
        data: The object, with markers.
        condition: What must hold for it to be there; empty for always.
    """

    data: Object
    condition: str = ""


def plan_parts(spec: ModelSpec, service: ServicePlan) -> Iterator[Part]:
    """Give every object, with markers; what others refer to first."""
    open_spec, marked = _with_markers(spec), replace(service, image=value("image"))
    config = plan_config_map(open_spec, marked)
    yield Part(data=_labelled(plan_account(open_spec, marked)))
    if config is not None:
        yield Part(data=_labelled(config))
    yield Part(data=_labelled(plan_service(open_spec, marked)))
    yield Part(data=_deployment(plan_deployment(open_spec, marked)))
    autoscaler = plan_autoscaler(open_spec, marked)
    if autoscaler is not None:
        yield Part(data=_autoscaler(autoscaler), condition=".Values.autoscale.enabled")
    yield Part(data=_labelled(plan_budget(open_spec, marked)))
    yield Part(data=_policy(plan_policy(open_spec, marked)))
    entrance = plan_entrance(open_spec, marked)
    if entrance is not None:
        yield Part(data=_entrance(entrance), condition=".Values.ingress.enabled")
    if service.metrics is not None:
        for found in (plan_monitor(open_spec, marked), plan_alerts(open_spec, marked)):
            yield Part(data=_labelled(found), condition=".Values.monitoring.enabled")


def _with_markers(spec: ModelSpec) -> ModelSpec:
    """Give the spec from which all objects are made, those that are off by default as well."""
    deploy = spec.deploy or DeploySection()
    wanted: Object = {
        "autoscale": deploy.autoscale or AutoscaleSection(min=1, max=1),
        "pull_secret": None,
        "ingress": _open_ingress(spec),
    }
    if deploy.namespace is not None:
        wanted["namespace"] = value("namespace")
    resources = spec.resources.model_copy(update={"cpu": spec.resources.cpu or "1"})
    return spec.model_copy(update={"deploy": deploy.model_copy(update=wanted), "resources": resources})


def _open_ingress(spec: ModelSpec) -> IngressSection:
    wanted: Object = {"kind": "ingress", "host": value("host")}
    if has_gateway(spec):
        wanted |= {"kind": "gateway", "gateway": value("gateway")}
    return IngressSection.model_construct(**wanted)


def _labelled(found: Object) -> Object:
    """Let every object have more labels."""
    found["metadata"]["labels"] |= lines("labels")
    return found


def _deployment(found: Object) -> Object:
    spec = found["spec"]
    found["spec"] = {**lines("replicas"), **{key: spec[key] for key in spec if key != "replicas"}}
    template = spec["template"]
    _labelled(template)
    template["metadata"]["annotations"] |= lines("annotations")
    pod: Object = {}
    for key, each in template["spec"].items():
        if key == "containers":
            pod |= lines("secrets")
            each[0] = _container(each[0])
        pod[key] = each
    for container in pod.get("initContainers", ()):
        container["image"] = value("weights")
    for volume in pod.get("volumes", ()):
        if "image" in volume:
            volume["image"]["reference"] = value("weights")
    template["spec"] = pod
    return _labelled(found)


def _container(found: Object) -> Object:
    """Mark what is given by values, at the places where the builder has it or would have it."""
    marked: Object = {}
    for key, each in found.items():
        if key == "resources":
            continue
        if key == "imagePullPolicy":
            marked[key] = value("policy")
            if "env" not in found:
                marked |= lines("env")
        elif key == "env":
            marked[key] = [*each, lines("variables")]
        elif key == "ports":
            marked |= {key: each, **lines("resources")}
        else:
            marked[key] = each
    return marked


def _autoscaler(found: Object) -> Object:
    spec = found["spec"] = {**lines("measured"), **found["spec"]}
    spec |= {"minReplicas": value("min"), "maxReplicas": value("max")}
    spec["metrics"][0]["resource"]["target"]["averageUtilization"] = value("cpu")
    return _labelled(found)


def _policy(found: Object) -> Object:
    """Let callers of every namespace in where there is an entrance, as the builder does."""
    found["spec"]["ingress"][0]["from"] = [{value("callers"): {}}]
    return _labelled(found)


def _entrance(found: Object) -> Object:
    if found["kind"] == "Ingress":
        found["metadata"].pop("annotations", None)
        found["metadata"] |= lines("notes")
        found["spec"] = {**lines("class"), **lines("tls"), "rules": found["spec"]["rules"]}
    return _labelled(found)


def plan_fills(chart: str) -> Fills:
    """Say what each marker becomes; ``chart`` is the chart's name, before which its helpers stand."""
    return Fills(
        values={
            "image": f'{{{{ include "{chart}.image" . }}}}',
            "weights": f'{{{{ include "{chart}.weights" . }}}}',
            "namespace": "{{ .Release.Namespace }}",
            "policy": "{{ .Values.image.pullPolicy }}",
            "min": "{{ .Values.autoscale.min }}",
            "max": "{{ .Values.autoscale.max }}",
            "cpu": "{{ .Values.autoscale.cpuPercent }}",
            "callers": "{{ if .Values.ingress.enabled }}namespaceSelector{{ else }}podSelector{{ end }}",
            "host": '{{ required "ingress.host must be given" .Values.ingress.host | quote }}',
            "gateway": '{{ required "ingress.gateway must be given" .Values.ingress.gateway | quote }}',
        },
        lines={
            "labels": _mapping("labels"),
            "annotations": _mapping("podAnnotations"),
            "replicas": (
                "{{- if not .Values.autoscale.enabled }}",
                "replicas: {{ .Values.replicas }}",
                "{{- end }}",
            ),
            "measured": (
                "{{- $given := .Values.resources }}",
                '{{- if not (or (dig "requests" "cpu" "" $given) (dig "limits" "cpu" "" $given)) }}',
                '{{- fail "autoscale: aims at a share of resources.requests.cpu, which is left out; give it" }}',
                "{{- end }}",
                "{{- if lt (int .Values.autoscale.max) (int .Values.autoscale.min) }}",
                '{{- fail "autoscale.max: must be at least autoscale.min" }}',
                "{{- end }}",
            ),
            "secrets": (
                "{{- with .Values.pullSecrets }}",
                "imagePullSecrets:",
                "{{- range . }}",
                "- name: {{ . | quote }}",
                "{{- end }}",
                "{{- end }}",
            ),
            "env": ("{{- with .Values.env }}", "env:", *VARIABLES, "{{- end }}"),
            "variables": ("{{- with .Values.env }}", *VARIABLES, "{{- end }}"),
            "resources": _section("resources", ".Values.resources"),
            "notes": _section("annotations", ".Values.ingress.annotations"),
            "class": (
                "{{- with .Values.ingress.className }}",
                "ingressClassName: {{ . | quote }}",
                "{{- end }}",
            ),
            "tls": (
                "{{- with .Values.ingress.tlsSecret }}",
                "tls:",
                "- hosts:",
                "  - {{ $.Values.ingress.host | quote }}",
                "  secretName: {{ . | quote }}",
                "{{- end }}",
            ),
        },
    )


VARIABLES = (
    "{{- range $name, $value := . }}",
    "- name: {{ $name | quote }}",
    "  value: {{ $value | quote }}",
    "{{- end }}",
)


def _mapping(key: str) -> tuple[str, ...]:
    return (f"{{{{- with .Values.{key} }}}}", "{{- toYaml . | nindent INDENT }}", "{{- end }}")


def _section(key: str, where: str) -> tuple[str, ...]:
    return (f"{{{{- with {where} }}}}", f"{key}:", "  {{- toYaml . | nindent DEEPER }}", "{{- end }}")
