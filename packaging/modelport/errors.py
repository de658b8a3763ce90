"""Every error that modelport raises on purpose, with the exit code that the command ends with.

A message says what went wrong, where, why, and what mends it. Whoever raises one writes the whole sentence;
whoever passes it on adds nothing.
"""

from __future__ import annotations


class ModelportError(Exception):
    """Base of all errors that a user can cause or mend.

    Attributes:
        exit_code: What the process ends with when the error reaches the command line.
    """

    exit_code = 4


class CheckFailed(ModelportError):
    """A check that was asked for did not hold (``verify``, ``manifests check``).

    Attributes:
        shown: Whether what was found is on stdout already: ``--json`` adds no document of its own then.
    """

    exit_code = 1

    def __init__(self, message: str, *, shown: bool = False) -> None:
        super().__init__(message)
        self.shown = shown


class SpecError(ModelportError):
    """The spec, or the way a command was called, is wrong."""

    exit_code = 2


class MissingTool(ModelportError):
    """A program or an extra is not installed; the message names the command that installs it."""

    exit_code = 3


class BuildError(ModelportError):
    """An artifact could not be built. Nothing half-written is left behind."""

    exit_code = 4


class ConversionError(BuildError):
    """A model cannot be converted; the message names the op, the node and the way out."""


class ServerFailed(ModelportError):
    """A server did not start, or ended while it was needed."""

    exit_code = 5
