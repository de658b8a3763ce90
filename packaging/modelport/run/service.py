"""Run a `ServicePlan` on this machine: start the server, wait until it answers, end it and all that it started."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from modelport.artifact import write_files
from modelport.errors import MissingTool, ServerFailed
from modelport.plan import Generated, PlannedFile, ServicePlan
from modelport.run.family import MARK, Family
from modelport.run.ports import check_ports
from modelport.run.started import StartedServer
from modelport.run.tool import merged_environment
from modelport.signals import postponed

STATE = "{state}"
POLL_S = 0.1


class LocalService(StartedServer):
    """A running service; made by `running`.

    Attributes:
        family: All its processes.
    """

    def __init__(self, plan: ServicePlan, process: subprocess.Popen[bytes], family: Family, log: deque[str]) -> None:
        super().__init__(plan, plan.server, POLL_S)
        self.family = family
        self._process = process
        self._log = log

    def ended(self) -> str:
        """See `StartedServer.ended`."""
        code = self._process.poll()
        if code is None:
            return ""
        return f"ended with signal {-code}" if code < 0 else f"ended with exit code {code}"

    def printed(self) -> str:
        """See `StartedServer.printed`."""
        return "\n".join(list(self._log))  # a copy: another thread appends

    def wait(self, stopped: threading.Event) -> None:
        """Wait until ``stopped`` is set.

        Raises:
            ServerFailed: The server ended by itself.
        """
        while not stopped.wait(POLL_S):
            self.check_alive()


@contextmanager
def running(plan: ServicePlan, host: str, *, log: Callable[[str], None] | None = None) -> Iterator[LocalService]:
    """Start a service; when the block ends, it has ended too, with every process and file of its own.

    Args:
        plan: What to run.
        host: The address whose ports are checked beforehand.
        log: Called with each line that the server prints, from a thread of its own.

    Raises:
        ServerFailed: A port is taken.
        MissingTool: The program is not there.
    """
    check_ports((port.number for port in plan.ports), host)
    ending = ExitStack()
    try:
        with postponed():
            state = Path(tempfile.mkdtemp(prefix=f"modelport-{plan.backend}-"))
            ending.callback(shutil.rmtree, state, ignore_errors=True)
            write_files(tuple(_placed(file, state) for file in plan.files), state)
            process = _start(plan, state)
            family = Family(session=process.pid, mark=str(state))
            lines: deque[str] = deque(maxlen=500)
            assert process.stdout is not None  # noqa: S101  # tells the type checker what PIPE means
            pump = threading.Thread(target=_pump, args=(process.stdout, lines, log), daemon=True)
            pump.start()
            ending.callback(pump.join, timeout=5)
            ending.callback(_end, process, family, plan.grace_s)
        yield LocalService(plan, process, family, lines)
    finally:
        with postponed():
            ending.close()


def _start(plan: ServicePlan, state: Path) -> subprocess.Popen[bytes]:
    environment = {key: value and value.replace(STATE, str(state)) for key, value in plan.environment.items()}
    environment[MARK] = str(state)
    command = [part.replace(STATE, str(state)) for part in plan.command]
    try:
        return subprocess.Popen(  # noqa: S603  # the command comes from a plan, never from a shell string
            command,
            cwd=state,
            env=merged_environment(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise MissingTool(f"{plan.server}: the program {command[0]!r} is not there") from error


def _placed(file: PlannedFile, state: Path) -> PlannedFile:
    if not isinstance(file.content, Generated):
        return file
    data = file.content.data.replace(STATE.encode(), str(state).encode())
    return PlannedFile(path=file.path, content=Generated(data=data, origin=file.content.origin))


def _pump(stream: IO[bytes], lines: deque[str], log: Callable[[str], None] | None) -> None:
    for raw in stream:
        line = raw.decode("utf-8", "replace").rstrip()
        lines.append(line)
        if log is not None:
            log(line)


def _end(process: subprocess.Popen[bytes], family: Family, grace_s: float) -> None:
    """End a server and all that it started: politely first, by force after ``grace_s``; return when all have ended.

    Children outlive a server easily (TorchServe's launcher is a Python that starts a Java that starts Pythons;
    BentoML's workers lead sessions of their own), so what counts is the whole family, not the first process.
    """
    family.send(signal.SIGTERM, only_session=True)
    deadline = time.monotonic() + grace_s
    while family.processes() and time.monotonic() < deadline:
        process.poll()
        time.sleep(POLL_S)
    if family.processes():
        family.send(signal.SIGKILL)
    process.wait()
    while family.processes():
        if time.monotonic() > deadline + grace_s:
            raise ServerFailed(f"processes {family.processes()} of the server could not be ended; end them by hand")
        time.sleep(POLL_S)
