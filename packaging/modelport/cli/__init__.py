"""The command line: one module per command, imported when it is called."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; end the process with the exit code that `modelport.errors` gives."""
    arguments = sys.argv[1:]
    if arguments == ["--version"]:  # answered before anything is imported: scripts ask this often
        from modelport._version import VERSION

        sys.stdout.write(f"modelport {VERSION}\n")
        return
    from modelport.cli.group import run

    sys.exit(run(arguments))
