"""What names or selects something else: labels, ports, services, configuration."""

from __future__ import annotations

from collections.abc import Iterator

from modelport_manifests.check.finding import Finding, Place, error
from modelport_manifests.check.objects import WORKLOADS, Object, Pod, World, meets
from modelport_manifests.check.reading import Table, dig, number, table, tables, text

GIVEN = {"ServiceAccount": {"default"}, "ConfigMap": {"kube-root-ca.crt"}}
"""What every namespace has."""


def check_selecting(world: World) -> Iterator[Finding]:
    """Check every selector and every reference."""
    for thing in world.objects:
        if thing.kind in WORKLOADS:
            yield from _check_template(thing)
    for pod in world.pods:
        if world.whole:
            yield from _check_references(world, pod)
    for service in world.of_kind("Service"):
        yield from _check_service(world, service)
    for thing in world.of_kind("PodDisruptionBudget", "NetworkPolicy", "PodMonitor"):
        key = "podSelector" if thing.kind == "NetworkPolicy" else "selector"
        yield from _check_selector(world, thing, table(thing.data, "spec", key))
    for policy in world.of_kind("NetworkPolicy"):
        yield from _check_let_in(world, policy)
    yield from _check_monitors(world)
    yield from _check_routes(world)


def check_twice(world: World) -> Iterator[Finding]:
    """Check that no object stands twice."""
    seen: dict[tuple[str, str, str, str], Place] = {}
    for thing in world.objects:
        key = (thing.group, thing.kind, thing.namespace, thing.name)
        if thing.name and key in seen:
            first = seen[key]
            message = f"{thing.title} stands in {first.file}:{first.line}, too; whichever is applied last wins"
            yield error(table(thing.data, "metadata").at("name"), "name-twice", message)
        seen.setdefault(key, thing.place)


def _check_template(thing: Object) -> Iterator[Finding]:
    wanted = table(thing.data, "spec", "selector", "matchLabels")
    template = table(thing.data, "spec", "template")
    labels = table(template, "metadata", "labels")
    for key, value in wanted.items():
        if str(labels.get(key)) != str(value):
            has = f"is {labels[key]!r}" if key in labels else "is missing"
            message = f"{thing.title} selects {key}: {value}, and on its own pods that label {has}: it is refused"
            yield error(wanted.at(key), "selector-mismatch", message)


def _check_selector(world: World, thing: Object, selector: Table) -> Iterator[Finding]:
    wanted = table(selector, "matchLabels")
    if world.complete and wanted and not world.selected(wanted, thing.namespace):
        yield error(wanted.place, "selector-mismatch", _nothing(world, thing, wanted, "pod"))


def _check_let_in(world: World, policy: Object) -> Iterator[Finding]:
    pods = world.selected(table(policy.data, "spec", "podSelector", "matchLabels"), policy.namespace)
    ports = [port for pod in pods for port in _ports(pod)]
    there = {value for port in ports for value in (text(port, "name"), number(port, "containerPort"))}
    for rule in tables(policy.data, "spec", "ingress"):
        for port in tables(rule, "ports"):
            wanted = port.get("port")
            if ports and wanted is not None and "endPort" not in port and wanted not in there:
                known = ", ".join(f"{text(one, 'name') or '?'} ({number(one, 'containerPort')})" for one in ports)
                message = (
                    f"{policy.title} lets callers in at port {wanted!r}, and the pods that it selects have {known}"
                )
                yield error(port.at("port"), "port-missing", message)


def _check_service(world: World, service: Object) -> Iterator[Finding]:
    wanted = table(service.data, "spec", "selector")
    if not wanted or not world.complete:
        return
    pods = world.selected(wanted, service.namespace)
    if not pods:
        yield error(wanted.place, "selector-mismatch", _nothing(world, service, wanted, "pod"))
        return
    ports = [port for pod in pods for port in _ports(pod)]
    for port in tables(service.data, "spec", "ports"):
        target = port.get("targetPort", port.get("port"))
        numbers, names = [number(one, "containerPort") for one in ports], [text(one, "name") for one in ports]
        named = isinstance(target, str)
        if (ports or named) and target not in (names if named else numbers):
            key = "targetPort" if "targetPort" in port else "port"
            known = ", ".join(f"{text(one, 'name') or '?'} ({number(one, 'containerPort')})" for one in ports)
            message = f"{service.title} sends to port {target!r}, which no container has: they have {known}"
            yield error(port.at(key), "port-missing", message)


def _ports(pod: Pod) -> Iterator[Table]:
    for container in (*pod.containers, *tables(pod.spec, "initContainers")):
        yield from tables(container, "ports")


def _nothing(world: World, thing: Object, wanted: Table, what: str) -> str:
    asked = ", ".join(f"{key}: {value}" for key, value in wanted.items())
    near = ""
    if what == "pod" and world.pods:
        pod = world.pods[0]
        near = f"; {pod.owner.title} has " + ", ".join(f"{key}: {pod.labels.get(key, 'none')}" for key in wanted)
    return f"{thing.title} selects {asked}, and no {what} here has these labels{near}"


def _check_monitors(world: World) -> Iterator[Finding]:
    for monitor in world.of_kind("ServiceMonitor"):
        wanted = table(monitor.data, "spec", "selector", "matchLabels")
        if not wanted or not world.whole:
            continue
        services = [
            service
            for service in world.of_kind("Service")
            if meets(service.namespace, monitor.namespace)
            and all(str(service.labels.get(key)) == str(value) for key, value in wanted.items())
        ]
        if not services:
            yield error(wanted.place, "selector-mismatch", _nothing(world, monitor, wanted, "Service"))
            continue
        names = {text(port, "name") for service in services for port in tables(service.data, "spec", "ports")}
        yield from _check_scraped(monitor, "endpoints", names, "Service")
    for monitor in world.of_kind("PodMonitor"):
        pods = world.selected(table(monitor.data, "spec", "selector", "matchLabels"), monitor.namespace)
        names = {text(port, "name") for pod in pods for port in _ports(pod)}
        if pods:
            yield from _check_scraped(monitor, "podMetricsEndpoints", names, "pod")


def _check_scraped(monitor: Object, key: str, names: set[str], what: str) -> Iterator[Finding]:
    for endpoint in tables(monitor.data, "spec", key):
        port = text(endpoint, "port")
        if port and port not in names:
            known = ", ".join(sorted(names)) or "none with a name"
            message = f"{monitor.title} scrapes the port {port!r}; the {what} that it selects has {known}"
            yield error(endpoint.at("port"), "port-missing", message)


def _check_routes(world: World) -> Iterator[Finding]:
    for ingress in world.of_kind("Ingress"):
        backends = [(table(ingress.data, "spec", "defaultBackend"), "service")]
        for rule in tables(ingress.data, "spec", "rules"):
            backends += [(table(path, "backend"), "service") for path in tables(rule, "http", "paths")]
        for backend, key in backends:
            service = table(backend, key)
            wanted = service.get("port")
            port = wanted.get("number", wanted.get("name")) if isinstance(wanted, Table) else None
            yield from _check_backend(world, ingress, service, port)
    for route in world.of_kind("HTTPRoute", "GRPCRoute"):
        for rule in tables(route.data, "spec", "rules"):
            for service in tables(rule, "backendRefs"):
                if service.get("kind", "Service") == "Service" and not service.get("namespace"):
                    yield from _check_backend(world, route, service, service.get("port"))


def _check_backend(world: World, route: Object, backend: Table, port: object) -> Iterator[Finding]:
    name = text(backend, "name")
    if not name or not world.whole:
        return
    service = world.find("Service", name, route.namespace)
    if service is None:
        known = ", ".join(sorted({one.name for one in world.of_kind("Service")})) or "none"
        message = f"{route.title} sends to the Service {name!r}, which is not here: there is {known}"
        yield error(backend.at("name"), "target-missing", message)
        return
    ports = tables(service.data, "spec", "ports")
    if port is not None and all(port not in (one.get("name"), one.get("port")) for one in ports):
        known = ", ".join(f"{text(one, 'name') or '?'} ({one.get('port')})" for one in ports)
        message = f"{route.title} sends to port {port!r} of the Service {name}, which has {known}"
        yield error(backend.at("port"), "port-missing", message)


def _check_references(world: World, pod: Pod) -> Iterator[Finding]:
    for kind, holder, key in _references(pod):
        name = text(holder, key)
        if not name or holder.get("optional") is True or name in GIVEN.get(kind, ()):
            continue
        if world.find(kind, name, pod.owner.namespace) is None:
            known = ", ".join(sorted({one.name for one in world.of_kind(kind)})) or "none"
            message = f"{pod.owner.title} needs the {kind} {name!r}, which is not here: there is {known}"
            yield error(holder.at(key), "reference-missing", message)


def _references(pod: Pod) -> Iterator[tuple[str, Table, str]]:
    """Give what a pod needs: the kind, the mapping that names it and the key.

    Secrets are not among them: they belong in no folder of manifests.
    """
    spec = pod.spec
    if dig(spec, "serviceAccountName"):
        yield "ServiceAccount", spec, "serviceAccountName"
    for volume in tables(spec, "volumes"):
        yield "ConfigMap", table(volume, "configMap"), "name"
        yield "PersistentVolumeClaim", table(volume, "persistentVolumeClaim"), "claimName"
        for source in tables(volume, "projected", "sources"):
            yield "ConfigMap", table(source, "configMap"), "name"
    for container in (*pod.containers, *tables(spec, "initContainers")):
        for source in tables(container, "envFrom"):
            yield "ConfigMap", table(source, "configMapRef"), "name"
        for variable in tables(container, "env"):
            yield "ConfigMap", table(variable, "valueFrom", "configMapKeyRef"), "name"
