"""Short-lived programs: run one, wait for it, have its output."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from modelport.errors import BuildError, MissingTool
from modelport.signals import postponed

LAST_LINES = 15


def find_program(name: str, *, install: str) -> str:
    """Give the path of a program: beside this Python first, on the PATH then.

    Args:
        name: The program.
        install: The command that installs it, for the message.

    Raises:
        MissingTool: It is in neither place.
    """
    beside = Path(sys.executable).parent / name
    if beside.is_file() and os.access(beside, os.X_OK):
        return str(beside)
    found = shutil.which(name)
    if found is None:
        raise MissingTool(f"{name} is not installed here; install it with: {install}")
    return found


def run_tool(
    command: Sequence[str],
    *,
    cwd: Path,
    environment: Mapping[str, str | None] | None = None,
    timeout_s: float,
    what: str,
) -> str:
    """Run a program to its end in a process group of its own, which ends with it.

    Args:
        command: Program and arguments.
        cwd: Working directory.
        environment: Variables beside the inherited ones; None removes one.
        timeout_s: After this many seconds it is killed.
        what: What it does, for messages: ``"bentoml build"``.

    Returns:
        What it wrote to stdout and stderr, as it came.

    Raises:
        BuildError: It failed or took too long; the message has its last lines.
        MissingTool: There is no such program.
    """
    process: subprocess.Popen[bytes] | None = None
    try:
        with postponed():
            process = subprocess.Popen(  # noqa: S603  # the command comes from a plan, never from a shell string
                command,
                cwd=cwd,
                env=merged_environment(environment or {}),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        output, _ = process.communicate(timeout=timeout_s)
    except FileNotFoundError as error:
        raise MissingTool(f"{what}: the program {command[0]!r} is not installed here") from error
    except subprocess.TimeoutExpired as error:
        raise BuildError(f"{what}: took longer than {timeout_s:.0f} s and was ended") from error
    finally:
        with postponed():
            if process is not None and process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    text = output.decode("utf-8", "replace")
    if process.returncode != 0:
        raise BuildError(f"{what}: failed with exit code {process.returncode}. Its last lines:\n{last_lines(text)}")
    return text


def last_lines(text: str, count: int = LAST_LINES) -> str:
    """Give the last lines of a program's output, indented."""
    lines = [line for line in text.rstrip().splitlines() if line.strip()][-count:]
    return "\n".join(f"    {line}" for line in lines) or "    (it printed nothing)"


def merged_environment(changes: Mapping[str, str | None]) -> dict[str, str]:
    """Give the inherited environment with ``changes``; None removes a variable."""
    environment = {**os.environ, **{key: value for key, value in changes.items() if value is not None}}
    return {key: value for key, value in environment.items() if changes.get(key, "") is not None}
