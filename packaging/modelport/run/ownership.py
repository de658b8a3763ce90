"""Which fields of a Kubernetes object are whose, and the earlier state of those that we touched.

The API server keeps, for each manager, the tree of the fields that it applied (``metadata.managedFields``): ``f:name``
is a field, ``k:{…}`` an entry of a list by its keys, ``v:…`` a value in a set, ``.`` the container itself.
"""

from __future__ import annotations

import json
from typing import Any

Object = dict[str, Any]

IDENTITY = ("name", "namespace")


def earlier_fields(before: Object, now: Object, manager: str) -> Object:
    """Give the earlier state of an object, as far as ``manager`` owned it then or owns it now.

    Applied, it puts back what was changed, drops what was added, and leaves alone what others set meanwhile.
    """
    tree = _joined(_owned(before, manager), _owned(now, manager))
    metadata = {key: before["metadata"][key] for key in IDENTITY if key in before["metadata"]}
    kept = _extract(before, tree) if tree else {}
    return {
        **kept,
        "apiVersion": before["apiVersion"],
        "kind": before["kind"],
        "metadata": {**kept.get("metadata", {}), **metadata},
    }


def _owned(live: Object, manager: str) -> Object:
    tree: Object = {}
    for entry in live["metadata"].get("managedFields", ()):
        if entry.get("manager") == manager and entry.get("operation") == "Apply":
            tree = _joined(tree, entry.get("fieldsV1", {}))
    return tree


def _joined(one: Object, other: Object) -> Object:
    return {
        key: _joined(one[key], other[key]) if key in one and key in other else one.get(key, other.get(key))
        for key in {**one, **other}
    }


def _extract(value: Any, tree: Object) -> Any:
    if not tree:
        return value
    if isinstance(value, dict):
        names = [key[2:] for key in tree if key.startswith("f:")]
        return {name: _extract(value[name], tree[f"f:{name}"]) for name in names if name in value}
    if isinstance(value, list):
        return [entry for each in value for entry in _extract_entry(each, tree)]
    return value


def _extract_entry(entry: Any, tree: Object) -> list[Any]:
    """Give the entry of a list as far as it is owned: in a list of one, or none."""
    for key, below in tree.items():
        kind, _, text = key.partition(":")
        if kind == "v" and json.loads(text) == entry:
            return [entry]
        if kind == "k" and isinstance(entry, dict):
            keys = json.loads(text)
            if all(entry.get(name, value) == value for name, value in keys.items()):
                return [{**_extract(entry, below), **{name: entry[name] for name in keys if name in entry}}]
    return []
