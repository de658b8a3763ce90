"""The command line: one module per command, imported when it is called."""

from __future__ import annotations

import os
import sys

INTERRUPTED = 130


def main() -> None:
    """Run the command line; end the process with the exit code that `modelport.errors` gives."""
    open_streams()
    try:
        code = answer(sys.argv[1:])
    except KeyboardInterrupt:  # before the commands are loaded, or while the error is told
        code = INTERRUPTED
    if len(sys.argv) != 2 or sys.argv[1] != "--version":
        from modelport.signals import ENDING, ignore

        # All is done and told. Python gives the signals their deadly defaults back while it ends: one that comes then
        # would turn the exit code into "killed".
        ignore(ENDING)
    # CPython remembers a Ctrl-C that came within an `exec` of text (dataclasses and named tuples are made by one), even
    # if it was caught, and under ``python -m`` ends as if killed by it. The next `exec` makes it forget.
    exec("")  # noqa: S102  # of nothing
    sys.exit(code)


def open_streams() -> None:
    """Give a stream that the caller has closed (``>&-``) to nowhere: a file opened next would get its number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
            setattr(sys, name, os.fdopen(number, "r" if name == "stdin" else "w", encoding="utf-8", closefd=False))


def answer(arguments: list[str]) -> int:
    """Run the command; give the exit code."""
    if arguments == ["--version"]:  # answered before anything is imported: scripts ask this often
        from modelport._version import VERSION

        try:
            sys.stdout.write(f"modelport {VERSION}\n")
            sys.stdout.flush()
        except OSError as error:
            from modelport.cli.group import report

            return report(error)
        return 0
    from modelport.signals import send_lost_anew

    send_lost_anew()
    from modelport.cli.group import run

    return run(arguments)
