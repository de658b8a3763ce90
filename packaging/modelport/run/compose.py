"""A release on its way into Docker Compose on this machine.

What runs needs its files for as long as it runs, and going back needs those of the version before: every deployment has
a folder of its own, called after its content. Containers bear the path of the file that they were made from. Until the
new one answers, its folder says what ran before: a deployment that is killed can still be taken back by the next.
"""

from __future__ import annotations

import copy
import hashlib
import json
import posixpath
import re
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelport.artifact import set_modes, write_files
from modelport.errors import BuildError, MissingTool, ModelportError, ServerFailed
from modelport.plan import Generated, PlannedFile, ServicePlan
from modelport.run.difference import Change
from modelport.run.image_labels import ARTIFACT, VERSION, Expected, compare_labels
from modelport.run.ports import check_ports
from modelport.run.rollout import Journal, Note
from modelport.run.tool import last_lines, run_tool
from modelport.run.turn import only_one

Object = dict[str, Any]

FILE = "compose.yaml"
HOST = "127.0.0.1"
FOLDER = ".deployed"  # no version of a model begins with a dot
BEFORE = "before.json"
ASK_S = 60.0
PULL_S = 1800.0
LOG_LINES = "15"
MADE_FROM = re.compile(r"com\.docker\.compose\.project\.config_files=([^=]*/compose\.yaml)")
NO_DAEMON = re.compile("(?i)cannot connect to the docker daemon|docker daemon is not running|connect to the docker api")
LABEL = re.compile(r"(?:^|,)([a-z0-9.]+)=([^,]*)")
IMAGE_ID = re.compile(r"com\.docker\.compose\.image=(sha256:[0-9a-f]{64})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """The files of one deployment.

    Attributes:
        content: What is in ``compose.yaml``.
        files: Everything; ``compose.yaml`` is among them.
        service: Name of the service that is deployed.
        folder: Where the files are kept while it runs.
    """

    content: Object
    files: tuple[PlannedFile, ...]
    service: str
    folder: Path

    @property
    def name(self) -> str:
        """The project's name."""
        return str(self.content["name"])

    @property
    def host_ports(self) -> tuple[int, ...]:
        """Ports of this machine that it publishes."""
        return tuple(int(text.split(":")[1]) for text in self.content["services"][self.service].get("ports", ()))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Earlier:
    """The container that runs before."""

    file: Path | None
    image: str
    host_ports: tuple[int, ...] = ()
    healthy: bool = False


def plan_project(files: Sequence[PlannedFile], host_ports: Mapping[int, int], output: Path) -> Project:
    """Take what the target ``compose`` gave.

    Args:
        files: ``compose.yaml`` with one server, and what it refers to.
        host_ports: Port of this machine by port of the container, where it shall be another than the file's.
        output: The folder for artifacts; deployments are kept below it.
    """
    import yaml

    content = yaml.safe_load(next(_text(file) for file in files if file.path == FILE))
    service = next(name for name, each in content["services"].items() if "ports" in each)
    published = content["services"][service]["ports"]
    targets = [int(text.rpartition(":")[2]) for text in published]
    content["services"][service]["ports"] = [
        f"{HOST}:{host_ports[target]}:{target}" if target in host_ports else text
        for text, target in zip(published, targets, strict=True)
    ]
    # JSON is YAML that every reader takes alike; Compose takes 1e3 and 0o7, as PyYAML writes them, for numbers.
    data = json.dumps(content, indent=2).encode()
    placed = [file for file in files if file.path != FILE]
    placed.append(PlannedFile(path=FILE, content=Generated(data=data, origin="the spec")))
    digest = hashlib.sha256("".join(f"{file.path}\0{_text(file)}\0" for file in placed).encode()).hexdigest()[:10]
    return Project(
        content=content,
        files=tuple(placed),
        service=service,
        folder=output.resolve() / FOLDER / f"{service}-{digest}",
    )


def find_compose() -> tuple[str, ...]:
    """Give the command that runs Compose v2 or later: docker's plug-in, or the program of its own.

    Raises:
        MissingTool: There is neither.
    """
    for command in (("docker", "compose"), ("docker-compose",)):
        program = shutil.which(command[0])
        if program is None:
            continue
        try:
            said = _run((program, *command[1:], "version", "--short"), "docker compose version", ASK_S)
        except ServerFailed:
            continue
        if not said.strip().lstrip("v").startswith("1."):
            return (program, *command[1:])
    raise MissingTool(
        "Docker Compose is not installed here: see https://docs.docker.com/compose/install/, or use --target podman"
    )


@dataclass(slots=True, kw_only=True)
class ComposeRollout:
    """One release on its way into Compose.

    Attributes:
        compose: The command that runs Compose.
        project: What shall run.
        service: The service within.
        urls: URLs on this machine, by protocol.
        answers: Whether the new service answers.
        image_hint: What to do where an image is not to be had.
        expected: What the image is to hold.
    """

    compose: tuple[str, ...]
    project: Project
    service: ServicePlan
    urls: Mapping[str, str]
    answers: Callable[[], bool]
    image_hint: str
    expected: Expected = field(default_factory=Expected)
    poll_s: float = 0.5
    journal: Journal = field(default_factory=Journal)
    _earlier: _Earlier | None = None
    _new_folder: bool = False

    @property
    def place(self) -> str:
        """The project."""
        return f"the Compose project {self.project.name} on this machine"

    def changes(self) -> tuple[Change, ...]:
        """Compare the file that the running container was made from with the new one, and the files beside them."""
        earlier = self._find_earlier()
        before = {} if earlier is None or earlier.file is None else _read_earlier(earlier.file)
        after = {file.path: _parsed(file.path, _text(file)) for file in self.project.files}
        # Other services of the same project are left alone.
        for side in (before, after):
            if FILE in side:
                side[FILE] = _only(side[FILE], self.project.service)
        names = dict.fromkeys([*before, *after])
        return tuple(Change(name=name, before=before.get(name), after=after.get(name)) for name in names)

    def turn(self) -> AbstractContextManager[None]:
        """Keep other deployments to the project away: Compose makes and removes its network with its services."""
        return only_one(self.place)

    def apply(self, note: Note) -> None:
        """Have the images and the ports, then let Compose make the container anew."""
        runs = self._find_earlier()
        held = runs.host_ports if runs else ()
        check_ports((number for number in self.project.host_ports if number not in held), HOST)
        self._new_folder = not self.project.folder.exists()
        # Written anew where they stand, too: somebody may have changed them.
        self.project.folder.mkdir(parents=True, exist_ok=True)
        self._earlier = self._note_earlier(runs)
        write_files(self.project.files, self.project.folder)
        set_modes(self.project.folder)  # the server reads them as another user
        try:
            self._compose(self._new, "pull", "--policy", "missing", timeout_s=PULL_S, note=note)
        except (ModelportError, KeyboardInterrupt) as error:
            self._forget_folder()
            if isinstance(error, KeyboardInterrupt):
                raise
            raise ServerFailed(
                f"the image {self.service.image} is not to be had. {self.image_hint}\n{error}"
            ) from error
        self.journal.applied.append(f"service {self.project.service}: made from {self.project.folder / FILE}")
        note(self.journal.applied[-1])
        self._compose(self._new, "up", "--detach", "--no-build", self.project.service, timeout_s=PULL_S, note=note)
        if self.expected.artifact:
            self._compare_artifacts(note)

    def _compare_artifacts(self, note: Note) -> None:
        """Compare what the image says of itself: its container has its labels, and Compose tells no others."""
        text = (self._find_container() or {}).get("Labels", "")
        labels = {name: value for name, value in LABEL.findall(text) if name in {ARTIFACT, VERSION}}
        compare_labels(labels, self.service.image, self.expected, self.image_hint, note)

    def wait_ready(self, timeout_s: float, note: Note) -> None:
        """Wait until its health check passes, as Compose sees it, and until the service answers."""
        deadline = time.monotonic() + timeout_s
        wait = ("up", "--detach", "--no-build", "--no-recreate", "--wait", "--wait-timeout", f"{timeout_s:.0f}")
        note(f"waiting for {self.service.server} to become healthy")
        try:
            self._compose(self._new, *wait, self.project.service, timeout_s=timeout_s + ASK_S)
            self._wait_for_answer(deadline)
        except ServerFailed as error:
            raise ServerFailed(
                f"{self.service.server}: not ready after {timeout_s:.0f} s at most: {error}\n"
                f"{self._state()}Its last lines:\n{self._log()}"
            ) from error

    def _wait_for_answer(self, deadline: float) -> None:
        while not self.answers():
            if time.monotonic() > deadline:
                raise ServerFailed(f"it is healthy, and does not answer at {', '.join(self.urls.values())}")
            time.sleep(self.poll_s)

    def endpoints(self) -> Mapping[str, str]:
        """URLs on this machine."""
        return self.urls

    def roll_back(self, note: Note) -> None:
        """Let Compose make the earlier container again, from its own file and its own image; or remove the new one."""
        name = self.project.service
        try:
            if self._earlier is None:
                self._compose(self._new, "down", timeout_s=PULL_S, note=note)
                self.journal.undone.append(f"service {name}: removed")
            elif self._earlier.file is None or not self._earlier.file.is_file():
                self.journal.stuck.append(f"service {name}: the file that it was made from before is gone")
                return
            else:
                self._restore(self._earlier.file, self._earlier.image, note)
                self.journal.undone.append(f"service {name}: made again from {self._earlier.file}")
        except ModelportError as error:
            self.journal.stuck.append(f"service {name}: {error}")
        else:
            self._forget_folder()

    def finish(self) -> None:
        """Remove the folders of earlier deployments of this service, and the way back to them."""
        (self.project.folder / BEFORE).unlink(missing_ok=True)
        for folder in self.project.folder.parent.glob(f"{self.project.service}-*"):
            if folder != self.project.folder and re.fullmatch("[0-9a-f]{10}", folder.name.rpartition("-")[2]):
                shutil.rmtree(folder)

    @property
    def _new(self) -> tuple[str, ...]:
        return ("--file", str(self.project.folder / FILE))

    def _restore(self, file: Path, image: str, note: Note) -> None:
        """Start from an earlier file; its tag may stand for the new image by now, so the image is named by its id."""
        override = file.parent / "image.yaml"
        pinned = {"services": {self.project.service: {"image": image, "pull_policy": "never"}}}
        override.write_text(json.dumps(pinned), encoding="utf-8")
        files = ("--file", str(file), "--file", str(override))
        self._compose(files, "up", "--detach", "--no-build", self.project.service, timeout_s=PULL_S, note=note)

    def _forget_folder(self) -> None:
        if self._new_folder and (self._earlier is None or self._earlier.file != self.project.folder / FILE):
            shutil.rmtree(self.project.folder, ignore_errors=True)

    def _note_earlier(self, runs: _Earlier | None) -> _Earlier | None:
        """Give what to go back to, and put it down for the next deployment, in case this one is killed.

        What runs from a deployment that did not end is nothing to go back to, unless it is healthy by now; that one has
        put down what is.
        """
        wanted_runs = runs is not None and runs.file == self.project.folder / FILE
        earlier = runs
        if runs is not None and runs.file is not None and (wanted_runs or not runs.healthy):
            note = runs.file.parent / BEFORE
            earlier = _read_note(note) if note.is_file() else runs
        if not wanted_runs:
            known = None if earlier is None else {"file": earlier.file and str(earlier.file), "image": earlier.image}
            (self.project.folder / BEFORE).write_text(json.dumps(known), encoding="utf-8")
        return earlier

    def _find_earlier(self) -> _Earlier | None:
        container = self._find_container()
        if container is None:
            return None
        file, image = MADE_FROM.search(container["Labels"]), IMAGE_ID.search(container["Labels"])
        return _Earlier(
            file=Path(file[1]) if file else None,
            image=image[1] if image else container["Image"],
            host_ports=tuple(each["PublishedPort"] for each in container.get("Publishers") or ()),
            healthy=container.get("Health") == "healthy",
        )

    def _find_container(self) -> Object | None:
        """Give the service's container as Compose tells it."""
        project = ("--project-name", self.project.name)
        text = self._compose(project, "ps", "--all", "--format", "json", timeout_s=ASK_S)
        found = (json.loads(line) for line in text.splitlines() if line.startswith("{"))
        return next((each for each in found if each["Service"] == self.project.service), None)

    def _state(self) -> str:
        try:
            text = self._compose(self._new, "ps", "--all", self.project.service, timeout_s=ASK_S)
        except ServerFailed as error:
            return f"{error}\n"
        return f"Its container:\n{last_lines(text)}\n"

    def _log(self) -> str:
        try:
            show = ("logs", "--no-color", "--no-log-prefix", "--tail", LOG_LINES)
            return last_lines(self._compose(self._new, *show, self.project.service, timeout_s=ASK_S))
        except ServerFailed as error:
            return f"    ({error})"

    def _compose(
        self, where: tuple[str, ...], *arguments: str, timeout_s: float, note: Callable[[str], None] | None = None
    ) -> str:
        return _run((*self.compose, *where, *arguments), f"docker compose {arguments[0]}", timeout_s, note)


def _run(command: tuple[str, ...], what: str, timeout_s: float, note: Callable[[str], None] | None = None) -> str:
    try:
        return run_tool(command, cwd=Path.cwd(), timeout_s=timeout_s, what=what, log=note)
    except BuildError as error:
        text = str(error)
        if NO_DAEMON.search(text):
            text += "\nStart Docker, point $DOCKER_HOST to an engine that runs, or use --target podman"
        raise ServerFailed(text) from error


def _read_note(path: Path) -> _Earlier | None:
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        return known and _Earlier(file=known["file"] and Path(known["file"]), image=known["image"])
    except (ValueError, KeyError, TypeError) as error:
        raise ServerFailed(f"{path}: says no more what ran before ({error}); remove it, and deploy again") from error


def _text(file: PlannedFile) -> str:
    if not isinstance(file.content, Generated):
        raise ServerFailed(f"{file.path}: not made by the target; it cannot be deployed")
    return file.content.data.decode("utf-8")


def _read_earlier(file: Path) -> dict[str, Object]:
    """Give an earlier file and the configuration that it names; it may be somebody's own, among other files."""
    if not file.is_file():
        return {}
    content = _parsed(FILE, file.read_text(encoding="utf-8"))
    found = {FILE: content}
    for config in (content.get("configs") or {}).values():
        path = file.parent / config.get("file", "")
        if path.is_file():
            found[posixpath.normpath(config["file"])] = {"content": path.read_text(encoding="utf-8", errors="replace")}
    return found


def _parsed(name: str, text: str) -> Object:
    import yaml

    return dict(yaml.safe_load(text)) if name == FILE else {"content": text}


def _only(content: Object, service: str) -> Object:
    kept = copy.deepcopy(content)
    kept["services"] = {name: each for name, each in kept["services"].items() if name.startswith(service)}
    return kept
