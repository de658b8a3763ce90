"""Kustomizations: which objects are applied together, after patches and overrides.

What is resolved: resources, components, patches (strategic merge, in files or inline), images, replicas, namespace,
and names that generators make. Prefixes and suffixes change all names alike and are left out.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from modelport_manifests.check.finding import Finding, Place, error
from modelport_manifests.check.known import check_keys, words
from modelport_manifests.check.objects import Object
from modelport_manifests.check.reading import Row, Table, dig, read_yaml, table, tables, text

NAMES = ("kustomization.yaml", "kustomization.yml", "Kustomization")
KEYS = words(
    """
    apiVersion kind metadata resources components bases crds namespace namePrefix nameSuffix labels commonLabels
    commonAnnotations patches patchesStrategicMerge patchesJson6902 images replicas configMapGenerator secretGenerator
    generatorOptions generators transformers validators vars replacements helmCharts helmGlobals
    helmChartInflationGenerator configurations openapi buildMetadata inventory sortOptions
    """
)
"""Fields of Kustomize 5 (kubernetes-sigs/kustomize: api/types/kustomization.go)."""
GENERATORS = {"configMapGenerator": "ConfigMap", "secretGenerator": "Secret"}
MERGED_BY = {
    "containers": "name", "initContainers": "name", "env": "name", "volumes": "name", "volumeMounts": "mountPath",
    "ports": "containerPort", "imagePullSecrets": "name", "topologySpreadConstraints": "topologyKey",
}  # fmt: skip
"""Lists that a strategic merge joins, and by which key; other lists are replaced."""


@dataclass(slots=True)
class Built:
    """What a kustomization makes.

    Attributes:
        objects: Its objects, patched.
        findings: What is wrong with it.
        whole: Whether all of it could be read.
        files: Every file that belongs to it, patches among them.
    """

    objects: list[Object] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    whole: bool = True
    files: set[str] = field(default_factory=set)


def find_kustomization(documents: Mapping[str, list[Any]], folder: str) -> str | None:
    """Give the kustomization file of a folder, if it has one."""
    return next((path for name in NAMES if (path := posixpath.join(folder, name)) in documents), None)


def build_kustomization(documents: Mapping[str, list[Any]], file: str, above: tuple[str, ...] = ()) -> Built:
    """Build a kustomization.

    Args:
        documents: The documents of every file, by path.
        file: The kustomization's path.
        above: The kustomizations that lead here.
    """
    built = Built(files={file})
    data = documents[file][0] if documents[file] else None
    if not isinstance(data, Table):
        built.whole = False
        return built
    built.findings.extend(check_keys(data, KEYS, "a kustomization"))
    for key in ("resources", "components", "bases"):
        _add_resources(built, documents, data, key, (*above, file))
    _generate(built, data)
    _patch(built, documents, data, posixpath.dirname(file))
    _override(built, data)
    return built


def _add_resources(
    built: Built, documents: Mapping[str, list[Any]], data: Table, key: str, above: tuple[str, ...]
) -> None:
    for entry, place in _entries(data.get(key)):
        if not isinstance(entry, str) or "://" in entry or "?ref=" in entry or entry.startswith("git@"):
            built.whole = False  # it stands elsewhere
            continue
        path = posixpath.normpath(posixpath.join(posixpath.dirname(above[-1]), entry))
        inner = path if path in documents else find_kustomization(documents, "" if path == "." else path)
        if inner is None:
            built.whole = False
            if path.startswith(".."):
                continue  # outside of what is checked
            message = f"{key} names {entry!r}, and there is no such file, nor a folder with a kustomization"
            built.findings.append(error(place, "kustomize-missing", message))
        elif inner in above:
            built.whole = False
            built.findings.append(error(place, "kustomize-missing", f"{entry!r} leads back to this kustomization"))
        elif inner == path:
            built.files.add(path)
            found = [Object(item) for item in documents[path] if isinstance(item, Table)]
            built.whole = built.whole and bool(found)
            built.objects.extend(found)
        else:
            other = build_kustomization(documents, inner, above)
            built.objects.extend(other.objects)
            built.findings.extend(other.findings)
            built.files |= other.files
            built.whole = built.whole and other.whole


def _entries(listed: object) -> Iterator[tuple[Any, Place]]:
    return zip(listed, listed.items_at, strict=True) if isinstance(listed, Row) else iter(())


def _generate(built: Built, data: Table) -> None:
    """Add an object for every name that a generator makes; the hash in the name is added to references, too."""
    for key, kind in GENERATORS.items():
        for entry in tables(data, key):
            made = _make(entry, apiVersion="v1", kind=kind)
            made["metadata"] = _make(entry, name=text(entry, "name"))
            made["metadata"].keys_at["name"] = entry.at("name")
            if not any(thing.kind == kind and thing.name == text(entry, "name") for thing in built.objects):
                built.objects.append(Object(made))


def _make(source: Table, **values: Any) -> Table:
    made = Table(source.place)
    made.update(values)
    return made


def _patch(built: Built, documents: Mapping[str, list[Any]], data: Table, folder: str) -> None:
    for patch, target, place in _patches(built, documents, data, folder):
        if not isinstance(patch, Table):
            continue  # a JSON patch: what it changes is not followed
        kind = text(target, "kind") or text(patch, "kind")
        name = text(target, "name") or (text(patch, "metadata", "name") if not target else "")
        meant = [i for i, thing in enumerate(built.objects) if thing.kind == kind and name in {"", thing.name}]
        if not meant and built.whole:
            known = ", ".join(sorted({thing.name for thing in built.objects if thing.kind == kind})) or "none"
            message = f"patches the {kind} {name!r}, which its resources do not hold: there is {known}"
            built.findings.append(error(place, "kustomize-patch", message))
        for index in meant:
            merged = None if patch.get("$patch") == "delete" else merge(built.objects[index].data, patch)
            built.objects[index] = Object(merged) if merged is not None else Object(Table(patch.place))
    built.objects = [thing for thing in built.objects if thing.kind]


def _patches(
    built: Built, documents: Mapping[str, list[Any]], data: Table, folder: str
) -> Iterator[tuple[Any, Table, Place]]:
    """Give each patch with the target that it names and the place to blame."""
    for entry in tables(data, "patches"):
        target, inline = table(entry, "target"), text(entry, "patch")
        if inline:
            place = entry.at("patch")
            found, findings = read_yaml(place.file, inline.encode())
            built.findings.extend(replace(finding, line=place.line, column=place.column) for finding in findings)
            yield from ((_moved(item, place), target, place) for item in found)
        else:
            path, place = text(entry, "path"), entry.at("path")
            yield from ((item, target, place) for item in _read_patch(built, documents, folder, path, place))
    for path, place in _entries(data.get("patchesStrategicMerge")):
        yield from ((item, Table(place), place) for item in _read_patch(built, documents, folder, str(path), place))


def _read_patch(built: Built, documents: Mapping[str, list[Any]], folder: str, entry: str, place: Place) -> list[Any]:
    path = posixpath.normpath(posixpath.join(folder, entry))
    built.files.add(path)
    if path not in documents:
        built.whole = False
        built.findings.append(
            error(place, "kustomize-missing", f"names the patch {entry!r}, and there is no such file")
        )
    return documents.get(path, [])


def _moved(data: Any, place: Place) -> Any:
    """Let everything in an inline patch stand where the patch stands."""
    if isinstance(data, Table):
        data.place = place
        data.keys_at = dict.fromkeys(data.keys_at, place)
        for value in data.values():
            _moved(value, place)
    elif isinstance(data, Row):
        data.place, data.items_at = place, [place] * len(data)
        for value in data:
            _moved(value, place)
    return data


def merge(base: Table, patch: Table) -> Table:
    """Merge a patch into an object as Kubernetes does it strategically; both stay as they are."""
    merged = Table(base.place)
    merged.update(base)
    merged.keys_at, merged.texts_at = dict(base.keys_at), dict(base.texts_at)
    for key, value in patch.items():
        if key == "$patch":
            continue
        before = merged.get(key)
        if value is None or (isinstance(value, Table) and value.get("$patch") == "delete"):
            merged.pop(key, None)
        elif isinstance(value, Table) and isinstance(before, Table) and value.get("$patch") != "replace":
            merged[key] = merge(before, value)
        elif isinstance(value, Row) and isinstance(before, Row) and key in MERGED_BY:
            merged[key] = _merge_rows(before, value, MERGED_BY[key])
        else:
            merged[key], merged.keys_at[key] = value, patch.at(key)
    return merged


def _merge_rows(base: Row, patch: Row, by: str) -> Row:
    merged = Row(base.place)
    if any(dig(item, "$patch") == "replace" for item in patch):
        kept = [(item, at) for item, at in _entries(patch) if dig(item, "$patch") is None]
        merged.extend(item for item, _ in kept)
        merged.items_at = [at for _, at in kept]
        return merged
    merged.extend(base)
    merged.items_at = list(base.items_at)
    for index, item in enumerate(patch):
        at = next((i for i, old in enumerate(merged) if dig(old, by) == dig(item, by)), None)
        if at is None:
            merged.append(item)
            merged.items_at.append(patch.items_at[index])
        elif dig(item, "$patch") == "delete":
            del merged[at], merged.items_at[at]
        elif isinstance(item, Table) and isinstance(merged[at], Table):
            merged[at] = merge(merged[at], item)
    return merged


def _override(built: Built, data: Table) -> None:
    """Apply replicas, images and namespace."""
    for entry in tables(data, "replicas"):
        for index, thing in enumerate(built.objects):
            if thing.kind in {"Deployment", "StatefulSet", "ReplicaSet"} and thing.name == text(entry, "name"):
                patch = _make(entry, spec=_make(entry, replicas=entry.get("count")))
                patch["spec"].keys_at["replicas"] = entry.at("count")
                built.objects[index] = Object(merge(thing.data, patch))
    images = {text(entry, "name"): entry for entry in tables(data, "images")}
    if images:
        built.objects = [Object(_with_images(thing.data, images)) for thing in built.objects]
    namespace = text(data, "namespace")
    if namespace:
        for index, thing in enumerate(built.objects):
            patch = _make(data, metadata=_make(data, namespace=namespace))
            built.objects[index] = Object(merge(thing.data, patch))


def _with_images(data: Any, images: Mapping[str, Table]) -> Any:
    """Give a copy in which every image that is overridden has its new name, tag or digest."""
    if isinstance(data, Row):
        row = Row(data.place)
        row.extend(_with_images(item, images) for item in data)
        row.items_at = data.items_at
        return row
    if not isinstance(data, Table):
        return data
    changed = merge(data, Table(data.place))
    for key, value in data.items():
        changed[key] = _with_images(value, images)
        if key == "image" and isinstance(value, str):
            name, tag = _split_image(value)
            entry = images.get(name)
            if entry is not None:
                digest, newer = text(entry, "digest"), entry.get("newTag")
                ending = f"@{digest}" if digest else f":{newer}" if newer is not None else tag
                changed[key], changed.keys_at[key] = (text(entry, "newName") or name) + ending, entry.place
    return changed


def _split_image(image: str) -> tuple[str, str]:
    """Give an image's name, and its tag or digest with the character before it."""
    name, at, digest = image.partition("@")
    if at:
        return name, at + digest
    head, slash, last = name.rpartition("/")
    base, colon, tag = last.partition(":")
    return head + slash + base, colon + tag
