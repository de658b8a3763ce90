"""The target ``kubernetes``: a Kustomize base and overlays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from modelport.errors import SpecError
from modelport.plan import PlannedFile
from modelport.spec.schema import DeploySection
from modelport.target import Release
from modelport_manifests.names import INSTANCE, TRACK, Track, object_name
from modelport_manifests.writer import yaml_file

from .base import plan_base
from .overlays import Canary, canary_overlays, plan_canary, plan_dev_patches, plan_green, plan_prod_patches, plan_switch

Object = dict[str, Any]

NAME = "kubernetes"
KUSTOMIZATION = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
IMAGE_VOLUME = (
    "deploy.weights: volume needs Kubernetes 1.33 or newer, with the feature ImageVolume switched on where it is not "
    "by default, and a runtime that has it (containerd 2.1, CRI-O 1.33)."
)
OPEN_POLICY = "Every namespace may call: where the proxies of the Ingress or Gateway run is not known; narrow it."


class Kubernetes:
    """Plain manifests for `kubectl apply -k`, without any tool besides."""

    name = NAME

    def render(self, release: Release) -> tuple[PlannedFile, ...]:
        """Give ``base/`` and ``overlays/``; a file for each kind, with a document for each backend.

        Raises:
            SpecError: The spec asks for what could not work.
        """
        _check_one_entrance(release)
        return tuple(_render(release))

    def warnings(self, release: Release) -> tuple[str, ...]:
        """Say what the cluster must have, and where the spec's wishes and the truth differ."""
        deploy = release.spec.deploy or DeploySection()
        found = [
            f"{service.backend}: the image {service.image} is named by its tag alone, under which a registry may have "
            "another one tomorrow; give --image with its @sha256: digest"
            for service in release.services
            if "@" not in service.image
        ]
        if deploy.weights == "volume":
            found.append(IMAGE_VOLUME)
        if release.spec.resources.memory is None:
            found.append("resources.memory is left out: nothing keeps a pod from taking its node's memory")
        if deploy.strategy is not None and deploy.strategy.canary is not None:
            service = release.services[0]
            canaries = [plan_canary(release.spec, service, share) for share in canary_overlays(release.spec).values()]
            found += [_truth(canary) for canary in canaries if round(canary.share) != canary.asked]
        return tuple(found)


def _render(release: Release) -> Iterator[PlannedFile]:
    spec, services = release.spec, release.services
    yield from _folder("base", [each for service in services for each in plan_base(spec, service)], release)
    counts = [{"name": object_name(spec, service.backend), "count": 1} for service in services]
    dev = [each for service in services for each in plan_dev_patches(spec, service)]
    yield from _patched("overlays/dev", dev, release, {"replicas": counts}, "One replica of each, whatever the load.")
    prod = [each for service in services for each in plan_prod_patches(spec, service)]
    yield from _patched("overlays/prod", prod, release, {}, "The base, with the pods spread strictly over the nodes.")
    for overlay, share in canary_overlays(spec).items():
        yield from _render_canary(release, overlay, share)
    green = [each for service in services for each in plan_green(spec, service)]
    yield from _folder(
        "overlays/blue-green",
        green,
        release,
        "This version (green) beside the one that runs (blue), without traffic; try it by its own Service, then",
        "apply overlays/blue-green-switch. Going back is applying the old base again.",
    )
    yield from _folder(
        "overlays/blue-green-switch",
        [each for service in services for each in plan_switch(spec, service)],
        release,
        "All traffic to green. Afterwards apply this version's base, which makes it the blue one, and end green:",
        _deletion(release, "green"),
    )


def _render_canary(release: Release, overlay: str, share: int) -> Iterator[PlannedFile]:
    canaries = [plan_canary(release.spec, service, share) for service in release.services]
    return _folder(
        f"overlays/{overlay}",
        [each for canary in canaries for each in canary.objects],
        release,
        "This version beside the one that runs, with a share of the traffic.",
        *dict.fromkeys(_truth(canary) for canary in canaries),
        "Go on by applying the base, which moves all traffic to this version; to go back apply the old one's base.",
        f"Then end the canary: {_deletion(release, 'canary')}",
    )


def _folder(folder: str, objects: Sequence[Object], release: Release, *notes: str) -> Iterator[PlannedFile]:
    """Give a file for each kind and the kustomization that lists them."""
    by_kind: dict[str, list[Object]] = {}
    for each in objects:
        by_kind.setdefault(f"{each['kind'].lower()}.yaml", []).append(each)
    yield _kustomization(folder, {"resources": list(by_kind)}, release, notes)
    for file, documents in by_kind.items():
        yield yaml_file(f"{folder}/{file}", documents, release, NAME, _notes_for(file, release))


def _patched(
    folder: str, patches: Sequence[Object], release: Release, more: Object, note: str
) -> Iterator[PlannedFile]:
    """Give a file for each patch of the base and the kustomization that lists them."""
    files = {f"{patch['metadata']['name']}-{patch['kind'].lower()}.yaml": patch for patch in patches}
    listed = [{"path": file} for file in files]
    yield _kustomization(folder, {"resources": ["../../base"], **more, "patches": listed}, release, (note,))
    for file, patch in files.items():
        yield yaml_file(f"{folder}/{file}", [patch], release, NAME)


def _kustomization(folder: str, content: Object, release: Release, notes: Iterable[str]) -> PlannedFile:
    return yaml_file(f"{folder}/kustomization.yaml", [{**KUSTOMIZATION, **content}], release, NAME, notes)


def _notes_for(file: str, release: Release) -> tuple[str, ...]:
    deploy = release.spec.deploy or DeploySection()
    if file == "deployment.yaml" and deploy.weights == "volume":
        return (IMAGE_VOLUME,)
    if file == "networkpolicy.yaml" and deploy.ingress is not None:
        return (OPEN_POLICY,)
    return ()


def _deletion(release: Release, track: Track) -> str:
    """Write the command that removes what one overlay added, and nothing that it changed."""
    names = ",".join(object_name(release.spec, service.backend) for service in release.services)
    namespace = release.spec.deploy.namespace if release.spec.deploy is not None else None
    where = "" if namespace is None else f" -n {namespace}"
    found = f"'{TRACK}={track},{INSTANCE} in ({names})'"
    return f"kubectl delete{where} deployment,hpa,service,ingress,configmap -l {found}"


def _truth(canary: Canary) -> str:
    return f"deploy.strategy.canary: {canary.asked} % asked for, {canary.share:.3g} % given, by {canary.means}."


def _check_one_entrance(release: Release) -> None:
    ingress = release.spec.deploy.ingress if release.spec.deploy is not None else None
    if ingress is not None and len(release.services) > 1:
        names = " and ".join(service.backend for service in release.services)
        raise SpecError(
            f"deploy.ingress.host: {ingress.host} cannot lead to {names} at once; choose one with --backend"
        )
