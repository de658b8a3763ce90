"""Variables in a spec's values: ``${NAME}`` and ``${NAME:-default}``; ``$${`` stands for a plain ``${``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from modelport.spec.fault import show

REFERENCE = re.compile(r"\$\$\{|\$\{([^{}]*)(\}?)")
CONTENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)
MAX_CHARACTERS = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A reference that cannot be replaced.

    Attributes:
        reference: The reference as it stands, for finding its place in the text.
        message: What is wrong with it.
    """

    reference: str
    message: str


class Substitution:
    """Replaces references, up to `MAX_CHARACTERS` in one document."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._left = MAX_CHARACTERS

    def replace(self, text: str) -> tuple[str, list[Problem]]:
        """Replace every reference in one value.

        Returns:
            The text, and what is wrong with it; a reference that is wrong stays as it is.
        """
        problems: list[Problem] = []

        def value(match: re.Match[str]) -> str:
            replaced = self._value(match)
            if isinstance(replaced, Problem):
                problems.append(replaced)
                return match[0]
            self._left -= len(replaced)
            if self._left < 0:
                problems.append(
                    Problem(reference=match[0], message="the spec's variables hold more than a MiB of text")
                )
                return ""
            return replaced

        return REFERENCE.sub(value, text), problems

    def _value(self, match: re.Match[str]) -> str | Problem:
        if match[0] == "$${":
            return "${"
        content = CONTENT.fullmatch(match[1])
        if content is None or not match[2]:
            return Problem(
                reference=match[0],
                message=f"{show(match[0])} names no variable; write ${{NAME}} or ${{NAME:-default}}, "
                "or $${ where a plain ${ is meant",
            )
        name, default = content[1], content[2]
        found = self._environment.get(name)
        if default is not None:
            return found or default
        if found is None:
            return Problem(
                reference=match[0],
                message=f"the environment variable {name} is not set; set it, or write ${{{name}:-default}}",
            )
        return found
