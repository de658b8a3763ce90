"""The command line: one module per command, imported when it is called."""

from __future__ import annotations

import sys

INTERRUPTED = 130


def main() -> None:
    """Run the command line; end the process with the exit code that `modelport.errors` gives."""
    try:
        sys.exit(answer(sys.argv[1:]))
    except KeyboardInterrupt:  # before the commands are loaded, or while the error is told
        sys.exit(INTERRUPTED)


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
    from modelport.cli.group import run

    return run(arguments)
