"""The server's configuration as a ConfigMap, and the account that the pods run as."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from modelport.errors import SpecError
from modelport.plan import ServicePlan
from modelport.spec.schema import ModelSpec
from modelport_manifests.names import Track, config_name, labels, object_name, track_name
from modelport_manifests.serving import content_of

Object = dict[str, Any]

LARGEST = 2**20 - 2**14  # a ConfigMap's bytes, with room for its metadata


def metadata(spec: ModelSpec, service: ServicePlan, name: str, track: Track | None = None) -> Object:
    """Give an object's name, namespace and labels."""
    return {**identity(spec, name), "labels": labels(spec, service, track)}


def identity(spec: ModelSpec, name: str) -> Object:
    """Give an object's name and namespace, by which it is found."""
    namespace = spec.deploy.namespace if spec.deploy is not None else None
    return {"name": name} if namespace is None else {"name": name, "namespace": namespace}


def plan_account(spec: ModelSpec, service: ServicePlan) -> Object:
    """Give an account without rights, and without a token in the pods."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata(spec, service, object_name(spec, service.backend)),
        "automountServiceAccountToken": False,
    }


def plan_config_map(spec: ModelSpec, service: ServicePlan, track: Track = "stable") -> Object | None:
    """Give the files that are mounted over the image's own; None where the server has none.

    Raises:
        SpecError: They are larger than a ConfigMap may be, or two have one key.
    """
    name = config_map_name(spec, service, track)
    if name is None:
        return None
    texts, binaries = _contents(service)
    found: Object = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(spec, service, name, track),
        "immutable": True,
        "data": texts,
    }
    if binaries:
        found["binaryData"] = binaries
    return found


def config_map_name(spec: ModelSpec, service: ServicePlan, track: Track) -> str | None:
    """Name the ConfigMap after its content; None where there is none."""
    if not service.files:
        return None
    content = json.dumps(_contents(service), sort_keys=True).encode()
    return config_name(track_name(object_name(spec, service.backend), track), content)


def config_volume(name: str, service: ServicePlan) -> Object:
    """Say which key becomes which file: a key has no slashes."""
    items = [{"key": key, "path": path} for key, path in config_keys(service).items()]
    plain = all(item["key"] == item["path"] for item in items)
    return {"name": name} if plain else {"name": name, "items": items}


def config_keys(service: ServicePlan) -> Mapping[str, str]:
    """Give the key of every file: its path with dots for slashes.

    Raises:
        SpecError: Two files have one key.
    """
    keys: dict[str, str] = {}
    for file in service.files:
        key = file.path.replace("/", ".")
        if key in keys:
            raise SpecError(f"{service.backend}: {keys[key]} and {file.path} are one key of a ConfigMap, {key}")
        keys[key] = file.path
    return keys


def _contents(service: ServicePlan) -> tuple[dict[str, str], dict[str, str]]:
    texts: dict[str, str] = {}
    binaries: dict[str, str] = {}
    data = {file.path: content_of(file) for file in service.files}
    if sum(map(len, data.values())) > LARGEST:
        raise SpecError(f"{service.backend}: its configuration is larger than the 1 MiB that a ConfigMap may have")
    for key, path in config_keys(service).items():
        try:
            texts[key] = data[path].decode("utf-8")
        except UnicodeDecodeError:
            binaries[key] = base64.b64encode(data[path]).decode()
    return texts, binaries
