"""From artifacts to a `Release`: which image each service runs in, and how it runs there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from modelport.artifact import Artifact
from modelport.backend import Backend, Containerized
from modelport.errors import SpecError
from modelport.image import check_reference, reference_for
from modelport.plan import ServicePlan
from modelport.spec.schema import DNS_NAME, PATTERN_WORDS, DeploySection, ModelSpec
from modelport.target import Release

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@runtime_checkable
class Warned(Protocol):
    """A target that has something to say about what it writes."""

    def warnings(self, release: Release) -> tuple[str, ...]:
        """Sentences about what the spec asks for and these files do otherwise, or about what they need."""
        ...


def require_containers(backends: Iterable[Backend]) -> None:
    """Check that all can run in containers, before anything is built.

    Raises:
        SpecError: One cannot.
    """
    for backend in backends:
        if not isinstance(backend, Containerized):
            raise SpecError(
                f"{backend.name}: this backend describes no container, so there is nothing to deploy; choose others "
                "with --backend"
            )


def read_images(given: Iterable[str], backends: Sequence[Backend]) -> dict[str, str]:
    """Read ``REF`` or ``BACKEND=REF`` into references by backend.

    Raises:
        SpecError: A reference is none, stands for no backend that was asked for, or for several.
    """
    images: dict[str, str] = {}
    names = [backend.name for backend in backends]
    for text in given:
        left, equals, right = text.partition("=")
        reference = right if equals else text
        _check(reference, f"--image {text}")
        if not equals and len(names) > 1:
            raise SpecError(f"--image {text}: which of {', '.join(names)} is in it? Write BACKEND={text}")
        backend = left if equals else names[0]
        if backend not in names:
            raise SpecError(f"--image {text}: {backend!r} is not among the backends asked for: {', '.join(names)}")
        if backend in images:
            raise SpecError(f"--image {text}: {backend} has the image {images[backend]} already")
        images[backend] = reference
    return images


def check_namespace(namespace: str | None) -> None:
    """Check that a namespace can be called so.

    Raises:
        SpecError: It cannot.
    """
    if namespace is not None and not re.fullmatch(DNS_NAME, namespace):
        raise SpecError(f"--namespace {namespace}: must be {PATTERN_WORDS[DNS_NAME]}")


def plan_release(
    spec: ModelSpec,
    spec_path: Path,
    artifacts: Sequence[tuple[Backend, Artifact]],
    images: Mapping[str, str],
    *,
    namespace: str | None = None,
) -> Release:
    """Describe one model version in its containers.

    Args:
        spec: The resolved spec.
        spec_path: Its path as the user wrote it.
        artifacts: What was built, each with its backend, which is `Containerized`.
        images: References by backend; a backend that has none gets the one that `reference_for` names.
        namespace: In place of ``deploy.namespace``.

    Raises:
        SpecError: A backend cannot serve its artifact in a container as the spec says.
    """
    check_namespace(namespace)
    require_containers(backend for backend, _ in artifacts)
    if namespace is not None:
        deploy = (spec.deploy or DeploySection()).model_copy(update={"namespace": namespace})
        spec = spec.model_copy(update={"deploy": deploy})
    services = tuple(
        backend.container(artifact, images.get(backend.name) or reference_for(artifact, spec.image))
        for backend, artifact in artifacts
        if isinstance(backend, Containerized)
    )
    for service in services:
        _check_weights(spec, service)
    return Release(spec=spec, spec_path=str(spec_path), services=services)


def _check_weights(spec: ModelSpec, service: ServicePlan) -> None:
    """Refuse an image without a tag where that of the weights, which is found by it, is needed, too."""
    plain, at, _ = service.image.partition("@")
    if spec.deploy is not None and spec.deploy.weights != "image" and at and ":" not in plain.rpartition("/")[2]:
        raise SpecError(
            f"--image {service.image}: has no tag, and deploy.weights: {spec.deploy.weights} needs the image of the "
            f"weights beside it, whose name is NAME:TAG-weights; give both, as {plain}:TAG{at}sha256:…"
        )


def _check(reference: str, where: str) -> None:
    """Take what `check_reference` takes, a digest behind it, and a digest in place of the tag."""
    plain, at, digest = reference.partition("@")
    if at and not DIGEST.fullmatch(digest):
        raise SpecError(f"{where}: the digest must be sha256: and 64 digits of 0-9 and a-f, got {digest!r}")
    tagged = ":" in plain.rpartition("/")[2]
    check_reference(plain if tagged or not at else f"{plain}:tag", where)
