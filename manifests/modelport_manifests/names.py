"""Names and labels of what runs in a cluster: valid everywhere, stable, and different for different models."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Literal

from modelport.plan import ServicePlan
from modelport.spec.schema import ModelSpec

Track = Literal["stable", "canary", "green"]

LONGEST = 45  # of 63: what is derived from a name (-canary, -weights) must be a label, too
PLAIN = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")  # a label of DNS-1035, which a Service's name must be
HASHED = re.compile(r".*-[0-9a-f]{8}")

INSTANCE = "app.kubernetes.io/instance"
TRACK = "modelport.io/track"
SUFFIXES: Mapping[Track, str] = {"stable": "", "canary": "-canary", "green": "-green"}


def object_name(spec: ModelSpec, backend: str) -> str:
    """Name a model's service on one backend: ``digits`` on torchserve is ``digits-torchserve``.

    A name that must be changed for DNS gets a digest of what it was, as does one that looks as if it had one, so that
    ``digits.v1`` and ``digits-v1`` never meet.
    """
    return _label(f"{spec.name}-{backend}", identity=f"{spec.name}\0{backend}", plain="-" not in backend)


def project_name(spec: ModelSpec) -> str:
    """Name all services of a model together, in the same manner."""
    return _label(spec.name, identity=spec.name)


def track_name(name: str, track: Track) -> str:
    """Name what runs beside the stable version: ``digits-torchserve-canary``."""
    return name + SUFFIXES[track]


def config_name(name: str, content: bytes) -> str:
    """Name configuration after its content, so that a change of it rolls the pods."""
    return f"{name}-config-{digest(content)}"


def label_value(text: str) -> str:
    """Make a label's value: the text itself where that is allowed, a changed one with a digest otherwise."""
    if re.fullmatch(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?", text):
        return text
    kept = re.sub(r"[^-A-Za-z0-9_.]", "-", text)[:50].strip("-_.")
    return f"{kept}-{digest(text.encode())}".lstrip("-")


def selector(name: str, track: Track | None = None) -> dict[str, str]:
    """Labels by which a service's pods are found: those of one track, or of all."""
    found = {INSTANCE: name}
    return found if track is None else {**found, TRACK: track}


def labels(spec: ModelSpec, service: ServicePlan, track: Track | None = None) -> dict[str, str]:
    """Give the labels of every object of one service; those of `selector` are among them."""
    return {
        "app.kubernetes.io/name": label_value(spec.name),
        **selector(object_name(spec, service.backend), track),
        "app.kubernetes.io/version": label_value(spec.version),
        "app.kubernetes.io/component": label_value(service.backend),
        "app.kubernetes.io/managed-by": "modelport",
    }


def digest(content: bytes) -> str:
    """Eight hexadecimal digits that stand for ``content``."""
    return hashlib.sha256(content).hexdigest()[:8]


def _label(text: str, *, identity: str, plain: bool = True) -> str:
    if plain and PLAIN.fullmatch(text) and len(text) <= LONGEST and not HASHED.fullmatch(text):
        return text
    kept = re.sub(r"[^a-z0-9]+", "-", text.lower())[: LONGEST - 11].strip("-")
    return f"{kept if kept[:1].isalpha() else f'm-{kept}'}-{digest(identity.encode())}"
