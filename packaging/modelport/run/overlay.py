"""Kubernetes objects from a folder of manifests: a Kustomize base, or an overlay over it, resolved in memory.

Only the features that generated manifests use are understood; a key that is none of them is an error, never skipped.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from modelport.errors import SpecError

Object = dict[str, Any]

KUSTOMIZATION = "kustomization.yaml"
KNOWN = {"apiVersion", "kind", "metadata", "resources", "patches", "images", "namespace", "replicas", "labels"}

# Lists whose entries are told apart by a key; every other list is replaced as a whole.
MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "env": "name",
    "ports": "containerPort",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "imagePullSecrets": "name",
}


def resolve_objects(files: Mapping[str, bytes], overlay: str | None) -> list[Object]:
    """Give the objects of the base, or of the overlay called ``overlay``.

    Args:
        files: Content by path, relative to the folder.
        overlay: ``dev``, ``prod``, …; None for the base.

    Raises:
        SpecError: There is no such overlay, or it uses what is not understood here.
    """
    folders = {posixpath.dirname(path) for path in files if posixpath.basename(path) == KUSTOMIZATION}
    named = {posixpath.basename(folder): folder for folder in sorted(folders)}
    wanted = overlay or "base"
    if wanted not in named:
        others = sorted(set(named) - {"base"})
        near = get_close_matches(wanted, others, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise SpecError(f"--overlay {wanted}: there is none; there are {', '.join(others) or 'no overlays'}.{hint}")
    return _kustomized(named[wanted], files)


def merge(base: Any, patch: Any, key: str = "") -> Any:
    """Give ``base`` with a strategic merge patch: mappings are merged, None removes, lists follow `MERGE_KEYS`."""
    if isinstance(base, Mapping) and isinstance(patch, Mapping):
        merged = dict(base)
        for name, value in patch.items():
            if value is None:
                merged.pop(name, None)
            else:
                merged[name] = merge(base[name], value, name) if name in base else value
        return merged
    if key in MERGE_KEYS and isinstance(base, list) and isinstance(patch, list):
        return _merge_entries(base, patch, MERGE_KEYS[key])
    if isinstance(patch, list):  # replaced as a whole, whether or not the patch says so
        return [entry for entry in patch if entry != {"$patch": "replace"}]
    return patch


def _merge_entries(base: list[Object], patch: list[Object], told_by: str) -> list[Object]:
    patches = {entry[told_by]: entry for entry in patch}
    names = [entry[told_by] for entry in base]
    removed = {name for name, entry in patches.items() if entry.get("$patch") == "delete"}
    kept = [merge(entry, patches.get(entry[told_by], {})) for entry in base if entry[told_by] not in removed]
    return kept + [entry for name, entry in patches.items() if name not in names and name not in removed]


def _kustomized(folder: str, files: Mapping[str, bytes]) -> list[Object]:
    path = posixpath.join(folder, KUSTOMIZATION)
    settings = _documents(path, files)[0]
    if strangers := settings.keys() - KNOWN:
        raise SpecError(f"{path}: {', '.join(sorted(strangers))}: not understood here; apply it with kubectl apply -k")
    objects: list[Object] = []
    for entry in settings.get("resources", ()):
        where = posixpath.normpath(posixpath.join(folder, entry))
        is_file = where in files
        objects += _documents(where, files) if is_file else _kustomized(where, files)
    for patch in settings.get("patches", ()):
        objects = _patched(objects, patch, folder, files)
    for each in objects:
        _set_images(each, settings.get("images", ()))
        _set_replicas(each, settings.get("replicas", ()))
        _add_labels(each, settings.get("labels", ()), path)
        if "namespace" in settings:
            each["metadata"]["namespace"] = settings["namespace"]
    return objects


def _documents(path: str, files: Mapping[str, bytes]) -> list[Object]:
    import yaml

    if path not in files:
        raise SpecError(f"{path}: named by a kustomization, and not there")
    return [document for document in yaml.safe_load_all(files[path]) if document]


def _patched(objects: list[Object], patch: Mapping[str, Any], folder: str, files: Mapping[str, bytes]) -> list[Object]:
    import yaml

    if "path" in patch:
        changes = _documents(posixpath.normpath(posixpath.join(folder, patch["path"])), files)
    else:
        changes = [document for document in yaml.safe_load_all(patch["patch"]) if document]
    for change in changes:
        if not isinstance(change, Mapping):
            raise SpecError(f"{folder}: a JSON patch is not understood here; apply it with kubectl apply -k")
        target = patch.get("target") or {"kind": change["kind"], "name": change["metadata"]["name"]}
        found = [index for index, each in enumerate(objects) if _is_target(each, target)]
        if not found:
            raise SpecError(f"{folder}: a patch names {target}, which is not there")
        for index in reversed(found):
            if change.get("$patch") == "delete":
                del objects[index]
            else:
                kept = {key: value for key, value in change.items() if key not in {"apiVersion", "kind"}}
                kept["metadata"] = {**kept.get("metadata", {}), "name": objects[index]["metadata"]["name"]}
                objects[index] = merge(objects[index], kept)
    return objects


def _is_target(each: Object, target: Mapping[str, Any]) -> bool:
    names = {"kind": each["kind"], "name": each["metadata"]["name"]}
    return all(names.get(key) == value for key, value in target.items())


def _pod_spec(each: Object) -> Object:
    spec: Object = each.get("spec", {}).get("template", {}).get("spec", {})
    return spec


def _set_images(each: Object, images: Sequence[Mapping[str, str]]) -> None:
    for container in (*_pod_spec(each).get("containers", ()), *_pod_spec(each).get("initContainers", ())):
        plain = container["image"].partition("@")[0]
        name, _, tag = plain.rpartition(":") if ":" in plain.rpartition("/")[2] else (plain, "", "")
        for image in images:
            if image["name"] != name:
                continue
            suffix = f"@{image['digest']}" if "digest" in image else f":{image.get('newTag', tag)}"
            container["image"] = image.get("newName", name) + (suffix if suffix != ":" else "")


def _set_replicas(each: Object, replicas: Sequence[Mapping[str, Any]]) -> None:
    for entry in replicas:
        if each["kind"] in {"Deployment", "StatefulSet"} and each["metadata"]["name"] == entry["name"]:
            each["spec"]["replicas"] = entry["count"]


def _add_labels(each: Object, labels: Sequence[Mapping[str, Any]], path: str) -> None:
    for entry in labels:
        if entry.get("includeSelectors"):
            raise SpecError(f"{path}: labels with includeSelectors are not understood here; use kubectl apply -k")
        places = [each["metadata"]]
        if entry.get("includeTemplates") and "template" in each.get("spec", {}):
            places.append(each["spec"]["template"].setdefault("metadata", {}))
        for place in places:
            place["labels"] = {**place.get("labels", {}), **entry["pairs"]}
