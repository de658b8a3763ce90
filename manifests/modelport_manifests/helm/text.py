"""Objects to templates: data with markers in it is written as YAML, then each marker becomes an expression.

A marker that stands for a value, or within one, is replaced where it stands. A marker that stands for whole lines is a
key without a value, and its line gives way to lines of the same indentation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from modelport_manifests.writer import render_yaml

Object = dict[str, Any]

MARK = "modelport-fill-"
BLOCK = re.compile(rf"^(?P<indent> *)(?:- )?{MARK}lines-(?P<name>[a-z-]+): \"\"$", re.MULTILINE)
INLINE = re.compile(rf"{MARK}value-(?P<name>[a-z]+)-end")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fills:
    """What the markers become.

    Attributes:
        values: Expressions by name, with their braces.
        lines: Lines by name, without indentation; ``INDENT`` in them is the number of spaces before them, ``DEEPER``
            two more.
    """

    values: Mapping[str, str]
    lines: Mapping[str, tuple[str, ...]]


def value(name: str) -> str:
    """Give the marker of an expression within a text."""
    return f"{MARK}value-{name}-end"


def lines(name: str) -> Object:
    """Give the marker of whole lines, to be merged into a mapping."""
    return {f"{MARK}lines-{name}": ""}


def render_template(objects: Iterable[Object], header: Iterable[str], fills: Fills, condition: str = "") -> str:
    """Write objects as a template; ``condition`` is what must hold for them to be there at all."""
    text = escape(render_yaml(objects, header))
    text = BLOCK.sub(lambda found: _indented(fills.lines[found["name"]], found["indent"]), text)
    text = INLINE.sub(lambda found: fills.values[found["name"]], text)
    return f"{{{{- if {condition} }}}}\n{text}{{{{- end }}}}\n" if condition else text


def escape(text: str) -> str:
    """Keep a text with braces of its own (Prometheus has them, too) from being read as a template."""
    return text.replace("{{", '{{ "{{" }}')


def _indented(found: tuple[str, ...], indent: str) -> str:
    here, deeper = str(len(indent)), str(len(indent) + 2)
    return "\n".join(indent + line.replace("INDENT", here).replace("DEEPER", deeper) for line in found)
