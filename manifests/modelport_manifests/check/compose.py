"""What is wrong with a Compose file."""

from __future__ import annotations

import re
from collections.abc import Iterator

from modelport_manifests.check.finding import Finding, Place, error, warning
from modelport_manifests.check.known import check_keys, words
from modelport_manifests.check.objects import guess_server
from modelport_manifests.check.pods import LIES, TRUTH, model_bytes
from modelport_manifests.check.quantity import read_seconds, read_size, show_bytes
from modelport_manifests.check.reading import Row, Table, dig, table, text

NAMES = re.compile(r"(docker-)?compose([.-].*)?\.ya?ml")
TOP = ("name", "services", "networks", "volumes", "configs", "secrets", "include", "models", "version")
SERVICE = words(
    """
    annotations attach blkio_config build cap_add cap_drop cgroup cgroup_parent command configs container_name cpu_count
    cpu_percent cpu_period cpu_quota cpu_rt_period cpu_rt_runtime cpu_shares cpus cpuset credential_spec depends_on
    deploy develop device_cgroup_rules devices dns dns_opt dns_search domainname driver_opts entrypoint env_file
    environment expose extends external_links extra_hosts gpus group_add healthcheck hostname image init ipc isolation
    label_file labels links logging mac_address mem_limit mem_reservation mem_swappiness memswap_limit models
    network_mode networks oom_kill_disable oom_score_adj pid pids_limit platform ports post_start pre_stop privileged
    profiles provider pull_policy pull_refresh_after read_only restart runtime scale secrets security_opt shm_size
    stdin_open stop_grace_period stop_signal storage_opt sysctls tmpfs tty ulimits use_api_socket user userns_mode uts
    volumes volumes_from working_dir
    """
)
"""Keys of the Compose specification (compose-spec/compose-spec: schema/compose-spec.json)."""
SWARM = ("endpoint_mode", "mode", "placement", "rollback_config", "update_config")


def check_compose(data: Table) -> Iterator[Finding]:
    """Check one Compose file."""
    yield from check_keys(data, TOP, "a Compose file")
    if "version" in data:
        message = "version does nothing: Compose reads the newest format always; remove it"
        yield warning(data.at("version"), "compose-key-ignored", message)
    published: dict[str, Place] = {}
    services = table(data, "services")
    for name, service in services.items():
        if not isinstance(service, Table):
            continue
        yield from check_keys(service, SERVICE, f"the service {name}")
        yield from _check_names(data, name, service)
        yield from _check_health(name, service)
        yield from _check_limits(name, service)
        yield from _check_ports(name, service, published)


def _check_names(data: Table, name: str, service: Table) -> Iterator[Finding]:
    """Check that what a service names is declared."""
    needed = service.get("depends_on")
    for other in needed if isinstance(needed, list | dict) else ():
        if other not in table(data, "services"):
            message = f"{name} depends on {other!r}, which is no service here"
            yield error(_at(needed, other), "reference-missing", message)
    for kind in ("networks", "configs", "secrets", "volumes"):
        used = service.get(kind)
        for item in used if isinstance(used, list | dict) else ():
            source = item if isinstance(item, str) else text(item, "source")
            if kind == "volumes":
                source = _volume(item)
            if source and source not in {*table(data, kind), *({"default"} if kind == "networks" else ())}:
                message = f"{name} uses {source!r} of {kind}, which the file does not declare; add it under {kind}"
                yield error(_at(used, item), "reference-missing", message)


def _volume(item: object) -> str:
    """Give the name of a volume, empty for a bind mount or an unnamed one."""
    if isinstance(item, Table):
        return text(item, "source") if text(item, "type") == "volume" else ""
    source, mounted, _ = str(item).partition(":")
    return source if mounted and not re.match(r"[./~$]", source) else ""


def _at(holder: object, item: object) -> Place:
    if isinstance(holder, Table):
        return holder.at(str(item))
    if isinstance(holder, Row):
        return next(
            (place for value, place in zip(holder, holder.items_at, strict=True) if value is item), holder.place
        )
    return Place("", 1)


def _check_health(name: str, service: Table) -> Iterator[Finding]:
    health = table(service, "healthcheck")
    test = health.get("test")
    asked = " ".join(map(str, test)) if isinstance(test, list) else str(test or "")
    server = guess_server(service)
    for (backend, path), lie in LIES.items():
        if server == backend and re.search(rf"{path}(?![\w/])", asked):
            message = f"the health check of {name} asks {path}: {lie}. Ask what is true: {TRUTH[server]}"
            yield error(health.at("test"), "probe-lies", message)
    timeout, interval = read_seconds(health.get("timeout", "30s")), read_seconds(health.get("interval", "30s"))
    if health and timeout is not None and interval is not None and timeout > interval:
        message = f"the health check of {name} waits {timeout:g} s and is due every {interval:g} s; wait less"
        yield warning(health.at("timeout"), "probe-timeout", message)


def _check_limits(name: str, service: Table) -> Iterator[Finding]:
    limits = table(service, "deploy", "resources", "limits")
    holder, key = (limits, "memory") if "memory" in limits else (service, "mem_limit")
    most, size = read_size(holder.get(key, "")), model_bytes(_labels(service))
    if most is not None and size is not None and most < size:
        message = (
            f"the memory limit of {name}, {holder[key]}, is below the model's size of {show_bytes(size)}: the server "
            "is killed while it loads; raise it"
        )
        yield error(holder.at(key), "memory-below-model", message)
    for key in SWARM:
        if key in table(service, "deploy"):
            message = f"deploy.{key} is Swarm's: `docker compose` reads past it; remove it"
            yield warning(table(service, "deploy").at(key), "compose-key-ignored", message)
    image = text(service, "image")
    tag = image.partition("@")[0].rpartition("/")[2].partition(":")[2]
    if image and "@" not in image and "$" not in image and tag in {"", "latest"}:
        message = f"the image {image} is whatever was pushed last: name a version or a digest"
        yield warning(service.at("image"), "image-latest", message)


def _labels(service: Table) -> dict[str, str]:
    found: dict[str, str] = {}
    for key in ("labels", "annotations"):
        given = service.get(key)
        if isinstance(given, Table):
            found.update({name: str(value) for name, value in given.items()})
        elif isinstance(given, list):
            pairs = (str(item).partition("=") for item in given)
            found.update({name: value for name, _, value in pairs})
    return found


def _check_ports(name: str, service: Table, published: dict[str, Place]) -> Iterator[Finding]:
    ports = service.get("ports")
    copies = dig(service, "deploy", "replicas") or service.get("scale") or 1
    for port in ports if isinstance(ports, Row) else ():
        host = _host_port(port)
        place = _at(ports, port)
        if not host:
            continue
        if host in published:
            first = published[host]
            message = f"{name} publishes {host}, as line {first.line} does; the second cannot start: choose another"
            yield error(place, "compose-port-twice", message)
        elif isinstance(copies, int) and copies > 1:
            message = f"{copies} replicas of {name} all want {host} of this machine: publish a range, or none"
            yield error(place, "compose-port-twice", message)
        published.setdefault(host, place)


def _host_port(port: object) -> str:
    """Give the address and port of this machine that a port is published on; empty where Compose chooses."""
    if isinstance(port, Table):
        host = port.get("published")
        return f"{port.get('host_ip', '0.0.0.0')}:{host}" if host and "-" not in str(host) else ""  # noqa: S104  # a name, not bound to
    parts = str(port).partition("/")[0].rsplit(":", 2)
    if len(parts) == 1 or "-" in parts[-2] or "$" in parts[-2] or not parts[-2]:
        return ""
    return f"{parts[0] if len(parts) == 3 else '0.0.0.0'}:{parts[-2]}"  # noqa: S104  # the same
