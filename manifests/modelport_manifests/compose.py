"""The target ``compose``: one file for Docker Compose, with a service for each backend, on one machine."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from modelport.plan import Generated, PlannedFile, ServicePlan
from modelport.spec.schema import DeploySection, ModelSpec
from modelport.target import Release

from .names import digest, object_name, project_name
from .resources import MIB, check_resources, memory_limit, plan_scratch
from .serving import (
    BYTES_NOTE,
    USER,
    VERSION_NOTE,
    content_of,
    reachable_ports,
    require_probe,
    start_s,
    stop_s,
    variables,
)
from .writer import yaml_file

Object = dict[str, Any]

NAME = "compose"
FILE = "compose.yaml"
NETWORK = "serving"
FETCH = ("cp", "-R", "/model/.")  # where an image of weights for init containers has them
CLUSTER_ONLY = ("replicas", "autoscale", "strategy", "ingress", "monitoring", "pull_secret", "namespace")


class Compose:
    """A Compose file that `docker compose up --wait` starts."""

    name = NAME

    def render(self, release: Release) -> tuple[PlannedFile, ...]:
        """Give ``compose.yaml``, and below ``config/`` the servers' configuration.

        Raises:
            SpecError: The memory does not hold the model, or GPUs and device do not fit together.
        """
        project = plan_project(release)
        notes = ("Start: docker compose up --wait. Ports are published on 127.0.0.1 alone.", *self.warnings(release))
        files = [yaml_file(FILE, [project], release, NAME, notes)]
        for service in release.services:
            files += [
                PlannedFile(path=path, content=Generated(data=content_of(file), origin="the service"))
                for path, file in zip(_config_paths(service), service.files, strict=True)
            ]
        return tuple(files)

    def warnings(self, release: Release) -> tuple[str, ...]:
        """Name the keys that are for clusters."""
        deploy = release.spec.deploy
        given = [] if deploy is None else [f"deploy.{key}" for key in CLUSTER_ONLY if key in deploy.model_fields_set]
        if not given:
            return ()
        return (f"{', '.join(given)}: for clusters; Compose runs one replica of each service on this machine",)


def plan_project(release: Release) -> Object:
    """Give the whole file's content."""
    spec = release.spec
    host_ports = _host_ports(release.services)
    services: dict[str, Object] = {}
    configs: dict[str, Object] = {}
    volumes: dict[str, Object] = {}
    for service in release.services:
        check_resources(spec, service)
        name = object_name(spec, service.backend)
        if (spec.deploy or DeploySection()).weights == "init_container":
            volume = _weights_volume(service, name)
            services[f"{name}-weights"] = _plan_fetch(service, volume)
            volumes[volume] = {}
        services[name] = plan_service(spec, service, next(host_ports))
        for key, path in zip(_config_keys(name, service), _config_paths(service), strict=True):
            configs[key] = {"file": f"./{path}"}
    project: Object = {"name": project_name(spec), "services": services, "networks": {NETWORK: {}}}
    if configs:
        project["configs"] = configs
    if volumes:
        project["volumes"] = volumes
    return project


def plan_service(spec: ModelSpec, service: ServicePlan, published: dict[str, int]) -> Object:
    """Give one service; ``published`` has this machine's port by the port's name."""
    name = object_name(spec, service.backend)
    found: Object = {"image": service.image}
    if environment := variables(service):
        found["environment"] = {key: _literal(value) for key, value in environment.items()}
    found |= _confinement()
    room = plan_scratch(service).size
    # Without exec a server could not load the native libraries that it unpacks there.
    found["tmpfs"] = [f"{path}:mode=1777,size={room // MIB}m,exec" for path in service.writable]
    found["ports"] = [
        f"127.0.0.1:{published[port.name]}:{port.number}" for port in reachable_ports(service) if port.name in published
    ]
    found["networks"] = [NETWORK]
    if service.files:
        found["configs"] = [
            {"source": key, "target": f"{service.config_folder.rstrip('/')}/{file.path}"}
            for key, file in zip(_config_keys(name, service), service.files, strict=True)
        ]
    found["healthcheck"] = {
        # By the shell: podman, behind Docker's API, splits the words of a list anew at every space.
        "test": ["CMD-SHELL", _literal(shlex.join(require_probe(service)))],
        "interval": "10s",
        "timeout": "9s",
        "retries": 3,
        "start_period": f"{start_s(service)}s",
        "start_interval": "2s",
    }
    found["stop_grace_period"] = f"{stop_s(spec, service)}s"
    found["restart"] = "unless-stopped"
    if resources := _plan_resources(spec):
        found["deploy"] = {"resources": resources}
    found |= _plan_weights(spec, service, name)
    found["labels"] = {VERSION_NOTE: spec.version, BYTES_NOTE: str(service.model_bytes)}
    return found


def _literal(text: str) -> str:
    """Keep Compose from putting its own variables in."""
    return text.replace("$", "$$")


def _confinement() -> Object:
    return {
        "user": f"{USER}:{USER}",
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
    }


def _plan_resources(spec: ModelSpec) -> Object:
    limits: dict[str, str] = {}
    if spec.resources.cpu is not None:
        limits["cpus"] = _cores(spec.resources.cpu)
    if (memory := memory_limit(spec)) is not None:
        limits["memory"] = f"{memory}b" if memory % MIB else f"{memory // MIB}M"
    found: Object = {"limits": limits} if limits else {}
    if spec.resources.gpu:
        gpu = {"driver": "nvidia", "count": spec.resources.gpu, "capabilities": ["gpu"]}
        found["reservations"] = {"devices": [gpu]}
    return found


def _cores(quantity: str) -> str:
    """Write Kubernetes' cores as Compose has them: ``500m`` is ``0.5``."""
    if not quantity.endswith("m"):
        return quantity
    return f"{float(Fraction(int(float(quantity[:-1])), 1000)):g}"


def _plan_weights(spec: ModelSpec, service: ServicePlan, name: str) -> Object:
    match (spec.deploy or DeploySection()).weights:
        case "init_container":
            volume = _weights_volume(service, name)
            mount = {"type": "volume", "source": volume, "target": service.model_folder, "read_only": True}
            wait = {f"{name}-weights": {"condition": "service_completed_successfully"}}
            return {"volumes": [mount], "depends_on": wait}
        case "volume":
            image = {"type": "image", "source": service.weights_reference, "target": service.model_folder}
            return {"volumes": [image]}
        case _:
            return {}


def _weights_volume(service: ServicePlan, name: str) -> str:
    """Name the volume after the image that fills it: a new version's files never mix with those of one that runs."""
    return f"{name}-weights-{digest(service.weights_reference.encode())}"


def _plan_fetch(service: ServicePlan, volume: str) -> Object:
    """Copy the model out of its image into a volume, once, before the server starts."""
    return {
        "image": service.weights_reference,
        "command": [*FETCH, f"{service.model_folder}/"],
        **_confinement(),
        "user": "0:0",  # whose a new volume is
        "network_mode": "none",
        "volumes": [{"type": "volume", "source": volume, "target": service.model_folder}],
    }


def _host_ports(services: tuple[ServicePlan, ...]) -> Iterator[dict[str, int]]:
    """Give each service ports of this machine, its own numbers where no service before it has them."""
    taken: set[int] = set()
    for service in services:
        published = {}
        for port in reachable_ports(service):
            number = port.number
            while number in taken:
                number += 1
            taken.add(number)
            published[port.name] = number
        yield published


def _config_keys(name: str, service: ServicePlan) -> list[str]:
    return [f"{name}-{index}" for index, _ in enumerate(service.files)]


def _config_paths(service: ServicePlan) -> list[str]:
    return [f"config/{service.backend}/{file.path}" for file in service.files]
