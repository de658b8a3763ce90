"""Keys that are known, and what an unknown one may have meant."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from difflib import get_close_matches

from modelport_manifests.check.finding import Finding, error
from modelport_manifests.check.reading import Table


def words(text: str) -> tuple[str, ...]:
    """Give the words of a text that lists keys."""
    return tuple(text.split())


def suggest(key: str, known: Collection[str]) -> str:
    """Give the end of a message: the known key that is nearest, if one is near."""
    near = get_close_matches(key, known, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def check_keys(mapping: Table, known: Collection[str], what: str) -> Iterator[Finding]:
    """Check that a mapping has known keys only; extensions (``x-…``) are anybody's."""
    for key in mapping:
        if key not in known and not key.startswith("x-"):
            message = f"{what} has no field {key!r}: it is refused, or dropped{suggest(key, known)}"
            yield error(mapping.at(key), "unknown-field", message)
