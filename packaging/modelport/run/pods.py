"""A release on its way into a pod of this machine's podman.

The new pod is made before the one that runs is stopped, and that one is not removed until the new one answers: both
want the same ports, and going back is then no more than starting it again. So whenever a deployment is killed, two pods
are there, and the older one is what ran before. The next deployment that fails goes back to it, too, unless the newer
one is healthy by then.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelport.errors import BuildError, ModelportError, ServerFailed
from modelport.plan import ServicePlan
from modelport.run.difference import Change
from modelport.run.engine import Engine
from modelport.run.image_labels import Expected, compare_labels
from modelport.run.pod_manifest import DIGEST, HOST, MANIFEST, NAME, PodManifest
from modelport.run.ports import check_ports
from modelport.run.rollout import Journal, Note
from modelport.run.tool import last_lines
from modelport.run.turn import only_one

PULL_S = 1800.0
PLAY_S = 300.0
CRASHES = 3
REMOVE_S = "1"  # nobody calls a pod that is removed, and the one before it waits for its ports
ASK_S = 120.0  # a build that stores a large layer makes the others wait
LOG_LINES = "200"
UNKNOWN_IMAGE = "image not known"  # podman's words


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A pod that podman has.

    Attributes:
        name: Its name.
        digest: That of its manifest.
        runs: Whether it runs.
        created: When it was made, as text that sorts by time.
        documents: The Kubernetes objects that it was made from.
    """

    name: str
    digest: str
    runs: bool
    created: str
    documents: tuple[dict[str, Any], ...]

    @property
    def host_ports(self) -> tuple[int, ...]:
        """Ports of this machine that are its own."""
        return tuple(
            port["hostPort"]
            for document in self.documents
            if document["kind"] == "Deployment"
            for container in document["spec"]["template"]["spec"]["containers"]
            for port in container.get("ports", ())
            if "hostPort" in port
        )


@dataclass(slots=True, kw_only=True)
class PodRollout:
    """One release on its way into a pod.

    Attributes:
        engine: podman.
        manifest: What shall run.
        service: The service within.
        urls: URLs on this machine, by protocol.
        host_ports: The ports of this machine that it publishes.
        answers: Whether the new service answers.
        image_hint: What to do where an image is not to be had.
        expected: What the image is to hold.
    """

    engine: Engine
    manifest: PodManifest
    service: ServicePlan
    urls: Mapping[str, str]
    host_ports: tuple[int, ...]
    answers: Callable[[], bool]
    image_hint: str
    expected: Expected = field(default_factory=Expected)
    poll_s: float = 0.5
    journal: Journal = field(default_factory=Journal)
    _started: bool = False
    _stopped: list[Pod] = field(default_factory=list)

    @property
    def place(self) -> str:
        """This machine."""
        return "podman on this machine"

    def changes(self) -> tuple[Change, ...]:
        """Compare the manifest of the pod that runs with the new one."""
        self.manifest = self.manifest.with_image_ids(self._image_ids())
        running = [pod for pod in self._pods() if pod.runs]
        before = {_describe(each): each for pod in running[:1] for each in pod.documents}
        after = {_describe(each): each for each in self.manifest.documents}
        names = dict.fromkeys([*before, *after])
        return tuple(Change(name=name, before=before.get(name), after=after.get(name)) for name in names)

    def turn(self) -> AbstractContextManager[None]:
        """Keep other deployments of this service away."""
        return only_one(f"{self.manifest.name} in {self.place}")

    def apply(self, note: Note) -> None:
        """Have the images, make the new pod, stop the earlier one, start the new one; nothing where it runs already."""
        self._have_images(note)
        self._compare_artifacts(note)
        self.manifest = self.manifest.with_image_ids(self._image_ids())
        pods = sorted(self._pods(), key=lambda pod: pod.created)
        own = [pod for pod in pods if pod.digest == self.manifest.digest]
        others = [pod for pod in pods if pod.digest != self.manifest.digest]
        if any(pod.runs for pod in own):
            self._go_on_with(own[0], others, note)
            return
        earlier = [pod for pod in others if pod.runs]
        held = {number for pod in earlier for number in pod.host_ports}
        check_ports((number for number in self.host_ports if number not in held), HOST)
        for pod in own:  # left over from an attempt that failed
            self._remove(pod)
        if len(pods) > 1 and not earlier:  # what ran before was stopped by a deployment that was killed
            self._stopped += others[:1]
        self._start_new(earlier, self._choose_way_back(others), note)

    def _choose_way_back(self, others: Sequence[Pod]) -> list[Pod]:
        """Give what runs again if this fails: what runs now, or what that one was to replace, and never did.

        Args:
            others: The pods of other versions, the oldest first.
        """
        running = [pod for pod in others if pod.runs]
        if running and not others[0].runs and not any(map(self._is_healthy, running)):
            return [others[0]]
        return running

    def _go_on_with(self, own: Pod, others: Sequence[Pod], note: Note) -> None:
        """Take over the pod as wanted; where others stand by, nobody has seen yet that it answers."""
        note(f"pod {self.manifest.unique}: runs already")
        if others:
            self._started = True
            self._stopped += others[:1]
            self.journal.applied.append(f"pod {own.name}: found running, from a deployment that did not end")

    def _start_new(self, earlier: Sequence[Pod], way_back: Sequence[Pod], note: Note) -> None:
        self._started = True
        self.journal.applied.append(f"pod {self.manifest.unique}: made")
        self._make()
        if earlier:
            self._stopped += way_back
        for pod in earlier:
            self.journal.applied.append(f"pod {pod.name}: stopped")
            note(self.journal.applied[-1])
            self._ask("pod", "stop", "--time", f"{self.service.grace_s:.0f}", pod.name)
        self.journal.applied.append(f"pod {self.manifest.unique}: started")
        note(f"pod {self.manifest.unique}: starting")
        for pod in self._own():
            self._ask("pod", "start", pod.name)

    def wait_ready(self, timeout_s: float, note: Note) -> None:
        """Wait until the service answers."""
        deadline = time.monotonic() + timeout_s
        note(f"waiting for {self.service.server} to answer")
        while not self.answers():
            self._check_alive()
            if time.monotonic() > deadline:
                raise ServerFailed(
                    f"{self.service.server} in pod {self.manifest.unique}: not ready after {timeout_s:.0f} s. Its last "
                    f"lines:\n{last_lines(self._log())}"
                )
            time.sleep(self.poll_s)

    def endpoints(self) -> Mapping[str, str]:
        """URLs on this machine."""
        return self.urls

    def roll_back(self, note: Note) -> None:
        """Remove the new pod, start the earlier one again."""
        if self._started:
            self._record(f"pod {self.manifest.unique}: removed", self._remove_new)
        for pod in self._stopped:
            note(f"rolling back: pod {pod.name}")
            self._record(f"pod {pod.name}: started again", self._ask, "pod", "start", pod.name)

    def finish(self) -> None:
        """Remove the pods of earlier versions."""
        for pod in self._pods():
            if pod.digest != self.manifest.digest:
                self._remove(pod)

    def _record(self, said: str, act: Callable[..., object], *arguments: str) -> None:
        try:
            act(*arguments)
        except ModelportError as error:
            self.journal.stuck.append(f"not {said}: {error}")
        else:
            self.journal.undone.append(said)

    def _pods(self) -> list[Pod]:
        try:
            found = self.engine.ask_json(
                "pod", "ps", "--filter", f"label={NAME}={self.manifest.name}", "--format", "json", what="podman pod ps"
            )
        except BuildError as error:
            raise ServerFailed(str(error)) from error
        return [
            Pod(
                name=each["Name"],
                digest=each["Labels"].get(DIGEST, ""),
                runs=each["Status"] in {"Running", "Degraded"},
                created=each["Created"],
                documents=tuple(json.loads(each["Labels"].get(MANIFEST, "[]"))),
            )
            for each in found or ()
        ]

    def _image_ids(self) -> list[str]:
        """Give the id of each image as it is here now."""
        return [self._image_id(image) or "absent" for image in self.manifest.images]

    def _image_id(self, image: str) -> str | None:
        try:
            return self._ask("image", "inspect", "--format", "{{.Id}}", image).strip()[:12]
        except ServerFailed as error:
            if UNKNOWN_IMAGE in str(error):
                return None
            raise

    def _have_images(self, note: Note) -> None:
        for image in self.manifest.images:
            if self._image_id(image) is not None:
                continue
            note(f"pulling {image}")
            try:
                self.engine.work(("pull", image), what=f"podman pull {image}", timeout_s=PULL_S)
            except BuildError as error:
                raise ServerFailed(f"the image {image} is not here. {self.image_hint}\n{error}") from error

    def _compare_artifacts(self, note: Note) -> None:
        if not self.expected.artifact:
            return
        image = self.service.image
        labels = json.loads(self._ask("image", "inspect", "--format", "{{json .Labels}}", image)) or {}
        compare_labels(labels, image, self.expected, self.image_hint, note)

    def _own(self) -> list[Pod]:
        return [pod for pod in self._pods() if pod.digest == self.manifest.digest]

    def _make(self) -> None:
        with tempfile.TemporaryDirectory(prefix="modelport-pod-") as folder:
            file = Path(folder) / "pod.yaml"
            file.write_text(self.manifest.text(), encoding="utf-8")
            try:
                self.engine.work(
                    ("play", "kube", "--start=false", str(file)), what="podman play kube", timeout_s=PLAY_S
                )
            except BuildError as error:
                raise ServerFailed(str(error)) from error

    def _remove_new(self) -> None:
        for pod in self._own():
            self._remove(pod)

    def _remove(self, pod: Pod) -> None:
        """Remove a pod and its volumes; podman itself leaves those that were made from a ConfigMap."""
        self._ask("pod", "rm", "--force", "--time", REMOVE_S, pod.name)
        listed = self._ask("volume", "ls", "--format", "{{.Name}}").split()
        prefix = f"{self.manifest.name}-{pod.digest}-"
        ours = [name for name in listed if name.startswith(prefix) or name.endswith(f"-{pod.digest}")]
        if ours:
            self._ask("volume", "rm", "--force", *ours)

    def _check_alive(self) -> None:
        """Raise where the server ended several times, or said that it will never be ready."""
        names = [pod.name for pod in self._own()]
        if not names:
            raise ServerFailed(f"pod {self.manifest.unique}: somebody removed it while it was started")
        containers = self._ask("ps", "--all", "--filter", f"pod={names[0]}", "--format", "{{.ID}}").split()
        restarts = self._ask("inspect", "--format", "{{.RestartCount}}", *containers).split()
        if max(map(int, restarts)) >= CRASHES:
            raise ServerFailed(
                f"{self.service.server} in pod {names[0]}: ended {CRASHES} times. Its last lines:\n"
                f"{last_lines(self._log())}"
            )
        if self.service.fatal:
            for line in self._log().splitlines():
                if any(text in line for text in self.service.fatal):
                    raise ServerFailed(f"{self.service.server}: cannot serve the model:\n    {line}")

    def _is_healthy(self, pod: Pod) -> bool:
        """Tell whether the health check of the image passes now; what has none is not known to be healthy.

        podman runs none by itself in a pod that was played.
        """
        for container in self._ask("ps", "--filter", f"pod={pod.name}", "--format", "{{.ID}}").split():
            image = self._ask("inspect", "--format", "{{.Image}}", container).strip()
            check = json.loads(self._ask("image", "inspect", "--format", "{{json .HealthCheck}}", image)) or {}
            kind, *command = check.get("Test") or ("NONE",)
            if kind == "NONE":
                continue
            try:
                self._ask("exec", container, *(command if kind == "CMD" else ("/bin/sh", "-c", *command)))
            except ServerFailed:
                continue
            return True
        return False

    def _log(self) -> str:
        """Give what the containers of the new pod wrote last, to stdout and stderr alike."""
        names = [pod.name for pod in self._own()]
        try:
            return self.engine.work(
                ("pod", "logs", "--tail", LOG_LINES, *names), what="podman pod logs", timeout_s=ASK_S
            )
        except BuildError as error:
            return str(error)

    def _ask(self, *arguments: str) -> str:
        what = f"podman {' '.join(arguments[:2])}"
        try:
            return self.engine.ask(*arguments, what=what, timeout_s=self.service.grace_s + ASK_S)
        except BuildError as error:
            raise ServerFailed(str(error)) from error


def _describe(document: Mapping[str, Any]) -> str:
    return f"{document['kind']} {document['metadata']['name']}"
