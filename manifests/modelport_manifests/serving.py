"""What every target asks of a service: which ports others reach, how it is asked, how long it starts and ends."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from modelport.errors import SpecError
from modelport.plan import Copied, Generated, PlannedFile, Port, Readiness, ServicePlan
from modelport.spec.schema import ModelSpec

USER = 10001  # the id that the images are made for
LOAD_RATE = 50 * 2**20  # bytes a second that a model is read with at the least, from a node's cold disk
DRAIN_S = 10  # until every proxy has heard that a pod is going, and sends it nothing more
VERSION_NOTE = "modelport.io/version"
BYTES_NOTE = "modelport.io/model-bytes"


def protocol_ports(service: ServicePlan) -> tuple[Port, ...]:
    """Ports that callers speak to, REST first. An endpoint may also be a page on one of them, such as the metrics."""
    ports = {port.name: port for port in service.ports}
    return tuple(ports[name] for name in service.endpoints if name in ports and name != "metrics")


def reachable_ports(service: ServicePlan) -> tuple[Port, ...]:
    """Ports that others may reach: those of the protocols, and that of the metrics. Management is not among them."""
    wanted = {port.name for port in protocol_ports(service)}
    if service.metrics is not None:
        wanted.add(service.metrics.port)
    return tuple(port for port in service.ports if port.name in wanted)


def find_port(service: ServicePlan, name: str) -> Port:
    """Give the port called ``name``.

    Raises:
        SpecError: The service has none.
    """
    for port in service.ports:
        if port.name == name:
            return port
    there = ", ".join(port.name for port in service.ports)
    raise SpecError(f"{service.backend}: has no port called {name!r}; there are {there}")


def port_name(port: Port) -> str:
    """Write a port's name as Kubernetes has them: lower case, at most 15 characters."""
    return port.name.lower().replace("_", "-")[:15].strip("-")


def is_asked_by_http(service: ServicePlan) -> bool:
    """Whether readiness can be asked from outside the container."""
    return service.readiness.port in {port.name for port in reachable_ports(service)}


def http_get(readiness: Readiness, port: Port) -> dict[str, Any]:
    """Write how Kubernetes asks for readiness over HTTP."""
    question: dict[str, Any] = {"path": readiness.path, "port": port.number}
    if readiness.headers:
        question["httpHeaders"] = [{"name": name, "value": value} for name, value in readiness.headers.items()]
    return question


def require_probe(service: ServicePlan) -> tuple[str, ...]:
    """Give the command that asks for readiness within the container.

    Raises:
        SpecError: The backend has none.
    """
    if not service.probe:
        raise SpecError(f"{service.backend}: describes no probe for its container, so that nobody could see it ready")
    return service.probe


def start_s(service: ServicePlan) -> int:
    """How long a start may take, in seconds: the server's own limit, and the time to read the model from disk."""
    return math.ceil(service.start_timeout_s + service.model_bytes / LOAD_RATE)


def stop_s(spec: ModelSpec, service: ServicePlan) -> int:
    """How long the server may take to end, in seconds: the longest request, and its own grace."""
    return spec.serving.timeout_s + math.ceil(service.grace_s)


def variables(service: ServicePlan) -> dict[str, str]:
    """Give the variables that are set; one that is to be removed is none in a container, which inherits nothing."""
    return {name: value for name, value in service.environment.items() if value is not None}


def content_of(file: PlannedFile) -> bytes:
    """Give the bytes of a configuration file.

    Raises:
        SpecError: It is made during a build, so that nobody has it yet.
    """
    match file.content:
        case Generated(data=data):
            return data
        case Copied(path=path):
            return Path(path).read_bytes()
        case _:
            raise SpecError(f"{file.path}: is made by {file.content.origin} and cannot be mounted as configuration")
