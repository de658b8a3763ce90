"""From Kubernetes objects to what ``podman play kube`` runs: one pod, its configuration, ports on this machine.

podman knows pods, not clusters. What it would skip without a word is taken out here, and `PodManifest.left_out` says so
where it matters. Its volumes bear the names that the manifest has, for the whole machine, so each pod gets names of its
own; otherwise a new pod would write into the files of the old one.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from modelport.errors import SpecError

Object = dict[str, Any]

NAME = "io.modelport.deployment"
DIGEST = "io.modelport.digest"
MANIFEST = "io.modelport.manifest"
IMAGES = "io.modelport.image-ids"

HOST = "127.0.0.1"
POD_KEYS = (
    "containers",
    "initContainers",
    "volumes",
    "securityContext",
    "terminationGracePeriodSeconds",
    "restartPolicy",
)
CONTAINER_KEYS = (
    "name",
    "image",
    "imagePullPolicy",
    "command",
    "args",
    "env",
    "envFrom",
    "ports",
    "resources",
    "securityContext",
    "volumeMounts",
    "workingDir",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PodManifest:
    """One pod for podman.

    Attributes:
        name: Name of the Deployment, the same for every version.
        documents: The Deployment and the ConfigMaps, before their names are made unlike those of other pods.
        images: References of all images in it.
        left_out: Sentences about what podman cannot do.
    """

    name: str
    documents: tuple[Object, ...]
    images: tuple[str, ...]
    left_out: tuple[str, ...]

    @property
    def digest(self) -> str:
        """What stands for everything that makes this pod differ from others."""
        return hashlib.sha256(json.dumps(self.documents, sort_keys=True).encode()).hexdigest()[:10]

    @property
    def unique(self) -> str:
        """What the names of this very pod and of its volumes begin with."""
        return f"{self.name}-{self.digest}"

    def with_image_ids(self, ids: Sequence[str]) -> PodManifest:
        """Tell apart images that had the same name one after the other: such a pod is another pod."""
        documents = copy.deepcopy(self.documents)
        _template(documents)["metadata"]["labels"][IMAGES] = " ".join(ids)
        return replace(self, documents=documents)

    def text(self) -> str:
        """Give what is played, with names that no other pod has, and labels by which the pod is found again."""
        documents = copy.deepcopy(self.documents)
        for each in documents:
            each["metadata"]["name"] = f"{each['metadata']['name']}-{self.digest}"
        template = _template(documents)
        template["metadata"]["labels"] |= {
            NAME: self.name,
            DIGEST: self.digest,
            MANIFEST: json.dumps(self.documents, sort_keys=True),
        }
        spec = template["spec"]
        for volume in spec.get("volumes", ()):
            volume["name"] = f"{self.unique}-{volume['name']}"
            if "configMap" in volume:
                volume["configMap"]["name"] += f"-{self.digest}"
        for container in (*spec.get("initContainers", ()), *spec["containers"]):
            for mount in container.get("volumeMounts", ()):
                mount["name"] = f"{self.unique}-{mount['name']}"
            for source in container.get("envFrom", ()):
                source["configMapRef"]["name"] += f"-{self.digest}"
        # JSON is YAML that every reader takes alike; podman takes 1e3 and 0o7, as PyYAML writes them, for numbers.
        return "---\n".join(f"{json.dumps(each, indent=2)}\n" for each in documents)


def plan_pod(objects: Sequence[Object], host_ports: Mapping[int, int]) -> PodManifest:
    """Make the pod.

    Args:
        objects: A model's Kubernetes objects.
        host_ports: Port of this machine by port of the container: the ones that are published, on `HOST` alone.

    Raises:
        SpecError: It needs what podman cannot give.
    """
    deployments = [each for each in objects if each["kind"] == "Deployment"]
    if len(deployments) != 1:
        names = ", ".join(each["metadata"]["name"] for each in deployments)
        raise SpecError(
            f"--target podman runs one Deployment, and there are {len(deployments)} ({names}): use the base"
        )
    source = deployments[0]
    left_out: list[str] = []
    if source["spec"].get("replicas", 1) != 1:
        left_out.append(f"deploy.replicas: {source['spec']['replicas']}: podman runs one")
    spec = _pod_spec(source["spec"]["template"]["spec"], host_ports, left_out)
    labels = source["spec"]["template"]["metadata"].get("labels", {})
    name = source["metadata"]["name"]
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {NAME: name}},
            "template": {"metadata": {"name": name, "labels": dict(labels)}, "spec": spec},
        },
    }
    maps = [_config_map(each) for each in objects if each["kind"] == "ConfigMap"]
    documents = (*maps, deployment)
    return PodManifest(
        name=name,
        documents=documents,
        images=tuple(dict.fromkeys(each["image"] for each in _containers(spec))),
        left_out=tuple(left_out),
    )


def _template(documents: Sequence[Object]) -> Object:
    template: Object = next(each for each in documents if each["kind"] == "Deployment")["spec"]["template"]
    return template


def _pod_spec(source: Object, host_ports: Mapping[int, int], left_out: list[str]) -> Object:
    spec = {key: value for key, value in source.items() if key in POD_KEYS}
    for volume in spec.get("volumes", ()):
        if "image" in volume:
            raise SpecError(
                "deploy.weights: volume: podman mounts no volume from an image; use deploy.weights: init_container or "
                "image, or another target"
            )
    for kind in ("containers", "initContainers"):
        if kind in spec:
            spec[kind] = [_container(each, host_ports, left_out) for each in spec[kind]]
    return spec


def _container(source: Object, host_ports: Mapping[int, int], left_out: list[str]) -> Object:
    container = {key: value for key, value in source.items() if key in CONTAINER_KEYS}
    ports = []
    for port in container.get("ports", ()):
        number = host_ports.get(port["containerPort"])
        ports.append(port if number is None else {**port, "hostPort": number, "hostIP": HOST})
    if ports:
        container["ports"] = ports
    limits = container.get("resources", {}).get("limits", {})
    if any("/" in name for name in limits):
        left_out.append("resources.gpu: podman gives a pod no GPU by its manifest; the model runs without")
    return container


def _containers(spec: Object) -> list[Object]:
    return [*spec.get("initContainers", ()), *spec["containers"]]


def _config_map(source: Object) -> Object:
    kept = {key: value for key, value in source.items() if key in {"apiVersion", "kind", "data", "binaryData"}}
    return {**kept, "metadata": {"name": source["metadata"]["name"]}}
