"""The one place that prints: results to stdout, everything else to stderr."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console


PIPE_WIDTH = 120


def stdout() -> Console:
    """Where results go; in colours on a terminal."""
    return _console(sys.stdout)


def stderr() -> Console:
    """Where progress, warnings and errors go."""
    return _console(sys.stderr)


@lru_cache(maxsize=2)  # a stream may be replaced, by tests and by whoever embeds the command line
def _console(stream: TextIO) -> Console:
    from rich.console import Console

    class Pipeable(Console):
        def on_broken_pipe(self) -> None:
            raise  # noqa: PLE0704  # rich calls this while it handles the error; its own way is to end with code 1

    return Pipeable(file=stream, highlight=False, soft_wrap=True, width=_width(stream))


@contextmanager
def muted() -> Iterator[None]:
    """Keep what native libraries write to stderr off the screen.

    TensorFlow prints a page about instructions and drivers when it is imported, past `sys.stderr` and whatever its
    variables say. Errors are not lost: they come as exceptions.
    """
    sys.stderr.flush()
    screen = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(screen, 2)
        os.close(screen)
        os.close(nowhere)


def _width(stream: TextIO) -> int | None:
    """Leave a terminal its own width; files and pipes have none, and a table should not be squeezed for them."""
    return None if stream.isatty() else PIPE_WIDTH


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
