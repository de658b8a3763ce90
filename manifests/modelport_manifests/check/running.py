"""What the API takes, and what then does not run, is killed, or gives no service."""

from __future__ import annotations

import re
from collections.abc import Iterator

from modelport_manifests.check.finding import Finding, error, warning
from modelport_manifests.check.objects import Object, Pod, World, meets
from modelport_manifests.check.pods import configurations
from modelport_manifests.check.quantity import read_quantity, show_bytes
from modelport_manifests.check.reading import Table, number, table, tables, text, words

PATIENCE_S = 60  # a server that loads its model may take longer before it even listens
SCRATCH = "/tmp"  # noqa: S108  # a path in containers
LISTENS = {
    "torchserve": re.compile(
        r"^(?:(?:inference|management|metrics)_address\s*[=:]\s*https?://[^:/\s]+:"
        r"|grpc_(?:inference|management)_port\s*[=:]\s*)(\d+)",
        re.MULTILINE,
    ),
    "tfserving": re.compile(r"--(?:rest_api_)?port[= ](\d+)"),
}
"""How servers that are known are told their ports."""
TORCHSERVE = {
    "inference_address": 8080,
    "management_address": 8081,
    "metrics_address": 8082,
    "grpc_inference_port": 7070,
    "grpc_management_port": 7071,
}
"""Where TorchServe listens by itself, by the key that says otherwise."""
TFSERVING = {"--port": 8500, "--rest_api_port": 8501}
"""The same of TensorFlow Serving's image, by flag."""


def check_running(world: World) -> Iterator[Finding]:
    """Check what keeps a pod from running, or from serving."""
    for pod in world.pods:
        for container in pod.containers:
            yield from _check_scratch(pod, container)
            yield from _check_liveness(pod, container)
            yield from _check_readiness(pod, container)
            yield from _check_listening(world, pod, container)
        yield from _check_files(world, pod)
    yield from _check_shared_pods(world)


def _check_scratch(pod: Pod, container: Table) -> Iterator[Finding]:
    security = table(container, "securityContext")
    paths = {text(mount, "mountPath").rstrip("/") for mount in tables(container, "volumeMounts")}
    if security.get("readOnlyRootFilesystem") is True and pod.backend(container) and SCRATCH not in paths:
        message = (
            f"the root is read-only, and nothing is mounted at {SCRATCH}, which {pod.backend(container)} writes to: it "
            "does not start; mount an emptyDir there"
        )
        yield error(security.at("readOnlyRootFilesystem"), "scratch-missing", message)
    memory = read_quantity(table(container, "resources", "limits").get("memory"))
    for volume in tables(pod.spec, "volumes"):
        empty = table(volume, "emptyDir")
        size = read_quantity(empty.get("sizeLimit"))
        if empty.get("medium") == "Memory" and None not in {size, memory} and (size or 0) > (memory or 0):
            message = (
                f"may hold {show_bytes(size or 0)} in memory, above the container's limit of "
                f"{show_bytes(memory or 0)}: what fills it gets the server killed"
            )
            yield warning(empty.at("sizeLimit"), "scratch-above-memory", message)


def _check_liveness(pod: Pod, container: Table) -> Iterator[Finding]:
    probe = table(container, "livenessProbe")
    if not probe or "startupProbe" in container or not pod.backend(container):
        return
    patience = (number(probe, "initialDelaySeconds") or 0) + (number(probe, "periodSeconds") or 10) * (
        number(probe, "failureThreshold") or 3
    )
    if patience < PATIENCE_S:
        message = (
            f"kills the server {patience} s after its start unless it answers by then, while it loads its model, over "
            "and over; add a startupProbe that has the time"
        )
        yield warning(container.at("livenessProbe"), "liveness-kills", message)


def _check_readiness(pod: Pod, container: Table) -> Iterator[Finding]:
    if pod.backend(container) and "readinessProbe" not in container and pod.owner.kind in {"Deployment", "StatefulSet"}:
        message = (
            f"{pod.owner.title} has no readinessProbe: requests come before the model is loaded, and a version that "
            "never loads takes over"
        )
        yield warning(container.place, "readiness-missing", message)


def _check_listening(world: World, pod: Pod, container: Table) -> Iterator[Finding]:
    """Compare the ports that a container declares with those that its server is told to listen on."""
    server = pod.backend(container)
    told = _told(world, pod, container, server)
    if not told:
        return
    for port in tables(container, "ports"):
        wanted = number(port, "containerPort")
        near = text(port, "name") in {"rest", "http", "http1", "grpc", "metrics", "management"}
        if near and wanted is not None and wanted not in told:
            known = ", ".join(map(str, sorted(told)))
            message = (
                f"declares port {wanted}, and {server} is told to listen on {known}: whoever asks there gets no answer"
            )
            yield error(port.at("containerPort"), "port-not-served", message)


def _told(world: World, pod: Pod, container: Table, server: str) -> set[int]:
    """Give the ports that a server is told, beside those that it has by itself; none where they are not known."""
    if server == "tfserving":
        said = " ".join((*words(container, "command"), *words(container, "args")))
        told = {int(found) for found in LISTENS[server].findall(said)}
        return told and told | {port for flag, port in TFSERVING.items() if flag not in said}
    if server != "torchserve":
        return set()
    texts = [
        str(content)
        for configuration in configurations(world, pod)
        for name, content in table(configuration.data, "data").items()
        if name.endswith("config.properties")
    ]
    if not texts:
        return set()
    said = "\n".join(texts)
    told = {int(found) for found in LISTENS[server].findall(said)}
    return told | {port for name, port in TORCHSERVE.items() if name not in said}


def _check_files(world: World, pod: Pod) -> Iterator[Finding]:
    """Check that the keys of a ConfigMap that become files are in it."""
    for volume in tables(pod.spec, "volumes"):
        source = table(volume, "configMap")
        found = world.find("ConfigMap", text(source, "name"), pod.owner.namespace)
        if found is None or source.get("optional") is True:
            continue
        there = {*table(found.data, "data"), *table(found.data, "binaryData")}
        for item in tables(source, "items"):
            if text(item, "key") not in there:
                known = ", ".join(sorted(there)) or "nothing"
                message = f"the ConfigMap {found.name} has no {text(item, 'key')!r}: it has {known}; no pod starts"
                yield error(item.at("key"), "reference-missing", message)


def _check_shared_pods(world: World) -> Iterator[Finding]:
    """Check that no two objects take the same pods for their own."""
    owners = [thing for thing in world.of_kind("Deployment", "StatefulSet", "ReplicaSet") if _wanted(thing)]
    for index, thing in enumerate(owners):
        for other in owners[:index]:
            if meets(thing.namespace, other.namespace) and _wanted(thing) == _wanted(other):
                place = table(thing.data, "spec", "selector").at("matchLabels")
                message = (
                    f"{thing.title} selects the very pods of {other.title}: each takes the other's for its own; give "
                    "one of them another label"
                )
                if thing.name != other.name:
                    yield error(place, "selector-shared", message)


def _wanted(thing: Object) -> dict[str, object]:
    return dict(table(thing.data, "spec", "selector", "matchLabels"))
