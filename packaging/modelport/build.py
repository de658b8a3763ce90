"""From a spec to plans, and from a plan to an artifact: what every command that builds shares."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from modelport._version import VERSION
from modelport.artifact import Artifact, source_date, write_artifact
from modelport.backend import Backend, backend_names, load_backend
from modelport.errors import BuildError, SpecError
from modelport.model import Model
from modelport.plan import Archived, BuildPlan, Copied, PlannedFile

TOOLS = ("numpy", "torch", "tensorflow", "onnx", "onnxruntime", "onnxscript", "scikit-learn", "skl2onnx", "bentoml")
ALL = "all"
# The keys of a spec by which an artifact answers as it does.
ANSWERING = (
    "name", "version", "model", "signature", "labels", "transform", "preprocess", "postprocess", "environment",
    "serving",
)  # fmt: skip


def select_backends(names: Iterable[str]) -> tuple[Backend, ...]:
    """Load backends by name; ``all`` stands for every installed one.

    Raises:
        SpecError: A name is not known.
    """
    wanted = tuple(dict.fromkeys(names))
    return tuple(load_backend(name) for name in (backend_names() if ALL in wanted else wanted))


def plan_for(backend: Backend, model: Model) -> BuildPlan:
    """Plan one backend's artifact.

    Raises:
        SpecError: The spec asks for what this backend cannot do.
    """
    options = backend.parse_options(model.spec.backends.get(backend.name, {}))
    return backend.plan(model, options)


def plan_each(backends: Sequence[Backend], model: Model) -> tuple[list[BuildPlan], dict[str, SpecError]]:
    """Plan the artifacts of several backends.

    Returns:
        The plans, and by backend's name why there is none.
    """
    plans: list[BuildPlan] = []
    refusals: dict[str, SpecError] = {}
    for backend in backends:
        try:
            plans.append(plan_for(backend, model))
        except SpecError as error:
            refusals[backend.name] = error
    return plans, refusals


def plan_all(backends: Sequence[Backend], model: Model) -> list[BuildPlan]:
    """Plan the artifacts of several backends, each of which must be possible.

    Raises:
        SpecError: Some backends refuse; the message has their reasons and the command for the others.
    """
    plans, refusals = plan_each(backends, model)
    if len(backends) == 1 and refusals:
        raise next(iter(refusals.values()))
    if refusals:
        reasons = "\n".join(f"{name}: {error}" for name, error in refusals.items())
        others = " ".join(f"-b {plan.backend}" for plan in plans)
        raise SpecError(f"{reasons}\nnothing was built" + (f"; for the others alone: {others}" if others else ""))
    return plans


def destination(output: Path, plan: BuildPlan) -> Path:
    """Give the folder of a plan's artifact below ``output``."""
    return output / plan.model.spec.name / plan.model.spec.version / plan.backend


def build_artifact(backend: Backend, plan: BuildPlan, output: Path) -> Artifact:
    """Write an artifact to ``<output>/<name>/<version>/<backend>``; all of it, or nothing.

    Raises:
        BuildError: It could not be built; what stood there before still does.
        MissingTool: An extra is not installed.
    """

    def check(folder: Path) -> None:
        missing = [file.path for file in plan.files if not (folder / file.path).is_file()]
        if missing:
            raise BuildError(f"{backend.name}: the build did not write {', '.join(missing)}, which its plan lists")

    return write_artifact(
        destination(output, plan), _record(plan), lambda folder: backend.build(plan, folder), check=check
    )


def resolve(spec_path: Path) -> Model:
    """Load a spec and resolve the model that it names.

    Raises:
        SpecError: With file, line and column where the spec is at fault.
    """
    from modelport.resolve import resolve_model
    from modelport.spec.loading import load_spec

    return resolve_model(load_spec(spec_path), spec_path.resolve().parent)


def outdated_parts(artifact: Artifact, plan: BuildPlan) -> list[str]:
    """Name the files and the keys of the spec that an artifact was built from and that are others by now, sorted.

    Samples, and keys that change no answer (``verify``, ``deploy``, other backends'), do not count.
    """
    then, now = artifact.record, _record(plan)
    old, new = then["model"]["inputs"], now["model"]["inputs"]
    samples = {Path(spec["samples"]).name for spec in (then["spec"], now["spec"]) if "samples" in spec}
    files = [name for name in (old.keys() | new.keys()) - samples if old.get(name) != new.get(name)]
    keys = [key for key in ANSWERING if then["spec"].get(key) != now["spec"].get(key)]
    options = [spec.get("backends", {}).get(plan.backend, {}) for spec in (then["spec"], now["spec"])]
    if options[0] != options[1]:
        keys.append(f"backends.{plan.backend}")
    return sorted(files + keys)


def _ingredients(plan: BuildPlan) -> dict[str, Copied]:
    """Give the files that an artifact is made of, by name: the model's, code, samples, and whatever else is copied."""
    model = plan.model
    given = model.original or model
    found = {**given.files, **given.code}
    for file in (model.transform, model.samples):
        if file is not None:
            found[file.path.name] = file
    known = {file.path for file in found.values()}
    # What has a label was made from the model, and is no file of the user's.
    others = {file.path.name: file for file in _copied(plan.files) if file.path not in known and not file.label}
    return {**others, **found}


def _copied(files: Iterable[PlannedFile]) -> Iterator[Copied]:
    for file in files:
        if isinstance(file.content, Copied):
            yield file.content
        elif isinstance(file.content, Archived):
            yield from _copied(file.content.members)


def _record(plan: BuildPlan) -> dict[str, Any]:
    """What ``artifact.json`` says: enough to tell what went in, nothing that tells on which machine."""
    model = plan.model
    return {
        "modelport": 1,
        "backend": plan.backend,
        "created": source_date(),
        "spec": model.spec.model_dump(mode="json", exclude_none=True),
        "model": {
            "format": model.format,
            "signature": model.signature.to_json(),
            "served": model.served.to_json(),
            "requirements": list(model.requirements),
            "inputs": {name: file.sha256 for name, file in sorted(_ingredients(plan).items())},
        },
        "facts": dict(plan.facts),
        "warnings": list(plan.warnings),
        "tools": _tool_versions(),
    }


def _tool_versions() -> dict[str, str]:
    versions = {"modelport": VERSION, "python": platform.python_version()}
    for name in TOOLS:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def require_spec(path: Path) -> Path:
    """Check that a spec was named, not something else.

    Raises:
        SpecError: A folder or nothing stands there.
    """
    if path.is_dir():
        raise SpecError(f"{path}: a folder; name the spec file in it")
    return path
