"""The members of a model archive (``.mar``): a zip with a manifest that TorchServe unpacks and runs.

Members and manifest are what ``torch-model-archiver`` writes for the same inputs. Unlike it, folders keep their
tree, dot directories included, and the same inputs give the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import modelport_runtime
from modelport._version import VERSION
from modelport.artifact import copied, source_date_epoch
from modelport.describe import describe_model, transform_reference
from modelport.errors import SpecError
from modelport.model import Model
from modelport.plan import Content, Generated, PlannedFile
from modelport.sources import check_present
from modelport_runtime.codec import NPZ, encode
from modelport_runtime.description import FILE_NAME, ModelDescription

from .options import TorchServeOptions

HANDLER = "modelport_handler.py"
HANDLER_SOURCE = "torchserve_handler.py"  # of modelport_runtime
MANIFEST = "MAR-INF/MANIFEST.json"
REQUIREMENTS = "requirements.txt"
SAMPLES = "samples.npz"
MODEL_FOLDER = "model"
WARM_UP_SAMPLES = 16  # enough to compile and allocate; each one lengthens every start


def plan_members(model: Model, options: TorchServeOptions) -> tuple[PlannedFile, ...]:
    """List the archive's members, sorted by path.

    Raises:
        SpecError: Two of the spec's files would have the same place, or the handler is not there.
    """
    members: dict[str, Content] = {}
    origins: dict[str, str] = {}
    for what, path, content in _parts(model, options):
        if path in members and members[path] != content:
            raise SpecError(
                f"{what}: its file would be {path!r} in the TorchServe archive, where {origins[path]} already is; "
                "give one of the two another name"
            )
        members[path], origins[path] = content, what
    return tuple(PlannedFile(path=path, content=members[path]) for path in sorted(members))


def _parts(model: Model, options: TorchServeOptions) -> Iterable[tuple[str, str, Content]]:
    """Give what each member is, its path and its content."""
    yield from (("modelport's runtime", path, content) for path, content in _runtime(options).items())
    requirements = "".join(f"{line}\n" for line in model.requirements)
    yield "the manifest", MANIFEST, _text(render_manifest(model, options), "modelport")
    yield "the model's description", FILE_NAME, _text(describe(model, options).to_text(), "the spec")
    yield "the requirements", REQUIREMENTS, _text(requirements, "environment.requirements")
    if model.samples is not None:
        yield "samples", SAMPLES, _warm_up(model)
    yield from (("model.source", _model_path(model, path), content) for path, content in model.files.items())
    yield from (("model.entrypoint", path, content) for path, content in model.code.items())
    if model.transform is not None:
        package = model.transform.path.name == "__init__.py"
        yield "transform", _module_path(transform_reference(model) or "", package=package), model.transform
    if options.handler is not None:
        path = model.root / options.handler.partition(":")[0]
        if not path.is_file():
            raise SpecError(f"backends.torchserve.handler: {path} is not a file; it is looked for beside the spec")
        yield "backends.torchserve.handler", path.name, copied(path)
    for index, name in enumerate(options.extra_files):
        key = f"backends.torchserve.extra_files[{index}]"
        yield from ((key, path, content) for path, content in _extra_files(model.root / name, key))


def _extra_files(source: Path, key: str) -> Iterable[tuple[str, Content]]:
    """Give a file under its own name, or all files of a folder by their paths in it."""
    check_present(source, key)
    if source.is_file():
        yield source.name, copied(source)
        return
    for path in sorted(source.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path.relative_to(source).as_posix(), copied(path)


def _runtime(options: TorchServeOptions) -> dict[str, Content]:
    """Read the package that loads and runs the model, and the handler unless the spec brings its own."""
    root = Path(modelport_runtime.__file__).parent
    found: dict[str, Content] = {}
    for path in sorted(root.rglob("*.py")):
        inside = path.relative_to(root.parent).as_posix()
        content = Generated(data=path.read_bytes(), origin="modelport_runtime")
        if path.name != HANDLER_SOURCE:
            found[inside] = content
        elif options.handler is None:
            found[HANDLER] = content
    return found


def _source(model: Model) -> str:
    """Give the model's file in the archive, or its folder."""
    return MODEL_FOLDER if model.source.is_dir() else model.source.name


def _model_path(model: Model, path: str) -> str:
    return f"{MODEL_FOLDER}/{path}" if model.source.is_dir() else path


def _text(text: str, origin: str) -> Generated:
    return Generated(data=text.encode(), origin=origin)


def _warm_up(model: Model) -> Generated:
    from modelport.samples import load_samples

    assert model.samples is not None  # noqa: S101  # tells the type checker what the caller has seen
    samples = load_samples(model.samples.path, model.served)
    limit = _max_batch_size(model) or WARM_UP_SAMPLES
    inputs = samples.request(0, min(samples.count, WARM_UP_SAMPLES, limit)) if samples.rows else samples.request(0, 1)
    try:
        return Generated(data=encode(inputs, NPZ), origin=str(model.samples.path))
    except ValueError as error:
        raise SpecError(f"samples: {model.samples.path}: cannot ride in the archive: {error}") from error


def _max_batch_size(model: Model) -> int | None:
    batching = model.spec.serving.batching
    return batching.max_size if batching else None


def describe(model: Model, options: TorchServeOptions) -> ModelDescription:
    """Give what the runtime in the archive must know of the model."""
    samples = None if model.samples is None else SAMPLES
    description = describe_model(model, source=_source(model), samples=samples, threads=options.threads)
    return replace(description, max_batch_size=_max_batch_size(model))


def render_manifest(model: Model, options: TorchServeOptions) -> str:
    """Give the text of ``MAR-INF/MANIFEST.json``, field by field in the archiver's order."""
    handler = HANDLER if options.handler is None else Path(options.handler).name
    created = datetime.fromtimestamp(source_date_epoch(), UTC).strftime("%d/%m/%Y %H:%M:%S")
    entry: dict[str, str] = {"modelName": model.spec.name}
    if not model.source.is_dir():
        entry["serializedFile"] = _source(model)
    entry["handler"] = handler
    entrypoint = describe(model, options).entrypoint
    if entrypoint is not None:
        package = _module_path(entrypoint, package=True) in model.code
        entry["modelFile"] = _module_path(entrypoint, package=package)
    entry["modelVersion"] = model.spec.version
    entry["requirementsFile"] = REQUIREMENTS
    manifest = {"createdOn": created, "runtime": "python", "model": entry, "archiverVersion": f"modelport {VERSION}"}
    return json.dumps(manifest, indent=2)


def _module_path(reference: str, *, package: bool) -> str:
    """Give the file of ``file.py:Class`` or ``package.module:Class`` beside ``modelport.json``."""
    module = reference.rpartition(":")[0]
    if module.endswith(".py"):
        return module
    return module.replace(".", "/") + ("/__init__.py" if package else ".py")
