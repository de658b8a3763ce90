"""Volumes: what they are, where they are mounted, and how many pods can have one."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from modelport_manifests.check.finding import Finding, error, warning
from modelport_manifests.check.objects import Pod, World
from modelport_manifests.check.reading import Table, dig, table, tables, text
from modelport_manifests.check.scaling import most_replicas
from modelport_manifests.check.values import DNS_LABEL, LONGEST_LABEL

ONE_NODE = {"ReadWriteOnce", "ReadWriteOncePod"}


def check_storage(world: World) -> Iterator[Finding]:
    """Check the volumes of every pod, and their mounts."""
    for pod in world.pods:
        yield from _check_volumes(pod)
        yield from _check_claims(world, pod)
        for container in (*pod.containers, *tables(pod.spec, "initContainers")):
            yield from _check_mounts(pod, container)


def _check_volumes(pod: Pod) -> Iterator[Finding]:
    seen: set[str] = set()
    for volume in tables(pod.spec, "volumes"):
        name = text(volume, "name")
        sources = [key for key in volume if key != "name"]
        if len(sources) > 1:
            message = f"the volume {name!r} is {' and '.join(sources)}, which is refused; keep one"
            yield error(volume.at(sources[1]), "value-refused", message)
        elif not sources or (volume[sources[0]] is None and sources != ["emptyDir"]):
            message = (
                f"the volume {name!r} says nothing of what it is, and becomes an empty folder (emptyDir); is something "
                "indented too little?"
            )
            yield warning(volume.place, "volume-empty", message)
        if name in seen or (name and (not DNS_LABEL.fullmatch(name) or len(name) > LONGEST_LABEL)):
            said = (
                "stands twice" if name in seen else f"must be at most {LONGEST_LABEL} lower-case letters, digits, '-'"
            )
            yield error(volume.at("name"), "name-refused", f"the volume's name {name!r} is refused: it {said}")
        seen.add(name)


def _check_claims(world: World, pod: Pod) -> Iterator[Finding]:
    """Check that a disk that one node has is not wanted by pods on several."""
    count = most_replicas(world, pod.owner)
    for volume in tables(pod.spec, "volumes"):
        source = table(volume, "persistentVolumeClaim")
        claim = world.find("PersistentVolumeClaim", text(source, "claimName"), pod.owner.namespace)
        modes = dig(claim.data, "spec", "accessModes") if claim is not None else None
        if count is not None and count > 1 and isinstance(modes, list) and modes and ONE_NODE.issuperset(modes):
            message = (
                f"{count} pods of {pod.owner.title} share {text(source, 'claimName')!r}, which is {modes[0]}: those on "
                "other nodes never start; use ReadOnlyMany or ReadWriteMany, or leave the model in its image"
            )
            yield warning(source.at("claimName"), "volume-one-node", message)


def _check_mounts(pod: Pod, container: Table) -> Iterator[Finding]:
    volumes = {text(volume, "name") for volume in tables(pod.spec, "volumes")}
    if pod.owner.kind == "StatefulSet":
        claims = tables(pod.owner.data, "spec", "volumeClaimTemplates")
        volumes |= {text(claim, "metadata", "name") for claim in claims}
    seen: set[str] = set()
    for mount in tables(container, "volumeMounts"):
        name, path = text(mount, "name"), text(mount, "mountPath").rstrip("/")
        if name not in volumes:
            message = f"mounts the volume {name!r}, which the pod does not have: {', '.join(sorted(volumes)) or 'none'}"
            yield error(mount.at("name"), "volume-missing", message)
        yield from _check_path(mount)
        if path in seen:
            yield error(mount.at("mountPath"), "mount-twice", f"two volumes are mounted at {path}; keep one")
        seen.add(path)


def _check_path(mount: Table) -> Iterator[Finding]:
    path, below = text(mount, "mountPath"), text(mount, "subPath")
    if ":" in path:
        yield error(mount.at("mountPath"), "value-refused", f"mountPath: {path} is refused: it must have no colon")
    elif path and not path.startswith("/"):
        message = (
            f"mountPath: {path} is relative: it is mounted at {posixpath.join('/', path)}, whatever folder the image "
            "works in; write that, or the path that was meant"
        )
        yield warning(mount.at("mountPath"), "mount-relative", message)
    if below.startswith("/") or ".." in below.split("/"):
        message = f"subPath: {below} is refused: it must be relative, and lead nowhere above"
        yield error(mount.at("subPath"), "value-refused", message)
