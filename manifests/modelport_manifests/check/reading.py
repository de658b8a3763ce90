"""YAML to plain data that remembers where every key and item stands.

The text is not trusted: tags build nothing, depth and size are limited (an alias counts each time that it is used), and
a key that stands twice is told instead of dropped.
"""

from __future__ import annotations

from typing import Any

import yaml

from modelport_manifests.check.finding import Finding, Place, error

MAX_BYTES = 4 * 2**20
MAX_DEPTH = 64
MAX_VALUES = 200_000
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
CORE = "tag:yaml.org,2002:"
TYPED = {f"{CORE}{name}" for name in ("bool", "float", "int", "null")}
MERGE = "<<"


class Table(dict[str, Any]):
    """A mapping.

    Attributes:
        place: Where it begins.
        keys_at: Where each key stands.
        texts_at: Line on which the text of a value begins, for values that are text.
    """

    __slots__ = ("keys_at", "place", "texts_at")

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place
        self.keys_at: dict[str, Place] = {}
        self.texts_at: dict[str, int] = {}

    def at(self, key: str) -> Place:
        """Give the place of a key, or of the mapping where the key is missing."""
        return self.keys_at.get(key, self.place)


class Row(list[Any]):
    """A list.

    Attributes:
        place: Where it begins.
        items_at: Where each item begins.
    """

    __slots__ = ("items_at", "place")

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place
        self.items_at: list[Place] = []


class _Unreadable(Exception):
    """The text is no YAML within the limits."""

    def __init__(self, place: Place, message: str) -> None:
        super().__init__(message)
        self.place = place


def read_yaml(file: str, data: bytes) -> tuple[list[Any], list[Finding]]:
    """Read every document of a YAML file.

    Args:
        file: The file's name, for findings.
        data: Its bytes.

    Returns:
        The documents as `Table`, `Row` and scalars, none where the file cannot be read; and what is wrong with it: one
        finding where it cannot be read.
    """
    findings: list[Finding] = []
    try:
        text = _decode(file, data)
        _hold_to_limits(file, text)
        build = _Builder(file, findings)
        return [build.value(node, 0) for node in yaml.compose_all(text, Loader=LOADER)], findings
    except _Unreadable as problem:
        return [], [error(problem.place, "yaml-unreadable", str(problem))]
    except yaml.MarkedYAMLError as problem:
        mark = problem.problem_mark or problem.context_mark
        place = Place(file, mark.line + 1, mark.column + 1) if mark else Place(file, 1)
        reason = ", ".join(part for part in (problem.context, problem.problem) if part)
        message = f"is no YAML: {reason}. Nothing else in this file was checked"
        return [], [error(place, "yaml-unreadable", message)]
    except yaml.YAMLError as problem:
        return [], [error(Place(file, 1), "yaml-unreadable", f"is no YAML: {problem}")]


def _decode(file: str, data: bytes) -> str:
    if len(data) > MAX_BYTES:
        raise _Unreadable(Place(file, 1), f"is longer than {MAX_BYTES >> 20} MiB, which no manifest is")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = data.count(b"\n", 0, problem.start) + 1
        raise _Unreadable(Place(file, line), "is no UTF-8 text; save it as UTF-8") from None


def _hold_to_limits(file: str, text: str) -> None:
    """Refuse what would exhaust the composer, which recurses as deep as the text asks."""
    depth = 0
    for event in yaml.parse(text, Loader=LOADER):
        if isinstance(event, yaml.CollectionStartEvent) and event.start_mark:
            depth += 1
            if depth > MAX_DEPTH:
                place = Place(file, event.start_mark.line + 1, event.start_mark.column + 1)
                raise _Unreadable(place, f"is nested deeper than {MAX_DEPTH} levels")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


class _Builder:
    """Makes data of nodes."""

    def __init__(self, file: str, findings: list[Finding]) -> None:
        self._file = file
        self._findings = findings
        self._values = 0
        self._scalars = yaml.SafeLoader("")

    def value(self, node: Any, depth: int) -> Any:
        """Give a node's data."""
        place = self._place(node)
        self._values += 1
        if self._values > MAX_VALUES or depth > MAX_DEPTH:
            raise _Unreadable(place, f"holds more than {MAX_VALUES} values or {MAX_DEPTH} levels, its aliases included")
        if isinstance(node, yaml.MappingNode):
            return self._table(node, depth)
        if isinstance(node, yaml.SequenceNode):
            row = Row(place)
            for item in node.value:
                row.items_at.append(self._place(item))
                row.append(self.value(item, depth + 1))
            return row
        return self._scalar(node)

    def _scalar(self, node: Any) -> Any:
        if node.tag not in TYPED:
            return node.value
        try:
            return self._scalars.construct_object(node)
        except (ValueError, yaml.YAMLError):
            return node.value

    def _table(self, node: Any, depth: int) -> Table:
        table = Table(self._place(node))
        merged: list[Any] = []
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise _Unreadable(self._place(key_node), "a key must be plain text")
            key, place = key_node.value, self._place(key_node)
            value = self.value(value_node, depth + 1)
            if key == MERGE:
                merged.extend(value if isinstance(value, Row) else [value])
                continue
            if key in table:
                first = table.keys_at[key].line
                message = f"{key!r} stands twice; the first, on line {first}, is silently dropped. Keep one of them"
                self._findings.append(error(place, "key-twice", message))
            table[key], table.keys_at[key] = value, place
            if isinstance(value, str):
                block = value_node.style in {"|", ">"}
                table.texts_at[key] = value_node.start_mark.line + (2 if block else 1)
        for source in merged:
            if isinstance(source, Table):
                for key in source.keys() - table.keys():
                    table[key], table.keys_at[key] = source[key], source.keys_at[key]
        return table

    def _place(self, node: Any) -> Place:
        return Place(self._file, node.start_mark.line + 1, node.start_mark.column + 1)


def dig(data: Any, *path: str | int) -> Any:
    """Give what stands at ``path``, or None where anything on the way is missing or of another kind."""
    for step in path:
        if isinstance(step, int):
            if not isinstance(data, list) or not 0 <= step < len(data):
                return None
            data = data[step]
        else:
            if not isinstance(data, dict):
                return None
            data = data.get(step)
    return data


def table(data: Any, *path: str | int) -> Table:
    """Give the mapping at ``path``; an empty one where there is none."""
    found = dig(data, *path)
    return found if isinstance(found, Table) else Table(getattr(data, "place", Place("", 1)))


def tables(data: Any, *path: str | int) -> list[Table]:
    """Give the mappings in the list at ``path``."""
    found = dig(data, *path)
    return [item for item in found if isinstance(item, Table)] if isinstance(found, list) else []


def text(data: Any, *path: str | int) -> str:
    """Give the text at ``path``; empty where there is none."""
    found = dig(data, *path)
    return found if isinstance(found, str) else ""


def words(data: Any, *path: str | int) -> list[str]:
    """Give what is in the list at ``path``, such as a command, as text."""
    found = dig(data, *path)
    return [str(item) for item in found] if isinstance(found, list) else []


def number(data: Any, *path: str | int) -> int | None:
    """Give the whole number at ``path``."""
    found = dig(data, *path)
    return found if isinstance(found, int) and not isinstance(found, bool) else None
