"""What is wrong with a manifest, and where."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

Severity = Literal["error", "warning", "note"]
LONGEST = 600


class Place(NamedTuple):
    """A place in a file; both numbers count from 1, as editors do; a column of 0 means the whole line."""

    file: str
    line: int
    column: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        file: The file, relative to the folder that was checked.
        line: Line, from 1.
        column: Column, from 1; None where the line as a whole is meant.
        severity: ``error``: it does not work, or not as it says; ``warning``: it works and will surprise;
            ``note``: what the check could not look at.
        code: A name for this kind of finding; ``docs/manifests-check.md`` explains each.
        message: What is wrong, why, and what mends it; one line.
    """

    file: str
    line: int
    column: int | None
    severity: Severity
    code: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" + (f":{self.column}" if self.column else "")
        return f"{place}: {self.severity}: {self.message} [{self.code}]"

    def to_json(self) -> dict[str, Any]:
        """Give plain JSON values."""
        return asdict(self)


def error(place: Place, code: str, message: str) -> Finding:
    """Give a finding of what does not work, or not as it says."""
    return _finding(place, "error", code, message)


def warning(place: Place, code: str, message: str) -> Finding:
    """Give a finding of what works and will surprise."""
    return _finding(place, "warning", code, message)


def note(place: Place, code: str, message: str) -> Finding:
    """Give a finding of what the check could not look at."""
    return _finding(place, "note", code, message)


def _finding(place: Place, severity: Severity, code: str, message: str) -> Finding:
    shown = message if len(message) <= LONGEST else message[: LONGEST - 1] + "…"
    return Finding(
        file=place.file,
        line=place.line,
        column=place.column or None,
        severity=severity,
        code=code,
        message=" ".join(shown.split()),
    )
