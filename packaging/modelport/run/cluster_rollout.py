"""A release on its way into a Kubernetes cluster: applied server-side, watched, taken back if it does not get ready."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from modelport.errors import ModelportError, ServerFailed
from modelport.run.cluster import MANAGER, Cluster, describe
from modelport.run.diagnosis import diagnose, hopeless, progress
from modelport.run.difference import Change
from modelport.run.leftovers import find_config_maps, remove_unnamed
from modelport.run.ownership import earlier_fields
from modelport.run.refusal import Forbidden, Unreachable
from modelport.run.rollout import Journal, Note

Object = dict[str, Any]

# What others refer to comes first; a Deployment's pods must find their account, configuration and network.
ORDER = (
    "Namespace",
    "ServiceAccount",
    "Secret",
    "ConfigMap",
    "PersistentVolumeClaim",
    "Service",
    "NetworkPolicy",
    "PodDisruptionBudget",
    "Deployment",
    "HorizontalPodAutoscaler",
    "Ingress",
    "HTTPRoute",
    "ServiceMonitor",
    "PrometheusRule",
)

SERVERS_OWN = ("managedFields", "uid", "resourceVersion", "generation", "creationTimestamp", "selfLink")
NOISE = ("deployment.kubernetes.io/revision", "kubectl.kubernetes.io/last-applied-configuration")
BACK_S = 60.0  # how long a roll-back waits for what ran before


@dataclass(slots=True, kw_only=True)
class _Step:
    """One object that was applied: as it was before, and as it is now."""

    before: Object | None
    after: Object

    @property
    def verb(self) -> str:
        """What was done to it."""
        if self.before is None:
            return "created"
        return "unchanged" if _version(self.before) == _version(self.after) else "changed"


@dataclass(slots=True, kw_only=True)
class ClusterRollout:
    """One release on its way into a cluster.

    Attributes:
        cluster: Where to.
        namespace: The namespace of all objects that live in one.
        objects: What shall be there.
        reachable: URLs that lead to the service from this machine, by protocol, where there are any.
        force: Take fields that others own.
        poll_s: Time between two looks, in seconds.
    """

    cluster: Cluster
    namespace: str
    objects: Sequence[Object]
    reachable: Mapping[str, str] = field(default_factory=dict)
    force: bool = False
    poll_s: float = 1.0
    journal: Journal = field(default_factory=Journal)
    _steps: list[_Step] = field(default_factory=list)
    _earlier_maps: list[Object] = field(default_factory=list)

    @property
    def place(self) -> str:
        """The namespace and the cluster."""
        return f"namespace {self.namespace} of context {self.cluster.context!r}"

    def changes(self) -> tuple[Change, ...]:
        """Ask the API what would come of it, object by object (its dry run applies nothing)."""
        self.cluster.check_namespace(self.namespace)
        found = []
        for wanted in self._placed():
            before = self.cluster.read(wanted)
            after = self.cluster.apply(wanted, force=self.force, dry_run=True)
            shown = wanted if before is None else without_noise(after)
            found.append(Change(name=describe(wanted), before=before and without_noise(before), after=shown))
        return tuple(found)

    def turn(self) -> AbstractContextManager[None]:
        """Keep nobody away: other machines deploy to the cluster, too, and `wait_ready` finds out when one does."""
        return nullcontext()

    def apply(self, note: Note) -> None:
        """Try everything first, as a dry run, so that a refusal comes before the first change; then apply."""
        self.cluster.check_namespace(self.namespace)
        wanted = self._placed()
        for each in wanted:
            self.cluster.apply(each, force=self.force, dry_run=True)
        try:
            self._earlier_maps = find_config_maps(self.cluster, self.namespace, wanted)
        except ModelportError as error:
            note(f"ConfigMaps of earlier versions will stay: {error}")
        for each in wanted:
            before = self.cluster.read(each)
            step = _Step(before=before, after=each)
            self._steps.append(step)
            self.journal.applied.append(f"{describe(each)}: asked for, no answer yet")
            try:
                step.after = self.cluster.apply(each, force=self.force)
            except ModelportError as error:
                if not isinstance(error, Unreachable):  # refused: then nothing came of it
                    self._steps.pop()
                    self.journal.applied.pop()
                raise
            self.journal.applied[-1] = f"{describe(each)}: {step.verb}"
            note(self.journal.applied[-1])

    def wait_ready(self, timeout_s: float, note: Note) -> None:
        """Watch every Deployment until its new pods are ready and its old ones have gone."""
        deadline = time.monotonic() + timeout_s
        for step in self._steps:
            if step.after["kind"] == "Deployment":
                now = self._wait_for(step.after, deadline, timeout_s, note)
                if _is_overtaken(step, now):
                    raise ServerFailed(
                        f"{describe(now)}: somebody else changed its pods while it was rolled out (another "
                        "deployment?), and theirs run now; see what runs, and deploy again"
                    )

    def endpoints(self) -> Mapping[str, str]:
        """URLs that lead to the service from this machine."""
        return self.reachable

    def roll_back(self, note: Note) -> None:
        """Put back what was changed, delete what was not there before; the last one first."""
        if overtaken := self._find_overtaken():
            self.journal.stuck.append(f"anything: {overtaken} has somebody else's pods by now, and would lose them")
            return
        steps = [step for step in self._steps if step.verb != "unchanged"]
        for step in reversed(steps):
            name = describe(step.after)
            try:
                said = self._restore(step)
            except ModelportError as error:
                self.journal.stuck.append(f"{name}: {error}")
            else:
                if said:
                    self.journal.undone.append(f"{name}: {said}")
            note(f"rolling back: {name}")
        self._wait_for_earlier([step.before for step in steps if step.before is not None], note)

    def finish(self) -> None:
        """Forget the earlier state, which the cluster keeps itself; remove configuration that nothing names now."""
        self._steps.clear()
        for name in remove_unnamed(self.cluster, self.namespace, self._earlier_maps):
            self.journal.applied.append(f"{name}: removed, nothing names it any more")

    def _placed(self) -> list[Object]:
        """Give the objects in the order in which they are applied, each with its namespace."""
        rank = {kind: index for index, kind in enumerate(ORDER)}
        placed = []
        for each in sorted(self.objects, key=lambda each: rank.get(each["kind"], len(ORDER))):
            resource = self.cluster.resource(each["apiVersion"], each["kind"])
            metadata = {**each["metadata"], "namespace": self.namespace} if resource.namespaced else each["metadata"]
            placed.append({**each, "metadata": metadata})
        return placed

    def _find_overtaken(self) -> str:
        """Name a Deployment that somebody else changed after us; empty where there is none, or nobody can tell."""
        for step in self._steps:
            if step.after["kind"] == "Deployment":
                try:
                    now = self.cluster.read(step.after)
                except ModelportError:
                    continue
                if now is not None and _is_overtaken(step, now):
                    return describe(now)
        return ""

    def _wait_for(self, deployment: Object, deadline: float, timeout_s: float, note: Note) -> Object:
        told = ""
        while True:
            try:
                now = self.cluster.read(deployment)
                if now is None:
                    raise ServerFailed(f"{describe(deployment)}: somebody deleted it while it was rolled out")
                ready, state = progress(now)
                reason = "" if ready else self._hopeless(now)
            except Unreachable as error:  # an API server that is restarted answers again
                now, ready, state, reason = deployment, False, str(error), ""
            if ready:
                note(f"{describe(deployment)}: {state}")
                return now
            if reason or time.monotonic() > deadline:
                why = reason or f"not ready after {timeout_s:.0f} s: {state}"
                raise ServerFailed(f"{describe(deployment)}: {why}{self._diagnosis(now)}")
            if state != told:
                note(f"{describe(deployment)}: {state}")
                told = state
            time.sleep(self.poll_s)

    def _hopeless(self, deployment: Object) -> str:
        try:
            return hopeless(self.cluster, deployment)
        except Forbidden:  # who may deploy need not be allowed to look at pods
            return ""

    def _diagnosis(self, deployment: Object) -> str:
        """Say what the pods' states, events and logs tell; a reason less must not hide the failure itself."""
        try:
            return diagnose(self.cluster, deployment)
        except ModelportError as error:
            return f"\n    (why cannot be told: {error})"

    def _restore(self, step: _Step) -> str:
        now = self.cluster.read(step.after)
        if step.before is None:
            if now is None:
                return ""
            self.cluster.delete(now)
            return "removed"
        if now is not None and _version(now) == _version(step.before):
            return ""  # the request that nobody answered did not get through
        if now is None:
            self.cluster.apply(without_noise(step.before), force=True)
        else:
            self.cluster.apply(earlier_fields(step.before, now, MANAGER), force=True)
        return "as it was before"

    def _wait_for_earlier(self, restored: Sequence[Object], note: Note) -> None:
        deadline = time.monotonic() + BACK_S
        for deployment in restored:
            if deployment["kind"] != "Deployment":
                continue
            try:
                self._wait_for(deployment, deadline, BACK_S, note)
            except ModelportError as error:
                first = str(error).partition("\n")[0]
                self.journal.stuck.append(f"{first} (its earlier state is applied, and does not get ready)")


def without_noise(live: Object) -> Object:
    """Give an object without what the API server and controllers write into it."""
    kept = {key: value for key, value in live.items() if key != "status"}
    metadata = {key: value for key, value in live["metadata"].items() if key not in SERVERS_OWN}
    notes = {key: value for key, value in metadata.pop("annotations", {}).items() if key not in NOISE}
    return {**kept, "metadata": {**metadata, **({"annotations": notes} if notes else {})}}


def _is_overtaken(step: _Step, now: Object) -> bool:
    """Tell whether the pods are others than those that the API server confirmed to us.

    A restart that was asked for is an annotation, a number of replicas stands beside the pods: neither counts.
    """
    confirmed = "uid" in step.after["metadata"]
    return confirmed and bool(now["spec"]["template"]["spec"] != step.after["spec"]["template"]["spec"])


def _version(live: Object) -> str:
    return str(live["metadata"].get("resourceVersion"))
