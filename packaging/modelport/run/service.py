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

from modelport.artifact import write_files
from modelport.errors import MissingTool, ServerFailed
from modelport.plan import Generated, PlannedFile, ServicePlan
from modelport.run.family import MARK, Family
from modelport.run.ports import check_ports
from modelport.run.started import StartedServer
from modelport.run.tool import merged_environment, read_lines
from modelport.signals import postponed

STATE = "{state}"
POLL_S = 0.1
TAKEN = "address already in use"  # the system's words, which every server passes on
LAST_WORDS_S = 2.0


class LocalService(StartedServer):
    """A running service; made by `running`.

    Attributes:
        family: All its processes.
    """

    def __init__(self, plan: ServicePlan, host: str, state: Path, log: Callable[[str], None] | None) -> None:
        super().__init__(plan, plan.server, POLL_S)
        self._host = host
        self._state = state
        self._tell = log
        self._log: deque[bytes] = deque(maxlen=500)
        self._launch()

    def _launch(self) -> None:
        self._process = _start(self.plan, self._state)
        self.family = Family(session=self._process.pid, mark=str(self._state))
        assert self._process.stdout is not None  # noqa: S101  # tells the type checker what PIPE means
        heard = (self._process.stdout, self._log.append, self._tell)
        self._pump = threading.Thread(target=read_lines, args=heard, daemon=True)
        self._pump.start()

    def end(self) -> None:
        """End all its processes; return when they have ended.

        Raises:
            ServerFailed: One could not be ended.
        """
        _end(self._process, self.family, self.plan.grace_s)
        self._pump.join(timeout=5)

    def wait_ready(self, answers: Callable[[], bool]) -> None:
        """See `StartedServer.wait_ready`; a server that found an address in use starts once more.

        Servers choose ports for themselves, too (BentoML for its supervisor), and what is free when they look may be
        taken when they bind to it.

        Raises:
            ServerFailed: The same happened again, or one of the plan's ports is taken.
        """
        try:
            super().wait_ready(answers)
        except ServerFailed:
            if not self.ended() or TAKEN not in self.printed().lower():
                raise
            self._launch_anew()
            super().wait_ready(answers)

    def _launch_anew(self) -> None:
        with postponed():
            self.end()
            check_ports((port.number for port in self.plan.ports), self._host)
            self._log.clear()  # or its last words would be found again
            note = f"modelport: {self.title} found an address in use; it is started once more"
            self._log.append(f"{note}\n".encode())
            if self._tell is not None:
                self._tell(note)
            self._launch()

    def ended(self) -> str:
        """See `StartedServer.ended`."""
        code = self._process.poll()
        if code is None:
            return ""
        self._pump.join(timeout=LAST_WORDS_S)  # what it said last may be on its way still
        return f"ended with signal {-code}" if code < 0 else f"ended with exit code {code}"

    def printed(self) -> str:
        """See `StartedServer.printed`."""
        return b"".join(list(self._log)).decode("utf-8", "replace")  # a copy: another thread appends

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
            service = LocalService(plan, host, state, log)
            ending.callback(service.end)
        yield service
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
