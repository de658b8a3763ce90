"""Short-lived programs: run one, wait for it, have its output."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from modelport.errors import BuildError, MissingTool
from modelport.run.family import strays
from modelport.signals import postponed

LAST_LINES = 15
POLL_S = 0.1


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
    log: Callable[[str], None] | None = None,
    only_stdout: bool = False,
    grace_s: float = 0.0,
) -> str:
    """Run a program to its end in a process group of its own, which ends with it.

    Args:
        command: Program and arguments.
        cwd: Working directory.
        environment: Variables beside the inherited ones; None removes one.
        timeout_s: After this many seconds it is killed.
        what: What it does, for messages: ``"bentoml build"``.
        log: Called with each line as it comes, from a thread of its own.
        only_stdout: Give what it wrote to stdout alone; stderr is kept for the message of a failure.
        grace_s: How long it may tidy up when it is ended early, in seconds. A program that works through others in
            sessions of their own, as an engine that builds an image does, cleans up when those are killed, and leaves
            them behind when it is killed itself.

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
                stderr=subprocess.PIPE if only_stdout else subprocess.STDOUT,
                start_new_session=True,
            )
        if log is None:
            output, apart = process.communicate(timeout=timeout_s)
        else:
            output, apart = _follow(process, log, timeout_s), None
    except FileNotFoundError as error:
        raise MissingTool(f"{what}: the program {command[0]!r} is not installed here") from error
    except subprocess.TimeoutExpired as error:
        raise BuildError(f"{what}: took longer than {timeout_s:.0f} s and was ended") from error
    finally:
        with postponed():
            if process is not None and process.poll() is None:
                _end(process, grace_s)
    text = output.decode("utf-8", "replace")
    if process.returncode != 0:
        said = (apart or b"").decode("utf-8", "replace") + text
        raise BuildError(f"{what}: failed with exit code {process.returncode}. Its last lines:\n{last_lines(said)}")
    return text


def _follow(process: subprocess.Popen[bytes], log: Callable[[str], None], timeout_s: float) -> bytes:
    """Read all that a process prints, telling each line, until it has ended."""
    assert process.stdout is not None  # noqa: S101  # tells the type checker what PIPE means
    read: list[bytes] = []
    pump = threading.Thread(target=read_lines, args=(process.stdout, read.append, log), daemon=True)
    pump.start()
    process.wait(timeout_s)
    pump.join(timeout=5)
    return b"".join(read)


def read_lines(stream: IO[bytes], keep: Callable[[bytes], None], log: Callable[[str], None] | None) -> None:
    """Read what a program prints to the end.

    Args:
        stream: Its output.
        keep: Called with each line.
        log: Called with each line as text, as long as it can be told: whoever read our own output may have gone
            (``| head``), and a program that is no longer read comes to a halt.
    """
    for raw in stream:
        keep(raw)
        if log is not None:
            try:
                log(raw.decode("utf-8", "replace").rstrip())
            except OSError:
                log = None


def _end(process: subprocess.Popen[bytes], grace_s: float) -> None:
    """End a program early: first what it started in other sessions, then, after ``grace_s``, its own group."""
    deadline = time.monotonic() + grace_s
    while process.poll() is None and time.monotonic() < deadline:
        for pid in strays(process.pid):
            _kill(pid)
        time.sleep(POLL_S)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):  # ended meanwhile, or its parent's to end
        return


def last_lines(text: str, count: int = LAST_LINES) -> str:
    """Give the last lines of a program's output, indented."""
    lines = [line for line in text.rstrip().splitlines() if line.strip()][-count:]
    return "\n".join(f"    {line}" for line in lines) or "    (it printed nothing)"


def merged_environment(changes: Mapping[str, str | None]) -> dict[str, str]:
    """Give the inherited environment with ``changes``; None removes a variable."""
    environment = {**os.environ, **{key: value for key, value in changes.items() if value is not None}}
    return {key: value for key, value in environment.items() if changes.get(key, "") is not None}
