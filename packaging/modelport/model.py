"""A resolved model: the spec, the files it names with their digests, and the signature that both agree on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelport.plan import Copied
    from modelport.spec.schema import ModelSpec
    from modelport_runtime.signature import Signature
    from modelport_runtime.steps import Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """Everything that a backend plans from. Made by `modelport.resolve.resolve_model`; only read from then on.

    Attributes:
        spec: The spec as loaded.
        root: Folder of the spec file; relative paths in the spec start here.
        format: ``torchscript exported_program state_dict onnx saved_model keras skops joblib pickle xgboost_json
            xgboost_ubj lightgbm_text``.
        source: The model's file or folder.
        files: The model's files by path relative to the artifact's model folder: ``{"model.pt": …}``, and for a
            folder ``{"saved_model.pb": …, "variables/…": …}``.
        code: Python files that ride along (the entrypoint's module), by relative path.
        transform: The transform's file, or None.
        preprocess: Steps from a request to the model's inputs, in order.
        postprocess: Steps from the model's outputs to an answer, in order.
        signature: What the model takes and gives, names and order as the model has them.
        served: What a request holds and an answer gives; differs only with a transform or with steps.
        served_known: False where the transform's own signature is declared nowhere.
        samples: The samples' file, or None.
        requirements: pip requirements of the artifact's environment, pinned to what is installed here where the
            spec does not say (sorted).
        original: What it was converted from, where an artifact runs it in another form.
    """

    spec: ModelSpec
    root: Path
    format: str
    source: Path
    files: Mapping[str, Copied]
    code: Mapping[str, Copied] = field(default_factory=dict)
    transform: Copied | None = None
    preprocess: tuple[Step, ...] = ()
    postprocess: tuple[Step, ...] = ()
    signature: Signature
    served: Signature
    served_known: bool = True
    samples: Copied | None = None
    requirements: tuple[str, ...] = ()
    original: Model | None = None
