"""Run a `ServicePlan` in a container: start it with the fewest rights, ask how it is, end it."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from modelport.artifact import scratch, set_modes, write_files
from modelport.errors import BuildError, MissingTool, ServerFailed
from modelport.plan import ServicePlan
from modelport.run.engine import Engine
from modelport.run.ports import check_ports
from modelport.run.started import StartedServer
from modelport.signals import postponed

POLL_S = 0.5
LOG_LINES = "500"
START_S = 600.0  # pulling the image counts
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSettings:
    """How a container is to run.

    Attributes:
        name: The container's name; one is made up if empty.
        host: Address of this machine that its ports are published on.
        ports: This machine's ports by name; a port that is not named here is published under its own number.
        memory: Largest memory in bytes; None for no limit.
        cpus: Most cores; None for no limit.
        user: ``uid`` or ``uid:gid`` in place of the image's own.
    """

    name: str = ""
    host: str = LOOPBACK
    ports: Mapping[str, int] = field(default_factory=dict)
    memory: int | None = None
    cpus: float | None = None
    user: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerState:
    """How a container is: whether it runs, else the code that it ended with, and whether memory was why."""

    running: bool
    exit_code: int
    out_of_memory: bool


class RunningContainer(StartedServer):
    """A container that was started; made by `running_container`.

    Attributes:
        engine: What runs it.
        name: The container's name.
        endpoints: URLs by protocol, as this machine reaches them.
    """

    def __init__(self, engine: Engine, plan: ServicePlan, settings: ContainerSettings) -> None:
        super().__init__(plan, f"{plan.server} in {settings.name}", POLL_S)
        self.engine = engine
        self.name = settings.name
        self.endpoints = published_endpoints(plan, settings)

    def state(self) -> ContainerState:
        """Ask the engine how the container is.

        Raises:
            BuildError: There is no such container any more.
        """
        state = self.engine.ask_json("container", "inspect", self.name, what=f"{self.engine.name} inspect")[0]["State"]
        return ContainerState(
            running=bool(state["Running"]), exit_code=int(state["ExitCode"]), out_of_memory=bool(state["OOMKilled"])
        )

    def healthy(self) -> bool:
        """Run the health check of the image's ``HEALTHCHECK`` now; docker tells the result of its own last run."""
        if self.engine.name == "docker":
            asked = ("container", "inspect", "--format", "{{.State.Health.Status}}", self.name)
            return self.engine.ask(*asked, what="docker inspect").strip() == "healthy"
        try:
            self.engine.ask("healthcheck", "run", self.name, what=f"{self.engine.name} healthcheck run")
        except BuildError:
            return False
        return True

    def ended(self) -> str:
        """See `StartedServer.ended`."""
        state = self.state()
        if state.running:
            return ""
        return "was killed for want of memory" if state.out_of_memory else f"ended with code {state.exit_code}"

    def printed(self) -> str:
        """See `StartedServer.printed`."""
        return self.engine.work(
            ("logs", "--tail", LOG_LINES, self.name), what=f"{self.engine.name} logs", timeout_s=60.0
        )

    def stop(self) -> ContainerState:
        """End the server by SIGTERM, by force after its grace period (then the exit code is 137)."""
        grace_s = max(1, round(self.plan.grace_s))
        self.engine.ask(
            "stop", "--time", str(grace_s), self.name, what=f"{self.engine.name} stop", timeout_s=grace_s + 60.0
        )
        return self.state()


@contextmanager
def running_container(engine: Engine, plan: ServicePlan, settings: ContainerSettings) -> Iterator[RunningContainer]:
    """Run a service in a container; when the block ends, the container is gone.

    It gets no capability, no new privileges and a read-only root: it writes to `ServicePlan.writable` alone, in memory.

    Raises:
        ServerFailed: A port is taken, or the engine could not start it.
        MissingTool: The engine only builds.
    """
    if not engine.runs_containers:
        raise MissingTool(f"{engine.name} builds images and runs no services; use --engine podman or docker")
    named = replace(settings, name=settings.name or f"modelport-{plan.backend}-{secrets.token_hex(4)}")
    check_ports((named.ports.get(port.name, port.number) for port in plan.ports), named.host)
    ending = ExitStack()
    try:
        config = None
        if plan.files:
            config = ending.enter_context(scratch("modelport-config-")) / "config"
            config.mkdir()
            write_files(plan.files, config)
            set_modes(config)
        ending.callback(remove_container, engine, named.name)
        start_container(engine, plan, named, config)
        yield RunningContainer(engine, plan, named)
    finally:
        with postponed():
            ending.close()


def start_container(engine: Engine, plan: ServicePlan, settings: ContainerSettings, config: Path | None) -> None:
    """Start a container.

    Raises:
        ServerFailed: The engine could not; the message has what it said.
    """
    try:
        engine.work(run_arguments(engine, plan, settings, config), what=f"{engine.name} run", timeout_s=START_S)
    except BuildError as error:
        if re.search(r"already in use|already allocated", str(error)):
            raise ServerFailed(f"{plan.image}: a port or the name {settings.name} is taken.\n{error}") from error
        raise ServerFailed(f"{plan.image}: {error}") from error


def remove_container(engine: Engine, name: str) -> None:
    """End and remove a container and its volumes; without one of that name nothing happens."""
    try:
        engine.ask("rm", "--force", "--volumes", name, what=f"{engine.name} rm")
    except BuildError as error:
        if not re.search(r"no such container|no container with", str(error), re.IGNORECASE):
            raise


def run_arguments(
    engine: Engine, plan: ServicePlan, settings: ContainerSettings, config: Path | None = None
) -> tuple[str, ...]:
    """Give the arguments of ``ENGINE run``: the image's own command, with the fewest rights.

    Args:
        engine: What runs it.
        plan: What runs; `ServicePlan.image` is set.
        settings: How it runs; the name is set.
        config: Folder that is mounted over `ServicePlan.config_folder`, read-only.
    """
    ports = [(settings.ports.get(port.name, port.number), port.number) for port in plan.ports]
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    # podman would make /tmp and others writable by itself; the plan says what the server writes to.
    exact = ("--read-only-tmpfs=false",) if engine.name == "podman" else ()
    return (
        *("run", "--detach", "--name", settings.name),
        *("--read-only", *exact, "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
        *(part for outer, inner in ports for part in ("--publish", f"{host}:{outer}:{inner}")),
        # Servers unpack shared libraries to where they may write, and load them from there.
        *(part for folder in plan.writable for part in ("--tmpfs", f"{folder}:rw,exec,nosuid,nodev,mode=1777")),
        *(("--volume", f"{config}:{plan.config_folder}:ro") if config is not None else ()),
        *(part for key, value in plan.environment.items() if value is not None for part in ("--env", f"{key}={value}")),
        *(("--memory", str(settings.memory)) if settings.memory is not None else ()),
        *(("--cpus", f"{settings.cpus:g}") if settings.cpus is not None else ()),
        *(("--user", settings.user) if settings.user else ()),
        *("--stop-timeout", str(max(1, round(plan.grace_s)))),
        plan.image,
    )


def published_endpoints(plan: ServicePlan, settings: ContainerSettings) -> dict[str, str]:
    """Give a plan's URLs with the address and the ports that they are published under."""
    outer = {port.number: settings.ports.get(port.name, port.number) for port in plan.ports}
    host = LOOPBACK if settings.host in {"", "0.0.0.0"} else settings.host  # compared with, not bound to
    shown = f"[{host}]" if ":" in host else host
    published = {}
    for name, url in plan.endpoints.items():
        parts = urlsplit(url)
        number = parts.port
        netloc = shown if number is None else f"{shown}:{outer.get(number, number)}"
        published[name] = urlunsplit(parts._replace(netloc=netloc))
    return published
