"""The Bento project: every file of the folder that ``bentoml build`` and ``bentoml serve`` take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path

from modelport.describe import describe_model
from modelport.errors import SpecError
from modelport.model import Model
from modelport.plan import Content, Generated, PlannedFile
from modelport_bentoml.image import render_dockerfile, render_template
from modelport_bentoml.options import BentoMLOptions
from modelport_bentoml.render import (
    MODEL_FOLDER,
    TEMPLATE,
    WEIGHTS,
    render_bentofile,
    render_readme,
    render_requirements,
    render_service,
)
from modelport_bentoml.tag import BentoTag
from modelport_runtime.description import FILE_NAME, ModelDescription

WARM_UP_ROWS = 8
SAMPLES = "samples.npz"
RUNTIME = "modelport_runtime"
SERVICE = "modelport_bento"
OTHER_SERVERS = ("torchserve_",)


def plan_project(model: Model, options: BentoMLOptions, tag: BentoTag) -> tuple[PlannedFile, ...]:
    """List the project's files, relative to its folder.

    Raises:
        SpecError: Two files that the model needs have the same name.
    """
    spec = model.spec
    tensors = [
        f"{side} `{tensor}`"
        for side, group in (("input", model.served.inputs), ("output", model.served.outputs))
        for tensor in (group if model.served_known else ())
    ]
    texts = {
        "service.py": render_service(spec, options, tag),
        "bentofile.yaml": render_bentofile(spec, options, tag),
        "requirements.txt": render_requirements(model.requirements),
        "README.md": render_readme(spec, tag, tensors, bentoml_requirement()),
        TEMPLATE: render_template(render_dockerfile(spec, options, model.requirements, tag)),
    }
    contents: dict[str, Content] = {
        name: Generated(data=text.encode(), origin="modelport_bentoml") for name, text in texts.items()
    }
    contents.update({f"{MODEL_FOLDER}/{path}": content for path, content in _model_folder(model, options).items()})
    for package in (RUNTIME, SERVICE):
        contents.update(_modules(package))
    return tuple(PlannedFile(path=path, content=content) for path, content in sorted(contents.items()))


def describe(model: Model, options: BentoMLOptions) -> ModelDescription:
    """Tell the runtime all that it must know of the model."""
    batching = model.spec.serving.batching
    description = describe_model(
        model,
        source=WEIGHTS if model.source.is_dir() else f"{WEIGHTS}/{model.source.name}",
        samples=None if model.samples is None else SAMPLES,
        threads=options.threads,
    )
    return replace(description, max_batch_size=None if batching is None else batching.max_size)


def bentoml_requirement() -> str:
    """Give BentoML's own requirement: the version that builds here, or any where none does."""
    try:
        return f"bentoml=={version('bentoml')}"
    except PackageNotFoundError:
        return "bentoml"


def _model_folder(model: Model, options: BentoMLOptions) -> Mapping[str, Content]:
    """List what the runtime reads: ``modelport.json`` and all that lies beside it."""
    contents: dict[str, Content] = {}
    for path, content in _parts(model, options):
        if contents.get(path, content) != content:
            raise SpecError(
                f"{path}: two different files of the model would have this name in the Bento; rename one of them"
            )
        contents[path] = content
    return contents


def _parts(model: Model, options: BentoMLOptions) -> Iterator[tuple[str, Content]]:
    description = describe(model, options)
    yield FILE_NAME, Generated(data=description.to_text().encode(), origin="the spec and the model")
    for path, content in model.files.items():
        yield f"{WEIGHTS}/{path}", content
    yield from model.code.items()
    if model.transform is not None and description.transform is not None:
        module = description.transform.rpartition(":")[0]
        yield module if module.endswith(".py") else f"{module.replace('.', '/')}.py", model.transform
    if model.samples is not None:
        yield SAMPLES, Generated(data=_warm_up(model, model.samples.path), origin=str(model.samples.path))


def _warm_up(model: Model, samples: Path) -> bytes:
    """Give the first samples as npz: what the service answers before it says that it is ready."""
    from modelport.samples import load_samples
    from modelport_runtime.codec import NPZ, encode

    loaded = load_samples(samples, model.served)
    batching = model.spec.serving.batching
    most = WARM_UP_ROWS if batching is None else min(WARM_UP_ROWS, batching.max_size)
    return encode(loaded.request(0, min(most, loaded.count) if loaded.rows else 1), NPZ)


def _modules(package: str) -> dict[str, Content]:
    """Read an installed package's Python files, those apart that only another server imports."""
    root = Path(str(files(package)))
    return {
        f"{package}/{path.relative_to(root).as_posix()}": Generated(data=path.read_bytes(), origin=package)
        for path in sorted(root.rglob("*.py"))
        if not path.name.startswith(OTHER_SERVERS)
    }
