"""Fields that Kubernetes does not know, in the wrong place or of the wrong type.

The schemas are those of the official client's models, which come with modelport[kubernetes]; without it, a note says
that this was not checked.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from modelport_manifests.check.finding import Finding, Place, error, note
from modelport_manifests.check.objects import Object, World
from modelport_manifests.check.reading import Row, Table, text

PLAIN: dict[str, tuple[tuple[type, ...], str]] = {
    "str": ((str,), "text: put it in quotes"),
    "int": ((int,), "a whole number, without quotes"),
    "float": ((int, float), "a number"),
    "bool": ((bool,), "true or false, without quotes"),
    "datetime": ((str,), "a time"),
    "bytes": ((str,), "text in base64"),
}
COLLECTION = re.compile(r"([LlDd])i(?:st\[|ct[(\[]str, )(.+)[\])]")
"""``List[V1Volume]`` and ``Dict[str, str]``, or ``list[…]`` and ``dict(str, str)``, as older clients write them."""
MODEL = re.compile(r"V\d\w+")
QUANTITIES = {
    "limits", "requests", "sizeLimit", "divisor", "averageValue", "hard", "capacity",
    "default", "defaultRequest", "max", "min", "maxLimitRequestRatio",
}  # fmt: skip
"""Where Kubernetes takes a number for text."""
DIRECTIVES = {"$patch", "$retainKeys", "$setElementOrder"}


def check_fields(objects: tuple[Object, ...]) -> Iterator[Finding]:
    """Check the fields of every object of a kind that Kubernetes itself has; patches may be among them."""
    builtin = [thing for thing in objects if _is_builtin(thing)]
    if not builtin:
        return
    if not _installed():
        message = (
            f"the fields of {len(builtin)} objects were not checked: that needs pip install 'modelport[kubernetes]'"
        )
        yield note(builtin[0].place, "fields-unchecked", message)
        return
    for thing in builtin:
        model = _model_of(thing)
        if model is None:
            message = f"Kubernetes has no {thing.kind} in {thing.api}: it is refused"
            yield error(thing.data.at("apiVersion"), "unknown-kind", message)
        else:
            yield from _check_model(thing.data, model, thing.kind, ())


def check_pod(data: Table, others: Collection[str], path: str) -> Iterator[Finding]:
    """Check a pod's fields that stand among ``others``, as in KServe's predictors."""
    if not _installed():
        return
    for finding in _check_model(data, "V1PodSpec", path, ()):
        place = Place(finding.file, finding.line, finding.column or 0)
        if not any(data.at(key) == place for key in others if key in data):
            yield finding


def check_required(world: World) -> Iterator[Finding]:
    """Check that nothing lacks that must be there; patches, which may lack it, are no objects of a world."""
    if not _installed():
        return
    for thing in world.objects:
        model = _model_of(thing) if _is_builtin(thing) else None
        if model is not None:
            yield from _check_lacking(thing.data, model, thing.kind)
            if not thing.name and not text(thing.data, "metadata", "generateName"):
                yield error(thing.place, "field-missing", f"{thing.kind} has no metadata.name: it is refused")


def _check_lacking(data: Any, model: str, path: str) -> Iterator[Finding]:
    if not isinstance(data, Table):
        return
    for key in _required(model):
        if data.get(key) is None:
            yield error(data.place, "field-missing", f"{path} has no {key}, which must be there: it is refused")
    for key, kind in _schema(model).items():
        value, found = data.get(key), COLLECTION.fullmatch(kind)
        inner = found[2] if found is not None else kind
        if not MODEL.fullmatch(inner):
            continue
        yield from _check_lacking(value, inner, f"{path}.{key}") if found is None else ()
        for index, item in enumerate(value if isinstance(value, Row) else ()):
            yield from _check_lacking(item, inner, f"{path}.{key}[{index}]")


@cache
def _required(model: str) -> tuple[str, ...]:
    """Give the fields that a model must have; clients that are no pydantic models do not tell."""
    kind = getattr(import_module("kubernetes.client.models"), model)
    known = getattr(kind, "model_fields", {})
    return tuple(kind.attribute_map[name] for name, field in known.items() if field.is_required())


def _installed() -> bool:
    return find_spec("kubernetes") is not None


def _is_builtin(thing: Object) -> bool:
    group = thing.group
    return bool(thing.kind) and ("." not in group or group.endswith(".k8s.io")) and group != "gateway.networking.k8s.io"


def _model_of(thing: Object) -> str | None:
    version = thing.api.rpartition("/")[2]
    name = f"{version[:1].upper()}{version[1:]}{thing.kind}"
    models = import_module("kubernetes.client.models")
    return name if re.fullmatch(r"V\w+", name) and hasattr(models, name) else None


@cache
def _schema(model: str) -> dict[str, str]:
    """Give a model's fields by name, as YAML has them, with their types in the client's words."""
    kind = getattr(import_module("kubernetes.client.models"), model)
    return {field: kind.openapi_types[name] for name, field in kind.attribute_map.items()}


def _check_model(data: Any, model: str, path: str, above: tuple[tuple[str, str], ...]) -> Iterator[Finding]:
    """Check a mapping against a model; ``above`` are the models around it, with their paths."""
    fields = _schema(model)
    if not isinstance(data, Table):
        return
    for key, value in data.items():
        if key in DIRECTIVES:
            continue
        if key not in fields:
            yield error(data.at(key), "unknown-field", _explain(key, model, path, above))
            continue
        yield from _check_value(data.at(key), value, fields[key], key, (*above, (model, path)))


def _check_value(
    place: Place, value: Any, kind: str, key: str, above: tuple[tuple[str, str], ...]
) -> Iterator[Finding]:
    """Check a field's value; ``above`` ends with the model that has the field."""
    model, outer = above[-1]
    path = f"{outer}.{key}"
    inner = COLLECTION.fullmatch(kind)
    if value is None or kind == "object":
        return
    if kind in PLAIN:
        quantity = key in QUANTITIES or (model, key) == ("V2MetricTarget", "value")
        yield from _check_plain(place, value, kind, path, quantity=quantity)
    elif inner is not None and inner[1] in "Ll":
        if not isinstance(value, Row):
            yield _mistyped(place, path, "a list", value)
            return
        for index, item in enumerate(value):
            yield from _check_value(value.items_at[index], item, inner[2], f"{key}[{index}]", above)
    elif not isinstance(value, Table):
        yield _mistyped(place, path, "a mapping", value)
    elif inner is not None:
        for name, item in value.items():
            if inner[2] in PLAIN:
                yield from _check_plain(value.at(name), item, inner[2], f"{path}.{name}", quantity=key in QUANTITIES)
    else:
        yield from _check_model(value, kind, path, above)


def _check_plain(place: Place, value: Any, kind: str, path: str, *, quantity: bool) -> Iterator[Finding]:
    types, wanted = PLAIN[kind]
    right = isinstance(value, types) and (bool in types or not isinstance(value, bool))
    if not (right or value is None or (quantity and isinstance(value, int | float))):
        yield _mistyped(place, path, wanted, value)


def _mistyped(place: Place, path: str, wanted: str, value: Any) -> Finding:
    return error(place, "wrong-type", f"{path} must be {wanted}, and is {_show(value)}: it is refused")


def _show(value: Any) -> str:
    if isinstance(value, Table):
        return "a mapping"
    if isinstance(value, Row):
        return "a list"
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _explain(key: str, model: str, path: str, above: tuple[tuple[str, str], ...]) -> str:
    """Say that a field is unknown, and where it belongs or what was meant."""
    said = f"{path} has no field {key!r}: it is refused, or dropped"
    fields = _schema(model)
    near = get_close_matches(key, fields, n=1, cutoff=0.75)
    if near:
        return f"{said}; did you mean {near[0]}?"
    for name, kind in fields.items():
        found = COLLECTION.fullmatch(kind)
        inner = found[2] if found is not None else kind
        if MODEL.fullmatch(inner) and key in _schema(inner):
            return f"{said}; it belongs in {path}.{name}{'[]' if inner != kind else ''}"
    for outer, outer_path in reversed(above):
        if key in _schema(outer):
            return f"{said}; it belongs in {outer_path}"
    return said
