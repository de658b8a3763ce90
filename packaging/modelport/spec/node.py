"""A YAML document as a tree of values that know where they stand."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from modelport.spec.fault import Position

INTEGER = re.compile(r"[-+]?[0-9]{1,40}")
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]{1,6})?")
WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}


@dataclass(slots=True, kw_only=True)
class Scalar:
    """Text, a number, true, false or nothing.

    Attributes:
        position: Where it begins.
        text: The characters, without quotes and with variables put in.
        value: What a spec takes it for.
        varied: Whether a variable was put in; such a value has no type of its own until a key asks for one.
        unresolved: Whether a variable could not be put in; that has been told already.
    """

    position: Position
    text: str
    value: str | int | float | bool | None
    varied: bool = False
    unresolved: bool = False


@dataclass(slots=True, kw_only=True)
class Sequence:
    """A list."""

    position: Position
    items: list[Node] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Mapping:
    """Keys and values, in the order of the text.

    Attributes:
        position: Where the mapping begins.
        keys: Where each key stands.
        items: The value of each key.
    """

    position: Position
    keys: dict[str, Position] = field(default_factory=dict)
    items: dict[str, Node] = field(default_factory=dict)


Node = Scalar | Sequence | Mapping


def read_plain(text: str) -> str | int | float | bool | None:
    """Read a scalar without quotes by YAML 1.2's core rules.

    So ``yes``, ``no`` and dates are text, ``1e-5`` is a number, and ``0777`` is 777.
    """
    if text in WORDS:
        value: str | int | float | bool | None = WORDS[text]
        return value
    if INTEGER.fullmatch(text):
        return int(text)
    if FLOAT.fullmatch(text):
        return float(text)
    return text


def to_value(node: Node) -> Any:
    """Give a tree as plain lists, dictionaries and scalars."""
    if isinstance(node, Mapping):
        return {key: to_value(item) for key, item in node.items.items()}
    if isinstance(node, Sequence):
        return [to_value(item) for item in node.items]
    return node.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What stands at a key path.

    Attributes:
        path: The path, without parts that are no key of the text (a validator's own marks).
        position: The key's, the list item's, or that of the innermost section there is.
        node: The value; None when the last key is not there.
    """

    path: tuple[str | int, ...]
    position: Position
    node: Node | None


def find(root: Node, path: Iterable[str | int], *, missing: bool = False) -> Found:
    """Follow a key path as far as it leads.

    Args:
        root: Where it starts.
        path: Keys and indices; those that do not lead on are dropped.
        missing: Whether the last part names a key that may be absent; it is then kept, and found as None.
    """
    parts = list(path)
    node, position, kept = root, root.position, list[str | int]()
    for index, part in enumerate(parts):
        if isinstance(node, Mapping) and isinstance(part, str) and part in node.items:
            position, node = node.keys[part], node.items[part]
        elif isinstance(node, Sequence) and isinstance(part, int) and part < len(node.items):
            node = node.items[part]
            position = node.position
        elif missing and index == len(parts) - 1:
            return Found(path=(*kept, part), position=position, node=None)
        else:
            continue
        kept.append(part)
    return Found(path=tuple(kept), position=position, node=node)
