"""Container engines: which one is here, whether it works, and one way to ask it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from modelport.errors import BuildError, MissingTool
from modelport.run.tool import run_tool

EngineName = Literal["docker", "podman", "buildah"]

AUTO = "auto"
ENGINES: tuple[EngineName, ...] = ("docker", "podman", "buildah")  # in the order in which "auto" looks for them
OLDEST: dict[EngineName, tuple[int, int]] = {"docker": (1, 41), "podman": (4, 0), "buildah": (1, 24)}
"""Oldest versions that will do; docker's is that of the API, which came with 20.10 and which podman speaks, too."""
INSTALL: dict[EngineName, str] = {
    "docker": "see https://docs.docker.com/engine/install/, or use --engine podman",
    "podman": "apt-get install podman (Debian, Ubuntu), dnf install podman (Fedora)",
    "buildah": "apt-get install buildah (Debian, Ubuntu), dnf install buildah (Fedora)",
}
ASK_S = 60.0
GRACE_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """A container engine that works here.

    Attributes:
        name: ``docker``, ``podman`` or ``buildah``.
        program: Path of its program.
        version: Its version; for docker, the daemon's.
        environment: Variables that its program needs here.
    """

    name: EngineName
    program: str
    version: str
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def runs_containers(self) -> bool:
        """Whether it starts services, not only builds."""
        return self.name != "buildah"

    def ask(self, *arguments: str, what: str, timeout_s: float = ASK_S) -> str:
        """Give what a short command prints to stdout.

        Args:
            arguments: After the program's name.
            what: What it does, for messages: ``"podman push"``.
            timeout_s: After this many seconds it is killed.

        Raises:
            BuildError: The engine refused; the message has its last lines.
        """
        return run_tool(
            (self.program, *arguments),
            cwd=Path.cwd(),
            environment=self.environment,
            timeout_s=timeout_s,
            what=what,
            only_stdout=True,
        )

    def ask_json(self, *arguments: str, what: str) -> Any:
        """Give the JSON that a short command prints.

        Raises:
            BuildError: The engine refused, or printed something else.
        """
        text = self.ask(*arguments, what=what)
        try:
            return json.loads(text)
        except ValueError as error:
            raise BuildError(f"{what}: {self.name} {self.version} printed no JSON: {text[:200]!r}") from error

    def work(
        self, arguments: Sequence[str], *, what: str, timeout_s: float, log: Callable[[str], None] | None = None
    ) -> str:
        """Run a long command, telling each line that it prints; ended early, it may tidy up.

        Raises:
            BuildError: It failed or took too long; the message has its last lines.
        """
        return run_tool(
            (self.program, *arguments),
            cwd=Path.cwd(),
            environment=self.environment,
            timeout_s=timeout_s,
            what=what,
            log=log,
            grace_s=GRACE_S,
        )


def find_engine(name: str = AUTO, *, search_path: str | None = None) -> Engine:
    """Give the engine ``name``, or with ``auto`` the first of docker, podman and buildah that works.

    Args:
        name: ``auto``, ``docker``, ``podman`` or ``buildah``.
        search_path: Folders to look in, as PATH has them; PATH itself if None.

    Raises:
        MissingTool: It is not installed, too old, or does not answer; the message says what to do.
    """
    if name != AUTO:
        return _check(_known(name), search_path)
    reasons = []
    for candidate in ENGINES:
        try:
            return _check(candidate, search_path)
        except MissingTool as error:
            reasons.append(str(error))
    raise MissingTool("no container engine works here:\n" + "\n".join(f"    {reason}" for reason in reasons))


def _known(name: str) -> EngineName:
    for candidate in ENGINES:
        if candidate == name:
            return candidate
    raise MissingTool(f"no engine is called {name!r}; there are {', '.join(ENGINES)}")


def _check(name: EngineName, search_path: str | None) -> Engine:
    program = shutil.which(name, path=search_path)
    if program is None:
        raise MissingTool(f"{name} is not installed here: {INSTALL[name]}")
    try:
        return _ASKED[name](program)
    except (BuildError, ValueError, LookupError) as error:
        raise MissingTool(f"{name} is installed ({program}) but does not work: {error}") from error


def _ask_docker(program: str) -> Engine:
    # The client answers by itself; only the server's side tells whether the daemon does.
    try:
        server = json.loads(_ask(program, "version", "--format", "{{json .Server}}"))
    except BuildError as error:
        raise ValueError(f"its daemon does not answer. Start it, or use --engine podman.\n{error}") from error
    _refuse_older("docker", server["ApiVersion"])
    foreign = any("Podman" in component["Name"] for component in server.get("Components") or ())
    return Engine(
        name="docker",
        program=program,
        version=server["Version"],
        environment={"DOCKER_BUILDKIT": "0"} if foreign else {},  # podman's socket does not speak BuildKit
    )


def _ask_podman(program: str) -> Engine:
    facts = json.loads(_ask(program, "info", "--format", "json"))
    version = _refuse_older("podman", facts["version"]["Version"])
    return Engine(name="podman", program=program, version=version)


def _ask_buildah(program: str) -> Engine:
    version = _refuse_older("buildah", json.loads(_ask(program, "version", "--json"))["version"])
    return Engine(name="buildah", program=program, version=version)


def _refuse_older(name: EngineName, version: str) -> str:
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers is None or (int(numbers[1]), int(numbers[2])) < OLDEST[name]:
        oldest = ".".join(map(str, OLDEST[name]))
        raise ValueError(f"its version {version} is too old; {oldest} or later: {INSTALL[name]}")
    return version


def _ask(program: str, *arguments: str) -> str:
    what = f"{Path(program).name} {arguments[0]}"
    return run_tool((program, *arguments), cwd=Path.cwd(), timeout_s=ASK_S, what=what, only_stdout=True)


_ASKED: dict[EngineName, Callable[[str], Engine]] = {
    "docker": _ask_docker,
    "podman": _ask_podman,
    "buildah": _ask_buildah,
}
