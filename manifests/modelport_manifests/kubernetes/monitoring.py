"""What the Prometheus operator is told: where to read, and when to call somebody."""

from __future__ import annotations

from typing import Any

from modelport.errors import SpecError
from modelport.plan import Metrics, ServicePlan
from modelport.spec.schema import CanarySection, DeploySection, ModelSpec
from modelport_manifests.names import SUFFIXES, TRACK, object_name, selector
from modelport_manifests.serving import find_port, port_name

from .configuration import metadata

Object = dict[str, Any]

WINDOW = "5m"
QUEUE = 10  # requests in flight or waiting for each worker that are too many, when they stay


def plan_monitor(spec: ModelSpec, service: ServicePlan) -> Object:
    """Give the ServiceMonitor: every pod is asked for its metrics twice a minute.

    Raises:
        SpecError: The service has no metrics.
    """
    metrics = _require_metrics(service)
    name = object_name(spec, service.backend)
    port = find_port(service, metrics.port)
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "ServiceMonitor",
        "metadata": metadata(spec, service, name),
        "spec": {
            "selector": {"matchLabels": selector(name)},
            "podTargetLabels": [TRACK, "app.kubernetes.io/version"],
            "endpoints": [{"port": port_name(port), "path": metrics.path, "interval": "30s", "scrapeTimeout": "10s"}],
        },
    }


def plan_alerts(spec: ModelSpec, service: ServicePlan) -> Object:
    """Give the PrometheusRule, with queries in this server's own metrics.

    Raises:
        SpecError: The service has no metrics.
    """
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": metadata(spec, service, object_name(spec, service.backend)),
        "spec": {"groups": plan_rule_groups(spec, service)},
    }


def plan_rule_groups(spec: ModelSpec, service: ServicePlan) -> list[Object]:
    """Give the alerts in the form in which Prometheus itself reads them.

    Raises:
        SpecError: The service has no metrics.
    """
    metrics = _require_metrics(service)
    name = object_name(spec, service.backend)
    rules = [_not_ready(spec, name), _errors(spec, metrics, name)]
    if metrics.latency_s is not None:
        bound = spec.serving.timeout_s / 2
        query = f"max({_fill(metrics.latency_s, spec, name)}) > {bound:g}"
        text = f"95 of 100 take up to {{{{ $value | humanizeDuration }}}}; serving.timeout_s is {2 * bound:g} s."
        rules.append(_alert("ModelportSlow", query, "10m", "warning", f"{name} answers slowly", text))
    if metrics.saturation is not None:
        bound = QUEUE * spec.serving.workers
        query = f"max({_fill(metrics.saturation, spec, name)}) > {bound}"
        text = f"{{{{ $value | humanize }}}} requests wait or are in work; {bound} are many for the workers it has."
        rules.append(_alert("ModelportSaturated", query, "10m", "warning", f"{name} has too much to do", text))
    return [{"name": name, "rules": rules}]


def _not_ready(spec: ModelSpec, name: str) -> Object:
    where = _matchers(spec, "deployment", name)
    query = f"kube_deployment_status_replicas_ready{{{where}}} < kube_deployment_spec_replicas{{{where}}}"
    text = "{{ $value }} pods of {{ $labels.deployment }} are ready, fewer than there should be."
    return _alert("ModelportNotReady", query, "10m", "critical", f"{name} is not ready", text)


def _errors(spec: ModelSpec, metrics: Metrics, name: str) -> Object:
    strategy = (spec.deploy or DeploySection()).strategy
    canary = strategy.canary if strategy is not None else None
    bound = (canary or CanarySection(steps=(100,))).error_rate
    errors, requests = (_fill(query, spec, name) for query in (metrics.errors, metrics.requests))
    query = f"sum({errors}) / sum({requests}) > {bound:g}"
    text = f"{{{{ $value | humanizePercentage }}}} of the requests fail; up to {100 * bound:.3g} % are let pass."
    return _alert("ModelportErrors", query, "5m", "critical", f"{name} fails requests", text)


def _fill(query: str, spec: ModelSpec, name: str) -> str:
    # The operator labels what it reads with the Service that it found the pod by.
    return query.replace("$selector", _matchers(spec, "service", name)).replace("$window", WINDOW)


def _matchers(spec: ModelSpec, label: str, name: str) -> str:
    namespace = spec.deploy.namespace if spec.deploy is not None else None
    suffixes = "|".join(suffix for suffix in SUFFIXES.values() if suffix)
    found = f'{label}=~"{name}({suffixes})?"'
    return found if namespace is None else f'namespace="{namespace}",{found}'


def _alert(name: str, query: str, hold: str, severity: str, summary: str, text: str) -> Object:
    return {
        "alert": name,
        "expr": query,
        "for": hold,
        "labels": {"severity": severity},
        "annotations": {"summary": summary, "description": text},
    }


def _require_metrics(service: ServicePlan) -> Metrics:
    if service.metrics is None:
        raise SpecError(f"deploy.monitoring: {service.backend} tells Prometheus nothing; set it to false")
    return service.metrics
