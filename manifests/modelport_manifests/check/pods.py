"""What is wrong within a pod: probes that cannot be true, limits that are too low, times that do not fit."""

from __future__ import annotations

import re
from collections.abc import Iterator

from modelport_manifests.check.finding import Finding, error, warning
from modelport_manifests.check.objects import Object, Pod, World
from modelport_manifests.check.quantity import read_quantity, show_bytes
from modelport_manifests.check.reading import Table, number, table, tables, text, words

PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
DEFAULT_GRACE = 30
MODEL_BYTES = "/model-bytes"
TIMEOUTS = (
    (re.compile(r'"responseTimeout"\s*:\s*(\d+)'), 1),
    (re.compile(r"^default_response_timeout\s*[=:]\s*(\d+)", re.MULTILINE), 1),
    (re.compile(r"rest_api_timeout_in_ms[= ](\d+)"), 1000),
)
"""How the servers are told the longest time for a request, and how many of its units are a second."""
ANSWERED = {
    "torchserve": re.compile(
        r"/(ping|models?(/.*)?|predictions/.+|explanations/.+|workflows?(/.*)?|wfpredict/.+|metrics|api-description"
        r"|describe|v[12]/.+)/?"
    ),
    "tfserving": re.compile(r"/(v1/models/.+|monitoring/.+)"),
}
"""Paths that a server has, over all its ports; BentoML's depend on the service."""
ADDRESS = re.compile(r"^(inference|management|metrics)_address\s*[=:]\s*https?://([^:/\s]+):(\d+)", re.MULTILINE)
OWN = ("127.0.0.1", "localhost")
ADDRESSES = {"inference": (OWN[0], "8080"), "management": (OWN[0], "8081"), "metrics": (OWN[0], "8082")}
"""Where TorchServe listens by default."""
TRUTH = {
    "torchserve": "GET /models/NAME on the management port, or a command that predicts a sample",
    "bentoml": "/readyz",
}
LIES = {
    ("torchserve", "/ping"): "TorchServe answers Healthy there while its model failed to load, or with none at all",
    ("bentoml", "/livez"): "it answers as soon as the process runs, before the model is loaded",
    ("bentoml", "/healthz"): "it answers as soon as the process runs, before the model is loaded",
}


def check_pods(world: World) -> Iterator[Finding]:
    """Check every container of every pod."""
    for pod in world.pods:
        for container in pod.containers:
            yield from _check_probes(pod, container)
            yield from _check_bound(world, pod, container)
            yield from _check_resources(pod, container)
            yield from _check_stop(world, pod, container)
        for container in (*pod.containers, *tables(pod.spec, "initContainers")):
            yield from _check_image(container)


def _check_probes(pod: Pod, container: Table) -> Iterator[Finding]:
    ports = {text(port, "name"): number(port, "containerPort") for port in tables(container, "ports")}
    for kind in PROBES:
        probe = table(container, kind)
        for how in ("httpGet", "tcpSocket", "grpc"):
            asked = table(probe, how)
            wanted = asked.get("port")
            named = isinstance(wanted, str)
            if wanted is None or wanted in (ports if named else ports.values()) or not (ports or named):
                continue  # a port that is not declared is open all the same, where none is declared
            known = ", ".join(f"{name or '?'} ({at})" for name, at in ports.items()) or "none"
            message = f"{kind} asks port {wanted!r}, and the container declares {known}: the probe cannot be true"
            yield error(asked.at("port"), "probe-port", message)
        yield from _check_path(pod.backend(container), kind, table(probe, "httpGet"))
        yield from _check_times(kind, probe)


def _check_bound(world: World, pod: Pod, container: Table) -> Iterator[Finding]:
    """Check that TorchServe listens where it is asked from outside; only its ConfigMap tells."""
    files = [
        str(content)
        for configuration in configurations(world, pod)
        for name, content in table(configuration.data, "data").items()
        if name.endswith("config.properties")
    ]
    if not files or pod.backend(container) != "torchserve":
        return
    addresses = ADDRESSES | {name: (host, port) for name, host, port in ADDRESS.findall("\n".join(files))}
    own = {port: name for name, (host, port) in addresses.items() if host in OWN}
    ports = {text(port, "name"): number(port, "containerPort") for port in tables(container, "ports")}
    for kind in PROBES:
        for how in ("httpGet", "tcpSocket"):
            asked = table(container, kind, how)
            wanted = text(asked, "port")
            name = own.get(str(ports.get(wanted) if wanted else asked.get("port")))
            if name is not None:
                message = (
                    f"{kind} asks TorchServe's {name} port from outside, and it listens on 127.0.0.1 there: the probe "
                    f"cannot be true; set {name}_address=http://0.0.0.0:…, or ask with a command (exec)"
                )
                yield error(asked.at("port"), "probe-local", message)


def _check_path(server: str, kind: str, asked: Table) -> Iterator[Finding]:
    path = text(asked, "path").partition("?")[0]
    if not path:
        return
    known = ANSWERED.get(server)
    if known is not None and not known.fullmatch(path):
        message = f"{kind} asks {path}, which {server} does not serve: it answers 404, so the probe cannot be true"
        yield error(asked.at("path"), "probe-path", message)
    lie = LIES.get((server, path.rstrip("/")))
    if lie is not None and kind != "livenessProbe":
        message = f"{kind} asks {path}: {lie}. Ask what is true: {TRUTH[server]}"
        yield error(asked.at("path"), "probe-lies", message)


def _check_times(kind: str, probe: Table) -> Iterator[Finding]:
    timeout, period = number(probe, "timeoutSeconds") or 1, number(probe, "periodSeconds") or 10
    if probe and timeout > period:
        message = f"{kind} waits {timeout} s for an answer and is due every {period} s; make timeoutSeconds the smaller"
        yield warning(probe.at("timeoutSeconds"), "probe-timeout", message)


def _check_resources(pod: Pod, container: Table) -> Iterator[Finding]:
    limits, requests = table(container, "resources", "limits"), table(container, "resources", "requests")
    for resource in requests.keys() & limits.keys():
        wanted, most = read_quantity(requests[resource]), read_quantity(limits[resource])
        if wanted is not None and most is not None and wanted > most:
            message = f"requests {requests[resource]} of {resource}, more than the limit of {limits[resource]}"
            yield error(requests.at(resource), "request-above-limit", message)
    size = model_bytes(pod.annotations)
    memory = read_quantity(limits.get("memory"))
    if size is not None and memory is not None and memory < size:
        message = (
            f"the memory limit of {limits['memory']} is below the model's size of {show_bytes(size)}: the server is "
            "killed while it loads; raise resources.memory in the spec, or the limit here"
        )
        yield error(limits.at("memory"), "memory-below-model", message)


def model_bytes(annotations: object) -> int | None:
    """Give the model's size as annotations or labels tell it, in bytes."""
    for key, value in annotations.items() if isinstance(annotations, dict) else ():
        if key.endswith((MODEL_BYTES, ".model-bytes")) and str(value).isdigit():
            return int(value)
    return None


def _check_stop(world: World, pod: Pod, container: Table) -> Iterator[Finding]:
    spec = pod.spec
    grace = number(spec, "terminationGracePeriodSeconds")
    grace = DEFAULT_GRACE if grace is None else grace
    pause, timeout = _pause(container), _timeout(world, pod, container)
    if pause and grace <= pause + timeout:
        request = f" and a request may take {timeout:g} s" if timeout else ""
        default = "" if "terminationGracePeriodSeconds" in spec else " by default"
        message = (
            f"terminationGracePeriodSeconds is {grace}{default}, but preStop takes {pause:g} s{request}: the server is "
            "killed with requests in flight; make it longer"
        )
        yield error(spec.at("terminationGracePeriodSeconds"), "grace-too-short", message)


def _timeout(world: World, pod: Pod, container: Table) -> float:
    """Give how many seconds a request may take, as the server's arguments or its ConfigMap tell; 0 if none does."""
    said = [" ".join([*words(container, "command"), *words(container, "args")])]
    for configuration in configurations(world, pod):
        said += [str(value) for value in table(configuration.data, "data").values()]
    found = [int(match) / unit for pattern, unit in TIMEOUTS for part in said for match in pattern.findall(part)]
    return max(found, default=0.0)


def configurations(world: World, pod: Pod) -> Iterator[Object]:
    """Give the ConfigMaps that a pod mounts."""
    for volume in tables(pod.spec, "volumes"):
        found = world.find("ConfigMap", text(volume, "configMap", "name"), pod.owner.namespace)
        if found is not None:
            yield found


def _pause(container: Table) -> float:
    """Give the seconds that a container's preStop sleeps."""
    stop = table(container, "lifecycle", "preStop")
    command = " ".join(words(stop, "exec", "command"))
    slept = re.search(r"\bsleep[ (]+(\d+(?:\.\d+)?)", command)
    return float(slept[1]) if slept else float(number(stop, "sleep", "seconds") or 0)


def _check_image(container: Table) -> Iterator[Finding]:
    image = text(container, "image")
    name, _, digest = image.partition("@")
    tag = name.rpartition("/")[2].partition(":")[2]
    if image and not digest and tag in {"", "latest"} and "$" not in image:
        said = "has no tag, which means latest" if not tag else "is called latest"
        message = f"the image {image} {said}: nobody can say what runs, nor go back; name a version or a digest"
        yield warning(container.at("image"), "image-latest", message)
