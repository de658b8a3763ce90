"""What is wrong with a spec, and where."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

SHOWN_LENGTH = 60
SHOWN_FAULTS = 50
LONGEST = 600


class Position(NamedTuple):
    """A place in a text; both numbers count characters from 1, as editors do."""

    line: int
    column: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that is wrong with a spec.

    Attributes:
        file: The spec's path as it was given.
        position: Where: the key whose value is wrong, the unknown key, the list's item, or the section that lacks a
            key; None when the file as a whole is at fault.
        key: Path of the key, such as ``serving.batching.max_size`` or ``signature.inputs[0].dtype``; may be empty.
        message: What was expected, what stands there and what to write instead; one line.
    """

    file: str
    position: Position | None = None
    key: str = ""
    message: str

    def __post_init__(self) -> None:
        # A spec may hold a key or a tag of a million characters: what is said of it need not.
        object.__setattr__(self, "key", _cut(self.key, LONGEST))
        object.__setattr__(self, "message", _cut(self.message, LONGEST))

    def __str__(self) -> str:
        place = f"{self.file}:{self.position.line}:{self.position.column}" if self.position else self.file
        return f"{place}: {self.key}: {self.message}" if self.key else f"{place}: {self.message}"

    def to_json(self) -> dict[str, Any]:
        """Give plain JSON values; ``line`` and ``column`` are None when the whole file is at fault."""
        line, column = self.position or (None, None)
        return {"file": self.file, "line": line, "column": column, "key": self.key, "message": self.message}


def render_faults(faults: Sequence[Fault]) -> list[str]:
    """Give one line a fault, the first `SHOWN_FAULTS` of them, and then how many there are beside them."""
    lines = [str(fault) for fault in faults[:SHOWN_FAULTS]]
    if len(faults) > SHOWN_FAULTS:
        lines.append(f"{faults[0].file}: and {len(faults) - SHOWN_FAULTS} more")
    return lines


def render_key(path: Iterable[str | int]) -> str:
    """Give a key path as people write it: ``a.b[0]``; a key that would not read well so is quoted."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part and all(character.isalnum() or character in "_-" for character in part):
            text += f".{part}" if text else part
        else:
            text += f"[{show(part)}]"
    return text


def show(value: Any) -> str:
    """Give a value as it would stand in YAML, on one line and not too long."""
    text = str(value)
    if isinstance(value, Mapping):
        text = "a mapping" if value else "an empty mapping"
    elif isinstance(value, list | tuple):
        text = "a list" if value else "an empty list"
    elif value is None:
        text = "nothing"
    elif isinstance(value, bool):
        text = text.lower()
    elif isinstance(value, str):
        text = json.dumps(_cut(value, SHOWN_LENGTH), ensure_ascii=False)
    return one_line(text)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[:length] + "…"


def one_line(text: str) -> str:
    """Make a text safe for one line of any terminal: what cannot be printed is escaped."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )
