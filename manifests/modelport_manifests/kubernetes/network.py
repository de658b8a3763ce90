"""How a service is reached: Service, NetworkPolicy, Ingress or HTTPRoute."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelport.plan import Port, ServicePlan
from modelport.spec.schema import IngressSection, ModelSpec
from modelport_manifests.names import Track, object_name, selector, track_name
from modelport_manifests.serving import find_port, port_name, protocol_ports, reachable_ports

from .configuration import metadata

Object = dict[str, Any]

MONITORING = "monitoring"  # the namespace that Prometheus usually has
NGINX = "nginx.ingress.kubernetes.io"


def plan_service(
    spec: ModelSpec, service: ServicePlan, track: Track = "stable", *, of: Track | None = "stable"
) -> Object:
    """Give a Service.

    Args:
        spec: The spec.
        service: What it leads to.
        track: Whose name it has.
        of: To the pods of which track it leads; None for all of them.
    """
    name = object_name(spec, service.backend)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(spec, service, track_name(name, track), track),
        "spec": {
            "type": "ClusterIP",
            "selector": selector(name, of),
            "ports": [_service_port(port) for port in reachable_ports(service)],
        },
    }


def _service_port(port: Port) -> Object:
    found: Object = {"name": port_name(port), "port": port.number, "targetPort": port_name(port), "protocol": "TCP"}
    # gRPC without TLS: gateways and proxies would speak HTTP/1.1 to it otherwise.
    found["appProtocol"] = "kubernetes.io/h2c" if port.protocol == "grpc" else "http"
    return found


def plan_policy(spec: ModelSpec, service: ServicePlan) -> Object:
    """Let callers in on the protocols' ports, Prometheus on the metrics', and nothing out but questions to the DNS.

    Callers are pods of the same namespace; where an Ingress or a Gateway leads here, pods of every namespace, since
    its proxies' is not known.
    """
    name = object_name(spec, service.backend)
    callers: Object = {"podSelector": {}}
    if spec.deploy is not None and spec.deploy.ingress is not None:
        callers = {"namespaceSelector": {}}
    rules = [{"from": [callers], "ports": [_allowed(port) for port in protocol_ports(service)]}]
    if service.metrics is not None:
        prometheus = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": MONITORING}}}
        rules.append({"from": [prometheus], "ports": [_allowed(find_port(service, service.metrics.port))]})
    dns = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
        "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
    }
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(spec, service, name),
        "spec": {
            "podSelector": {"matchLabels": selector(name)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": rules,
            "egress": [{"to": [dns], "ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]}],
        },
    }


def _allowed(port: Port) -> Object:
    return {"protocol": "TCP", "port": port_name(port)}


def plan_entrance(spec: ModelSpec, service: ServicePlan, shares: Mapping[Track, int] | None = None) -> Object | None:
    """Give the Ingress or the HTTPRoute to the first protocol (REST); None where the spec has none.

    Args:
        spec: The spec.
        service: Where it leads.
        shares: Percent of the traffic by track, for an HTTPRoute; all of it to ``stable`` if None.
    """
    ingress = spec.deploy.ingress if spec.deploy is not None else None
    if ingress is None:
        return None
    if ingress.kind == "gateway":
        return _plan_route(spec, service, ingress, shares or {"stable": 100})
    return plan_ingress(spec, service, ingress)


def plan_ingress(
    spec: ModelSpec,
    service: ServicePlan,
    ingress: IngressSection,
    track: Track = "stable",
    annotations: Mapping[str, str] | None = None,
) -> Object:
    """Give an Ingress to one track."""
    name = track_name(object_name(spec, service.backend), track)
    about = metadata(spec, service, name, track)
    if is_nginx(ingress):
        # Its own limits, 1 MB and 60 s, would refuse what the spec allows.
        about["annotations"] = {
            f"{NGINX}/proxy-body-size": f"{spec.serving.max_request_mb}m",
            f"{NGINX}/proxy-read-timeout": str(spec.serving.timeout_s),
            **(annotations or {}),
        }
    port = {"name": port_name(protocol_ports(service)[0])}
    path = {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": name, "port": port}}}
    found: Object = {} if ingress.class_name is None else {"ingressClassName": ingress.class_name}
    if ingress.tls_secret is not None:
        found["tls"] = [{"hosts": [ingress.host], "secretName": ingress.tls_secret}]
    found["rules"] = [{"host": ingress.host, "http": {"paths": [path]}}]
    return {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": about, "spec": found}


def is_nginx(ingress: IngressSection) -> bool:
    """Whether ingress-nginx serves it, as far as the class's name tells; annotations of it mean nothing to others."""
    return ingress.kind == "ingress" and ingress.class_name is not None and "nginx" in ingress.class_name


def _plan_route(spec: ModelSpec, service: ServicePlan, ingress: IngressSection, shares: Mapping[Track, int]) -> Object:
    name = object_name(spec, service.backend)
    port = protocol_ports(service)[0].number
    backends = [{"name": track_name(name, track), "port": port, "weight": share} for track, share in shares.items()]
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": metadata(spec, service, name, "stable"),
        "spec": {
            "parentRefs": [{"name": ingress.gateway}],
            "hostnames": [ingress.host],
            "rules": [
                {
                    "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
                    "timeouts": {"request": f"{spec.serving.timeout_s}s"},
                    "backendRefs": backends,
                }
            ],
        },
    }
