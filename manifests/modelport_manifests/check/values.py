"""Values that the API refuses: the types are right, and still nothing of it is applied."""

from __future__ import annotations

import base64
import re
from collections.abc import Collection, Iterator

from modelport_manifests.check.amounts import check_amounts, check_quantity
from modelport_manifests.check.finding import Finding, error, warning
from modelport_manifests.check.known import suggest
from modelport_manifests.check.objects import Object, Pod, World
from modelport_manifests.check.reading import Table, dig, number, table, tables, text

PULLS = ("Always", "IfNotPresent", "Never")
PROTOCOLS = ("TCP", "UDP", "SCTP")
DNS = ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")
SERVICES = ("ClusterIP", "NodePort", "LoadBalancer", "ExternalName")
STRATEGIES = ("RollingUpdate", "Recreate")
PATHS = ("Exact", "Prefix", "ImplementationSpecific")
MEDIA = ("Memory", "HugePages")
HANDLERS = ("httpGet", "tcpSocket", "grpc", "exec")
PROBES = {"startupProbe", "readinessProbe", "livenessProbe"}
PERIODS = ("periodSeconds", "timeoutSeconds", "failureThreshold", "successThreshold")
LARGEST_PORT = 65535

NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
SERVICE_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
PORT_NAME = re.compile(r"(?=.*[a-z])[a-z0-9]([-a-z0-9]*[a-z0-9])?")
LABEL = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")
IMAGE = re.compile(
    r"([A-Za-z0-9][A-Za-z0-9.-]*(:\d+)?/)?[a-z0-9]+(([._/]|__|-+)[a-z0-9]+)*(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?"
    r"(@[a-z0-9]+:[0-9a-fA-F]{32,})?"
)
KEPT_KEY = re.compile(r"[-._A-Za-z0-9]+")
LONGEST_NAME, LONGEST_LABEL, LONGEST_PORT = 253, 63, 15
RBAC = "rbac.authorization.k8s.io"  # its names may have colons, among others
BUILT_IN = re.compile(r"v1|(apps|batch|autoscaling|policy)/.+|.+\.k8s\.io/.+")


def check_values(world: World) -> Iterator[Finding]:
    """Check names, labels and every value that has few possibilities."""
    for thing in world.objects:
        if BUILT_IN.fullmatch(thing.api):
            yield from _check_name(thing) if thing.group != RBAC else ()
            yield from _check_labels(table(thing.data, "metadata", "labels"))
            yield from _check_labels(table(thing.data, "spec", "template", "metadata", "labels"))
        yield from _check_replicas(thing)
    for service in world.of_kind("Service"):
        yield from _check_service(service)
    for ingress in world.of_kind("Ingress"):
        yield from _check_ingress(ingress)
    for policy in world.of_kind("NetworkPolicy"):
        yield from _check_policy(policy)
    for kept in world.of_kind("ConfigMap", "Secret"):
        yield from _check_kept(kept)
    for pod in world.pods:
        yield from _check_pod(pod)


def _check_name(thing: Object) -> Iterator[Finding]:
    rule, longest = (SERVICE_NAME, LONGEST_LABEL) if thing.kind == "Service" else (NAME, LONGEST_NAME)
    if thing.name and (not rule.fullmatch(thing.name) or len(thing.name) > longest):
        message = (
            f"the name {thing.name!r} is refused: it must be at most {longest} lower-case letters, digits and '-', "
            f"beginning with a letter{'' if thing.kind == 'Service' else ' or digit'} and ending with a letter or digit"
        )
        yield error(table(thing.data, "metadata").at("name"), "name-refused", message)


def _check_labels(labels: Table) -> Iterator[Finding]:
    for key, value in labels.items():
        if isinstance(value, str) and (not LABEL.fullmatch(value) or len(value) > LONGEST_LABEL):
            message = (
                f"the label {key}: {value!r} is refused: at most {LONGEST_LABEL} letters, digits, '-', '_' and '.', "
                "beginning and ending with a letter or digit; other text belongs in an annotation"
            )
            yield error(labels.at(key), "name-refused", message)


def _check_replicas(thing: Object) -> Iterator[Finding]:
    spec = table(thing.data, "spec")
    count = number(spec, "replicas")
    if count is not None and count < 0:
        yield error(spec.at("replicas"), "value-refused", f"replicas: {count} is refused; 0 or more")
    strategy = table(spec, "strategy")
    yield from check_choice(strategy, "type", STRATEGIES)
    rolling = table(strategy, "rollingUpdate")
    if rolling and strategy.get("type") == "Recreate":
        message = "rollingUpdate is refused beside type: Recreate; keep one of them"
        yield error(strategy.at("rollingUpdate"), "value-refused", message)
    surge, gone = (str(rolling.get(key)) for key in ("maxSurge", "maxUnavailable"))
    if {surge, gone} <= {"0", "0%"}:
        message = "maxSurge and maxUnavailable are both 0, which is refused: no pod could ever be replaced"
        yield error(rolling.at("maxUnavailable"), "value-refused", message)
    elif gone == "100%":
        message = "maxUnavailable: 100% ends all pods at once, and nobody answers until new ones do; say 0 or 1"
        yield warning(rolling.at("maxUnavailable"), "rollout-gap", message)


def check_choice(where: Table, key: str, known: Collection[str]) -> Iterator[Finding]:
    """Check a value that has few possibilities."""
    value = where.get(key)
    if isinstance(value, str) and value and value not in known and not value.startswith("HugePages-"):
        near = next((f"; did you mean {one}?" for one in known if one.lower() == value.lower()), suggest(value, known))
        message = f"{key}: {value} is refused; it is one of {', '.join(known)}{near}"
        yield error(where.at(key), "value-refused", message)


def _check_service(service: Object) -> Iterator[Finding]:
    spec = table(service.data, "spec")
    yield from check_choice(spec, "type", SERVICES)
    ports = tables(spec, "ports")
    seen: set[tuple[object, object]] = set()
    for port in ports:
        yield from check_choice(port, "protocol", PROTOCOLS)
        yield from _check_port(port, "port")
        if "nodePort" in port and text(spec, "type") in {"", "ClusterIP"}:
            message = "nodePort is refused without type: NodePort or LoadBalancer"
            yield error(port.at("nodePort"), "value-refused", message)
        key = (port.get("port"), port.get("protocol", "TCP"))
        if key in seen:
            yield error(port.at("port"), "value-refused", f"port {key[0]} stands twice; it is refused")
        seen.add(key)
        if len(ports) > 1 and not port.get("name"):
            message = f"port {key[0]} has no name, which is refused where there are several"
            yield error(port.place, "value-refused", message)


def _check_port(where: Table, key: str) -> Iterator[Finding]:
    value = number(where, key)
    if value is not None and not 0 < value <= LARGEST_PORT:
        yield error(where.at(key), "value-refused", f"{key}: {value} is no port; 1 to {LARGEST_PORT}")


def _check_ingress(ingress: Object) -> Iterator[Finding]:
    spec = table(ingress.data, "spec")
    hosts = {text(rule, "host") for rule in tables(spec, "rules")}
    for rule in tables(spec, "rules"):
        for path in tables(rule, "http", "paths"):
            yield from check_choice(path, "pathType", PATHS)
            wanted = text(path, "path")
            if wanted and not wanted.startswith("/") and text(path, "pathType") in {"Exact", "Prefix"}:
                yield error(path.at("path"), "value-refused", f"path: {wanted} is refused; write /{wanted}")
    for tls in tables(spec, "tls"):
        strange = [str(host) for host in dig(tls, "hosts") or () if host not in hosts]
        if strange and all(hosts) and not any(host.startswith("*.") for host in (*hosts, *strange)):
            message = f"the certificate is for {', '.join(strange)}, and the rules are for {', '.join(sorted(hosts))}"
            yield warning(tls.at("hosts"), "tls-host", f"{message}: those are served without it, or with another")


def _check_policy(policy: Object) -> Iterator[Finding]:
    spec = table(policy.data, "spec")
    types = dig(spec, "policyTypes")
    for kind in ("Ingress", "Egress"):
        key = kind.lower()
        if isinstance(types, list) and types and kind not in types and spec.get(key):
            message = f"policyTypes does not have {kind}, so what stands in {key} is read past; add it"
            yield error(spec.at(key), "policy-ignored", message)


def _check_kept(kept: Object) -> Iterator[Finding]:
    for section in ("data", "stringData", "binaryData"):
        values = table(kept.data, section)
        for key, value in values.items():
            if not KEPT_KEY.fullmatch(key) or len(key) > LONGEST_NAME:
                message = f"the key {key!r} is refused: letters, digits, '-', '_' and '.' alone, so no folders"
                yield error(values.at(key), "name-refused", message)
            encoded = section == "binaryData" or (kept.kind == "Secret" and section == "data")
            if encoded and isinstance(value, str) and not _is_base64(value):
                message = f"{kept.kind} {section}.{key} is no base64, which is refused; plain text goes in " + (
                    "stringData" if kept.kind == "Secret" else "data"
                )
                yield error(values.at(key), "value-refused", message)


def _is_base64(text: str) -> bool:
    try:
        base64.b64decode("".join(text.split()), validate=True)
    except ValueError:
        return False
    return True


def _check_pod(pod: Pod) -> Iterator[Finding]:
    yield from check_choice(pod.spec, "dnsPolicy", DNS)
    if text(pod.spec, "restartPolicy") not in {"", "Always"} and pod.owner.kind in {"Deployment", "StatefulSet"}:
        message = f"restartPolicy: {pod.spec['restartPolicy']} is refused for a {pod.owner.kind}; leave it out"
        yield error(pod.spec.at("restartPolicy"), "value-refused", message)
    if pod.owner.kind in {"Job", "CronJob"} and text(pod.spec, "restartPolicy") in {"", "Always"}:
        message = f"{pod.owner.title} ends one day: restartPolicy must be OnFailure or Never, and is Always by default"
        yield error(pod.spec.at("restartPolicy"), "value-refused", message)
    for volume in tables(pod.spec, "volumes"):
        empty = table(volume, "emptyDir")
        yield from check_choice(empty, "medium", MEDIA)
        yield from check_quantity(empty, "sizeLimit")
    names: set[str] = set()
    for container in (*pod.containers, *tables(pod.spec, "initContainers")):
        yield from _check_container(container)
        name = text(container, "name")
        if name in names or (name and (not DNS_LABEL.fullmatch(name) or len(name) > LONGEST_LABEL)):
            said = (
                "stands twice" if name in names else f"must be at most {LONGEST_LABEL} lower-case letters, digits, '-'"
            )
            yield error(container.at("name"), "name-refused", f"the container's name {name!r} is refused: it {said}")
        names.add(name)


def _check_container(container: Table) -> Iterator[Finding]:
    yield from check_choice(container, "imagePullPolicy", PULLS)
    image = text(container, "image")
    if image and "$" not in image and not IMAGE.fullmatch(image):
        message = f"the image {image!r} is no reference: its name is in lower case, its tag of letters, digits and _.-"
        yield error(container.at("image"), "value-refused", message)
    for port in tables(container, "ports"):
        yield from check_choice(port, "protocol", PROTOCOLS)
        yield from _check_port(port, "containerPort")
        yield from _check_port(port, "hostPort")
        name = text(port, "name")
        if name and (not PORT_NAME.fullmatch(name) or len(name) > LONGEST_PORT or "--" in name):
            message = f"the port's name {name!r} is refused: at most {LONGEST_PORT} lower-case letters, digits and '-'"
            yield error(port.at("name"), "name-refused", message)
    for kind in PROBES & container.keys():
        yield from _check_probe(kind, table(container, kind))
    yield from check_amounts(container)
    yield from _check_variables(container)


def _check_probe(kind: str, probe: Table) -> Iterator[Finding]:
    asked = [how for how in HANDLERS if how in probe]
    if not asked:
        message = f"{kind} asks nothing, which is refused; give one of {', '.join(HANDLERS)}"
        yield error(probe.place, "value-refused", message)
    if kind != "readinessProbe" and number(probe, "successThreshold") not in {None, 1}:
        message = f"{kind}: successThreshold: {probe['successThreshold']} is refused; it must be 1"
        yield error(probe.at("successThreshold"), "value-refused", message)
    if len(asked) > 1:
        message = f"{kind} asks by {' and '.join(asked)}, which is refused; keep one"
        yield error(probe.at(asked[1]), "value-refused", message)
    for key in PERIODS:
        value = number(probe, key)
        if value is not None and value < 1:
            yield error(probe.at(key), "value-refused", f"{kind}: {key}: {value} is refused; at least 1")


def _check_variables(container: Table) -> Iterator[Finding]:
    seen: set[str] = set()
    for variable in tables(container, "env"):
        name = text(variable, "name")
        if name in seen:
            yield warning(variable.at("name"), "env-twice", f"the variable {name} stands twice; the last is taken")
        seen.add(name)
        if variable.get("value") and "valueFrom" in variable:
            message = f"the variable {name} has both value and valueFrom, which is refused; keep one"
            yield error(variable.at("valueFrom"), "value-refused", message)
