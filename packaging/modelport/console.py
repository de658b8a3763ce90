"""The one place that prints: results to stdout, everything else to stderr."""

from __future__ import annotations

import json
import math
import sys
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


@cache
def stdout() -> Console:
    """Where results go; in colours on a terminal."""
    from rich.console import Console

    return Console(file=sys.stdout, highlight=False, soft_wrap=True)


@cache
def stderr() -> Console:
    """Where progress, warnings and errors go."""
    from rich.console import Console

    return Console(file=sys.stderr, highlight=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """Write one JSON document to stdout; NaN and infinities become null, since strict parsers refuse them."""
    sys.stdout.write(json.dumps(_strict(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    sys.stdout.flush()


def print_error(message: str) -> None:
    """Write an error to stderr, in red on a terminal."""
    if sys.stderr.isatty():
        from rich.text import Text

        stderr().print(Text.assemble(("error: ", "bold red"), message))
    else:
        sys.stderr.write(f"error: {message}\n")


def print_warning(message: str) -> None:
    """Write a warning to stderr, in yellow on a terminal."""
    if sys.stderr.isatty():
        from rich.text import Text

        stderr().print(Text.assemble(("warning: ", "bold yellow"), message))
    else:
        sys.stderr.write(f"warning: {message}\n")


def _strict(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _strict(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
