"""What a deployment target is, and how one is found.

A target turns a `Release` into files: a Compose file, Kubernetes manifests, a pipeline. Targets are plug-ins like
backends: a distribution names a class in the entry-point group ``modelport.targets``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from modelport.plan import PlannedFile, ServicePlan
from modelport.plugin import load_plugin
from modelport.spec.schema import ModelSpec

GROUP = "modelport.targets"


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One model version that is to run somewhere.

    Attributes:
        spec: The resolved spec.
        spec_path: The spec's path as the user wrote it, for pipelines and for the headers of what is written.
        services: The services in their containers, one per backend that was asked for; `ServicePlan.image` is set, by
            digest where one is known.
    """

    spec: ModelSpec
    spec_path: str
    services: tuple[ServicePlan, ...]


@runtime_checkable
class Target(Protocol):
    """One way of deploying.

    Attributes:
        name: As it stands in commands.
    """

    name: str

    def render(self, release: Release) -> tuple[PlannedFile, ...]:
        """Give every file, relative to the folder that the user names; touch nothing.

        Raises:
            SpecError: The spec asks for what this target would silently ignore; the message has the ways out.
        """
        ...


def load_target(name: str) -> Target:
    """Give the target ``name``.

    Raises:
        SpecError: No installed distribution registers it, or what it registers is no target.
    """
    return load_plugin(GROUP, name, Target)  # type: ignore[type-abstract]  # compared with, never made
