"""What a deployment would change, object by object, as text; no secret's value is in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import unified_diff
from typing import Any

HIDDEN = "***"
TELLTALE = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|PRIVATE|(^|_)KEY", re.IGNORECASE)
ENVIRONMENTS = ("environment", "env")

Replace = Callable[[str, str], str]  # from a secret's name and value to what stands in its place


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One object that a deployment touches.

    Attributes:
        name: For people: ``Deployment digits``.
        before: As it runs now; None where there is nothing yet.
        after: As it would be; None where it would be removed.
    """

    name: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None

    @property
    def verb(self) -> str:
        """What would be done: ``create``, ``change``, ``remove`` or ``keep``."""
        if self.before == self.after:
            return "keep"
        if self.before is None:
            return "create"
        return "remove" if self.after is None else "change"


def render_changes(changes: Sequence[Change]) -> str:
    """Give a unified diff per object that would change, and a last line that counts them."""
    parts = ["\n".join(_difference(change)) for change in changes if change.verb != "keep"]
    verbs = [change.verb for change in changes]
    words = {"create": "to create", "change": "to change", "remove": "to remove", "keep": "as they are"}
    return "\n".join([*parts, ", ".join(f"{verbs.count(verb)} {text}" for verb, text in words.items())])


def _difference(change: Change) -> list[str]:
    known: dict[str, set[tuple[str, str]]] = {"before": set(), "after": set()}

    def recorder(side: str) -> Replace:
        def record(name: str, value: str) -> str:
            known[side].add((name, value))
            return HIDDEN

        return record

    def hider(side: str) -> Replace:
        shared = known["before"] & known["after"]
        return lambda name, value: HIDDEN if (name, value) in shared else f"{HIDDEN} ({side})"

    sides = {"before": change.before, "after": change.after}
    for side, value in sides.items():
        _with_secrets(value, recorder(side))
    before, after = (_lines(_with_secrets(value, hider(side))) for side, value in sides.items())
    return list(unified_diff(before, after, f"{change.name} (runs)", f"{change.name} (wanted)", lineterm=""))


def _lines(value: Any) -> list[str]:
    import yaml

    if value is None:
        return []
    text: str = yaml.safe_dump(value, sort_keys=True, width=1000, allow_unicode=True)
    return text.splitlines()


def _with_secrets(value: Any, replace: Replace) -> Any:
    """Give a copy in which ``replace`` was asked for each secret: a Secret's data, and variables that sound so."""
    if isinstance(value, list):
        return [_with_secrets(entry, replace) for entry in value]
    if not isinstance(value, Mapping):
        return value
    changed = {}
    for key, entry in value.items():
        if value.get("kind") == "Secret" and key in {"data", "stringData"}:
            changed[key] = {name: replace(name, str(text)) for name, text in (entry or {}).items()}
        elif key in ENVIRONMENTS and isinstance(entry, Mapping | list):
            changed[key] = _environment(entry, replace)
        else:
            changed[key] = _with_secrets(entry, replace)
    return changed


def _environment(entries: Mapping[str, Any] | list[Any], replace: Replace) -> Any:
    """Take the three forms in which variables are written: a mapping, ``NAME=value``, ``{name: …, value: …}``."""
    if isinstance(entries, Mapping):
        return {name: replace(name, str(value)) if TELLTALE.search(name) else value for name, value in entries.items()}
    changed: list[Any] = []
    for entry in entries:
        name = str(entry.get("name", "")) if isinstance(entry, Mapping) else str(entry).partition("=")[0]
        if not TELLTALE.search(name):
            changed.append(entry)
        elif isinstance(entry, Mapping):
            changed.append({**entry, "value": replace(name, str(entry["value"]))} if "value" in entry else entry)
        else:
            changed.append(f"{name}={replace(name, str(entry).partition('=')[2])}")
    return changed
