"""``modelport.json`` of a resolved model."""

from __future__ import annotations

from pathlib import Path

from modelport.codefiles import code_folder, relocate
from modelport.model import Model
from modelport_runtime.description import ModelDescription


def describe_model(
    model: Model, *, source: str, samples: str | None = None, threads: int | None = None
) -> ModelDescription:
    """Describe a model as an artifact carries it.

    The transform's file lies beside ``modelport.json``, whatever folder it came from.

    Args:
        model: The resolved model.
        source: Where the model's file or folder lies, relative to ``modelport.json``.
        samples: The same for warm-up inputs (``.npz``), or None.
        threads: Threads of one inference, or None for the framework's own choice.
    """
    spec = model.spec
    return ModelDescription(
        name=spec.name,
        version=spec.version,
        format=model.format,
        source=source,
        signature=model.signature,
        served=model.served,
        served_known=model.served_known,
        entrypoint=relocate(spec.model.entrypoint) if spec.model.entrypoint and model.original is None else None,
        transform=transform_reference(model),
        preprocess=model.preprocess,
        postprocess=model.postprocess,
        labels=spec.labels,
        samples=samples,
        max_request_bytes=spec.serving.max_request_mb * 2**20,
        threads=threads,
        device=spec.environment.device,
        trust=spec.model.trust,
    )


def transform_reference(model: Model) -> str | None:
    """Give the transform as ``file.py:Class`` beside ``modelport.json``, or None."""
    declared = _declared_transform(model)
    return None if declared is None else relocate(declared)


def transform_folder(model: Model) -> Path:
    """Give the folder at which the transform's imports start here; the spec's where there is none."""
    declared = _declared_transform(model)
    return model.root if declared is None else code_folder(declared, model.root)


def _declared_transform(model: Model) -> str | None:
    section = model.spec.transform
    return section if section is None or isinstance(section, str) else section.source
