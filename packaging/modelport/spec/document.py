"""YAML text to a tree of nodes, within limits and with every fault's position.

The tree is composed from the parser's events, not by PyYAML's own composer: that one forgets duplicate keys,
recurses as deep as the text asks, expands anchors without end, and knows tags that build objects.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import islice
from typing import Any

import yaml

from modelport.spec.fault import Fault, Position, one_line, render_key, show
from modelport.spec.node import Mapping as MappingNode
from modelport.spec.node import Node, Scalar, Sequence, read_plain
from modelport.spec.text import position_at
from modelport.spec.variable import Substitution

MAX_DEPTH = 32
MAX_VALUES = 100_000
CORE = "tag:yaml.org,2002:"
KNOWN_TAGS = (None, "!", f"{CORE}str", f"{CORE}map", f"{CORE}seq")
MERGE = "<<"
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
HINTS = {
    "mapping values are not allowed in this context": "a colon where none can stand: put the value in quotes, or "
    "check the indentation",
    "could not find expected ':'": "a key without a colon after it",
    "did not find expected key": "the indentation does not fit the lines above",
    "did not find expected '-' indicator": "the indentation does not fit the list above",
    "found unexpected end of stream": "a quote that is opened is never closed",
}


class Unreadable(Exception):
    """The text is no YAML document that a spec can be.

    Attributes:
        position: Where.
        key: The key path that leads there.
    """

    def __init__(self, message: str, position: Position, key: str = "") -> None:
        super().__init__(message)
        self.position = position
        self.key = key


def read_document(file: str, text: str, environment: Mapping[str, str]) -> tuple[Node | None, list[Fault]]:
    """Compose the one document in ``text`` and put variables into its values.

    Args:
        file: The file's name, for faults.
        text: Printable text.
        environment: Where variables come from.

    Returns:
        The tree, or None when the text is no YAML; and what is wrong so far.
    """
    composer = _Composer(file, text, Substitution(environment))
    try:
        return composer.compose(), composer.faults
    except Unreadable as error:
        fault = Fault(file=file, position=error.position, key=error.key, message=str(error))
        return None, [*composer.faults, fault]


class _Composer:
    """Composes one document.

    Attributes:
        faults: Faults that did not end the reading.
    """

    def __init__(self, file: str, text: str, substitution: Substitution) -> None:
        self.faults: list[Fault] = []
        self._file = file
        self._text = text
        self._substitution = substitution
        self._events: Iterator[Any] = _parse(text)
        self._anchors: dict[str, tuple[Node, int] | None] = {}
        self._values = 0

    def compose(self) -> Node:
        """Compose the document.

        Raises:
            Unreadable: It is no YAML, or not one document, or exceeds a limit.
        """
        next(self._events)  # the stream's start
        if not isinstance(next(self._events), yaml.DocumentStartEvent):
            raise Unreadable("is empty; `modelport init MODEL_FILE` writes a spec", Position(1, 1))
        root = self._node(next(self._events), ())
        next(self._events)  # the document's end
        following = next(self._events)
        if isinstance(following, yaml.DocumentStartEvent):
            raise Unreadable("a second document begins; one file holds one spec", _position(following))
        return root

    def _node(self, event: Any, path: tuple[str | int, ...]) -> Node:
        position = _position(event)
        if len(path) > MAX_DEPTH:
            raise Unreadable(f"nested deeper than {MAX_DEPTH} levels", position)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, path)
        self._check_tag(event, path)
        before = self._values
        self._count(1, position)
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        node: Node
        if isinstance(event, yaml.ScalarEvent):
            node = self._scalar(event, path)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self._sequence(position, path)
        else:
            node = self._mapping(position, path)
        if event.anchor is not None:
            self._anchors[event.anchor] = (node, self._values - before)
        return node

    def _check_tag(self, event: Any, path: tuple[str | int, ...]) -> None:
        if event.tag not in KNOWN_TAGS:
            tag = one_line(event.tag.replace(CORE, "!!"))
            self._add(_position(event), path, f"the tag {tag} is not read: a spec holds plain values; remove it")

    def _alias(self, event: Any, path: tuple[str | int, ...]) -> Node:
        position = _position(event)
        name = one_line(event.anchor)
        if event.anchor not in self._anchors:
            raise Unreadable(f"no anchor &{name} stands before *{name}", position, render_key(path))
        anchored = self._anchors[event.anchor]
        if anchored is None:
            raise Unreadable(f"*{name} stands inside what &{name} names, so it never ends", position, render_key(path))
        node, size = anchored
        self._count(size, position)
        return node

    def _scalar(self, event: Any, path: tuple[str | int, ...]) -> Scalar:
        position = _position(event)
        text, problems = self._substitution.replace(event.value)
        for problem in problems:
            index = self._text.find(problem.reference, event.start_mark.index, event.end_mark.index)
            place = position if index < 0 else position_at(self._text, index)
            self._add(place, path, problem.message)
        varied = text != event.value
        plain = event.implicit[0] and event.tag is None
        value = text if not plain or (varied and text) else read_plain(text)
        return Scalar(position=position, text=text, value=value, varied=varied, unresolved=bool(problems))

    def _sequence(self, position: Position, path: tuple[str | int, ...]) -> Sequence:
        sequence = Sequence(position=position)
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            sequence.items.append(self._node(event, (*path, len(sequence.items))))
        return sequence

    def _mapping(self, position: Position, path: tuple[str | int, ...]) -> MappingNode:
        mapping = MappingNode(position=position)
        merged: list[tuple[Position, Node]] = []
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                raise Unreadable("a key must be plain text", _position(event), render_key(path))
            key, place = event.value, _position(event)
            self._check_tag(event, (*path, key))
            if event.anchor is not None:
                raise Unreadable("an anchor stands before a value, not before a key", place, render_key((*path, key)))
            node = self._node(next(self._events), (*path, key))
            if key == MERGE and event.implicit[0]:
                merged.append((place, node))
            elif key in mapping.items:
                first = mapping.keys[key].line
                self._add(place, (*path, key), f"stands twice; the first is on line {first}. Keep one of them")
            else:
                mapping.keys[key], mapping.items[key] = place, node
        for place, node in merged:
            self._merge(mapping, place, node, path)
        return mapping

    def _merge(self, mapping: MappingNode, place: Position, node: Node, path: tuple[str | int, ...]) -> None:
        """Take over the keys of ``<<: *anchor`` that the mapping does not hold itself."""
        for source in node.items if isinstance(node, Sequence) else [node]:
            if not isinstance(source, MappingNode):
                self._add(place, (*path, MERGE), "takes an alias of a mapping, or a list of such")
                return
            for key, item in source.items.items():
                mapping.keys.setdefault(key, source.keys[key])
                mapping.items.setdefault(key, item)

    def _count(self, values: int, position: Position) -> None:
        self._values += values
        if self._values > MAX_VALUES:
            raise Unreadable(f"holds more than {MAX_VALUES} values, counting each use of an anchor", position)

    def _add(self, position: Position, path: tuple[str | int, ...], message: str) -> None:
        self.faults.append(Fault(file=self._file, position=position, key=render_key(path), message=message))


def _parse(text: str) -> Iterator[Any]:
    """Give the parser's events.

    Raises:
        Unreadable: The text is no YAML.
    """
    try:
        yield from yaml.parse(text, Loader=LOADER)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        position = Position(mark.line + 1, mark.column + 1) if mark else Position(1, 1)
        raise Unreadable(*_explain(text, error, position)) from None
    except (yaml.YAMLError, ValueError) as error:
        raise Unreadable(f"is no YAML: {one_line(str(error))}", Position(1, 1)) from None


def _explain(text: str, error: yaml.MarkedYAMLError, position: Position) -> tuple[str, Position]:
    """Say in plain words what the YAML parser stumbled over, and where."""
    line = next(islice(text.split("\n"), position.line - 1, None), "")
    indentation = line[: len(line) - len(line.lstrip())]
    if "\t" in indentation:
        return "a tab in the indentation; YAML indents with spaces", Position(
            position.line, indentation.index("\t") + 1
        )
    problem = str(error.problem)
    if "${" in line and "expected ',' or" in problem:
        return "inside { } and [ ] a ${…} must stand in quotes", position
    reason = f"{error.context}, {problem}" if error.context else problem
    hint = HINTS.get(problem)
    if hint is None and "found character" in problem:
        with suppress(IndexError):
            hint = f"a value that begins with {show(line[position.column - 1])} must stand in quotes"
    return one_line(f"is no YAML: {hint} ({reason})" if hint else f"is no YAML: {reason}"), position


def _position(event: Any) -> Position:
    return Position(event.start_mark.line + 1, event.start_mark.column + 1)
