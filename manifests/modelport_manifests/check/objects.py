"""Kubernetes objects as the rules see them, and the pods that they make."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from modelport_manifests.check.finding import Place
from modelport_manifests.check.reading import Table, dig, table, tables, text, words

WORKLOADS = {"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job"}
KSERVE = "serving.kserve.io"


@dataclass(frozen=True, slots=True, eq=False)
class Object:
    """One object of a manifest.

    Attributes:
        data: Everything that the document says.
    """

    data: Table

    @property
    def api(self) -> str:
        """``apps/v1``."""
        return text(self.data, "apiVersion")

    @property
    def group(self) -> str:
        """``apps``; empty for the core."""
        return self.api.rpartition("/")[0]

    @property
    def kind(self) -> str:
        """``Deployment``."""
        return text(self.data, "kind")

    @property
    def name(self) -> str:
        """Its name."""
        return text(self.data, "metadata", "name")

    @property
    def namespace(self) -> str:
        """Its namespace; empty where the caller decides."""
        return text(self.data, "metadata", "namespace")

    @property
    def place(self) -> Place:
        """Where it begins."""
        return self.data.place

    @property
    def labels(self) -> Table:
        """Its own labels."""
        return table(self.data, "metadata", "labels")

    @property
    def title(self) -> str:
        """``Deployment digits``, for messages."""
        return f"{self.kind} {self.name}".strip()


@dataclass(frozen=True, slots=True, eq=False)
class Pod:
    """The pods that an object makes.

    Attributes:
        owner: The object.
        spec: The pod's specification.
        labels: Labels of the pods, as far as they are known.
        annotations: Annotations of the pods and of their owner.
        complete: Whether `labels` are all that there are.
    """

    owner: Object
    spec: Table
    labels: Mapping[str, str]
    annotations: Mapping[str, str] = field(default_factory=dict)
    complete: bool = True

    @property
    def containers(self) -> list[Table]:
        """The containers that stay."""
        return tables(self.spec, "containers")

    def backend(self, container: Table) -> str:
        """Tell which server runs in a container: ``torchserve``, ``tfserving``, ``bentoml``, or empty."""
        named = self.labels.get("app.kubernetes.io/component", "")
        return named if named in SERVERS else guess_server(container)


SERVERS = {
    "torchserve": ("torchserve",),
    "tfserving": ("tensorflow_model_server", "tensorflow/serving", "tfserving", "tensorflow-serving"),
    "bentoml": ("bentoml",),
}


def guess_server(container: Table) -> str:
    """Tell which server runs from the image's name and the command."""
    said = [text(container, "image")]
    for key in ("command", "args", "entrypoint"):
        said += words(container, key) or [text(container, key)]
    for server, marks in SERVERS.items():
        if any(mark in word for word in said for mark in marks):
            return server
    return ""


def pods_of(thing: Object) -> Iterator[Pod]:
    """Give the pods that an object makes."""
    data = thing.data
    if thing.kind == "Pod":
        yield Pod(thing, table(data, "spec"), _strings(thing.labels), _annotations(data))
    elif template := _template(data):
        labels = _strings(table(template, "metadata", "labels"))
        yield Pod(thing, table(template, "spec"), labels, {**_annotations(data), **_annotations(template)})
    elif thing.group == KSERVE and thing.kind == "InferenceService":
        for component in ("predictor", "transformer", "explainer"):
            spec = table(data, "spec", component)
            if dig(spec, "containers"):
                yield _inference_pod(thing, component, spec)
        for canary in tables(data, "spec", "canary"):
            if dig(canary, "predictor", "containers"):
                yield _inference_pod(thing, "predictor", table(canary, "predictor"))
    elif thing.group == KSERVE and thing.kind in {"ServingRuntime", "ClusterServingRuntime"}:
        spec = table(data, "spec")
        yield Pod(thing, spec, _strings(table(spec, "labels")), _strings(table(spec, "annotations")), complete=False)


def _template(data: Table) -> Table | None:
    """Give a pod's template, whichever kind has it: those of Kubernetes, and others such as Argo's Rollout."""
    for outer in ((), ("spec", "jobTemplate")):
        template = table(data, *outer, "spec", "template")
        if dig(template, "spec", "containers"):
            return template
    return None


def _inference_pod(thing: Object, component: str, spec: Table) -> Pod:
    labels = {
        **_strings(thing.labels),
        **_strings(table(spec, "labels")),
        f"{KSERVE}/inferenceservice": thing.name,
        "component": component,
    }
    return Pod(
        thing, spec, labels, {**_annotations(thing.data), **_strings(table(spec, "annotations"))}, complete=False
    )


def _annotations(data: Table) -> dict[str, str]:
    return _strings(table(data, "metadata", "annotations"))


def _strings(mapping: Table) -> dict[str, str]:
    return {key: str(value) for key, value in mapping.items()}


@dataclass(frozen=True, slots=True)
class World:
    """What is applied together.

    Attributes:
        objects: The objects, which are checked.
        whole: Whether everything that belongs to it could be read: only then can something be missing.
        around: Objects that may be there beside them: an overlay refers to what its base has made before.
    """

    objects: tuple[Object, ...]
    whole: bool = True
    around: tuple[Object, ...] = ()
    pods: tuple[Pod, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "pods", tuple(pod for thing in self.objects for pod in pods_of(thing)))

    @property
    def complete(self) -> bool:
        """Whether a selector that selects nothing is wrong: all could be read, and there are pods at all."""
        return self.whole and bool(self.pods or any(True for thing in self.around for _ in pods_of(thing)))

    def of_kind(self, *kinds: str) -> Iterator[Object]:
        """Give the objects of some kinds."""
        return (thing for thing in self.objects if thing.kind in kinds)

    def find(self, kind: str, name: str, namespace: str = "") -> Object | None:
        """Find an object; an empty namespace meets every one, since the caller decides it."""
        for thing in (*self.objects, *self.around):
            if (thing.kind, thing.name) == (kind, name) and meets(thing.namespace, namespace):
                return thing
        return None

    def selected(self, selector: Mapping[str, object], namespace: str = "") -> list[Pod]:
        """Give the pods whose labels have everything in ``selector``: of the objects, or else of those around."""
        around = (pod for thing in self.around for pod in pods_of(thing))
        for pods in (self.pods, around):
            found = [pod for pod in pods if _has(pod, selector) and meets(pod.owner.namespace, namespace)]
            if found:
                return found
        return []


def _has(pod: Pod, selector: Mapping[str, object]) -> bool:
    return all(pod.labels.get(key) == str(value) for key, value in selector.items())


def meets(one: str, other: str) -> bool:
    """Tell whether two namespaces can be the same."""
    return not one or not other or one == other
