"""pip requirements of an artifact's environment."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable, Sequence

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# What each format needs where it runs.
_NEEDED = {
    "torchscript": ("torch",),
    "exported_program": ("torch",),
    "state_dict": ("torch",),
    "onnx": ("onnxruntime",),
    "saved_model": ("tensorflow",),
    "keras": ("tensorflow", "keras"),
    "skops": ("scikit-learn", "skops"),
    "joblib": ("scikit-learn", "joblib"),
    "pickle": ("scikit-learn",),
    "xgboost_json": ("xgboost",),
    "xgboost_ubj": ("xgboost",),
    "lightgbm_text": ("lightgbm",),
}
# Builds of the same library under another name: whoever asks for one wants no second.
_VARIANTS = {"onnxruntime": "onnxruntime-gpu", "tensorflow": "tensorflow-cpu", "xgboost": "xgboost-cpu"}


def plan_requirements(
    kind: str, given: Sequence[str] | None, packages: Iterable[str] = (), *, frames: bool = False, device: str = "cpu"
) -> tuple[str, ...]:
    """Give all requirements, sorted.

    What the model's format needs is added where the spec does not name it; versions are those installed here.

    Args:
        kind: The model's format.
        given: The spec's own (checked when it was loaded), or None.
        packages: Import names that the code beside the model uses.
        frames: The model takes data frames.
        device: ``cpu`` or ``cuda``.
    """
    requirements = {canonicalize_name(r.name): str(r) for r in map(Requirement, given or ())}
    needed = {"numpy", *_NEEDED[kind], *(("pandas",) if frames else ())}
    if given is None:
        needed |= set(_distributions(packages))
    if kind == "onnx" and device == "cuda":
        needed = needed - {"onnxruntime"} | {"onnxruntime-gpu"}
    for name in needed:
        variant = _VARIANTS.get(name)
        if variant not in requirements:
            here = variant if variant is not None and _installed(variant) and not _installed(name) else name
            requirements.setdefault(canonicalize_name(name), pin(here))
    return tuple(sorted(requirements.values()))


def pin(name: str) -> str:
    """Give ``name==version`` as installed here, without a local suffix such as ``+cpu``; the bare name otherwise."""
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return name
    return f"{name}=={version.partition('+')[0]}"


def _installed(name: str) -> bool:
    return pin(name) != name


def _distributions(packages: Iterable[str]) -> list[str]:
    """Give the distributions that hold the imported packages, those that are installed here."""
    wanted = set(packages)
    found = [package for package in wanted if _installed(package)]
    others = wanted - set(found)
    if others:  # a distribution under another name than its package: finding it means reading all that is installed
        known = importlib.metadata.packages_distributions()
        found += [known[package][0] for package in others if package in known]
    return found
