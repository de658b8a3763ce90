"""Trees of nodes to typed data; what pydantic refuses becomes faults with positions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from modelport.spec.fault import Fault, render_key
from modelport.spec.node import Found, Node, Scalar, Sequence, find, read_plain, to_value
from modelport.spec.section import MisplacedValue
from modelport.spec.sentence import compose_sentence, compose_unknown

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

T = TypeVar("T")
ASKS_FOR_NO_TEXT = ("int_type", "float_type", "bool_type")
KEY_MARK = "[key]"


def validate_node(
    node: Node, parse: Callable[[Any], T], *, file: str, section: type[BaseModel] | None, under: tuple[str, ...] = ()
) -> tuple[T | None, list[Fault]]:
    """Parse a tree.

    Args:
        node: The tree. A scalar with a variable in it turns into a number where the parser asks for one.
        parse: Takes plain data; raises `pydantic.ValidationError`.
        file: The file's name, for faults.
        section: What the tree is read as, for naming known keys; None when that cannot be told.
        under: Key path of the tree, for faults.

    Returns:
        The data, or None with at least one fault.
    """
    try:
        return parse(to_value(node)), []
    except ValidationError as error:
        refused = error
    if _retype_variables(node, refused):
        try:
            return parse(to_value(node)), []
        except ValidationError as error:
            refused = error
    return None, list(_faults(node, refused, file=file, section=section, under=under))


def _retype_variables(node: Node, refused: ValidationError) -> bool:
    """Read scalars with variables as numbers where a number was asked for; tell whether any changed."""
    changed = False
    for error in refused.errors(include_url=False):
        scalar = find(node, _path(error)).node
        if error["type"] in ASKS_FOR_NO_TEXT and isinstance(scalar, Scalar) and scalar.varied:
            typed = read_plain(scalar.text)
            changed = changed or typed is not scalar.value
            scalar.value = typed
    return changed


def _faults(
    node: Node, refused: ValidationError, *, file: str, section: type[BaseModel] | None, under: tuple[str, ...]
) -> Iterator[Fault]:
    by_place: dict[tuple[str | int, ...], tuple[Found, list[ErrorDetails]]] = {}
    for error in refused.errors(include_url=False):
        found = find(node, _path(error), missing=error["type"] == "missing")
        if not _follows_from_another(error, found.node):
            by_place.setdefault(found.path, (found, []))[1].append(error)
    for found, errors in by_place.values():
        message = _message(found, errors, section)
        yield Fault(file=file, position=found.position, key=render_key((*under, *found.path)), message=message)


def _follows_from_another(error: ErrorDetails, node: Node | None) -> bool:
    """Tell errors that only repeat what is told elsewhere."""
    if error["type"] == "too_short" and isinstance(node, Sequence):
        return len(node.items) >= int(error["ctx"]["min_length"])  # pydantic leaves out entries that are wrong
    return isinstance(node, Scalar) and node.unresolved


def _path(error: ErrorDetails) -> tuple[str | int, ...]:
    """Give the path of the value to blame."""
    path = tuple(part for part in error["loc"] if part != KEY_MARK)
    cause = error.get("ctx", {}).get("error")
    return (*path, *cause.key) if isinstance(cause, MisplacedValue) else path


def _message(found: Found, errors: list[ErrorDetails], section: type[BaseModel] | None) -> str:
    kinds = {error["type"] for error in errors}
    if "extra_forbidden" in kinds:
        key = str(found.path[-1])
        holder = section_at(section, found.path[:-1])
        return compose_unknown(key, holder.model_fields if holder else (), _home_of(key, section))
    if "missing" in kinds:
        holder = section_at(section, found.path[:-1])
        field = holder.model_fields.get(str(found.path[-1])) if holder else None
        about = f" ({field.description.rstrip('.')})" if field and field.description else ""
        return f"is missing{about}"
    prefix = "the key " if all(KEY_MARK in error["loc"] for error in errors) else ""
    return prefix + compose_sentence(errors, None if prefix else found.node)


def section_at(section: type[BaseModel] | None, path: tuple[str | int, ...]) -> type[BaseModel] | None:
    """Give the type of the section at ``path``, or None when the path leads to none."""
    for part in path:
        if isinstance(part, int):
            continue
        if section is None or part not in section.model_fields:
            return None
        section = _section_in(section.model_fields[part].annotation)
    return section


def _section_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _section_in(part))), None)


def _home_of(key: str, section: type[BaseModel] | None) -> str | None:
    """Give the path of the one section that has a key of this name, or None."""
    homes = [render_key(path) for path, keys in _sections(section, ()) if path and key in keys]
    return homes[0] if len(homes) == 1 else None


def _sections(
    section: type[BaseModel] | None, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], frozenset[str]]]:
    if section is not None:
        yield path, frozenset(section.model_fields)
        for name, field in section.model_fields.items():
            yield from _sections(_section_in(field.annotation), (*path, name))
