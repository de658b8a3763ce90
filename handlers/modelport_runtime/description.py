"""``modelport.json``: what an artifact says of the model inside it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .signature import Signature

if TYPE_CHECKING:
    from .steps import Step

FILE_NAME = "modelport.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDescription:
    """All that the runtime must know to load a model and to answer for it.

    Attributes:
        name: The model's name in the spec.
        version: The version in the spec, as text.
        format: How the model is stored: ``torchscript exported_program state_dict onnx saved_model keras
            skops joblib pickle xgboost_json xgboost_ubj lightgbm_text``.
        source: The model's file or folder, relative to the folder of ``modelport.json``.
        signature: What the model itself takes and gives.
        served: What a request holds and an answer gives; differs from ``signature`` only with a transform
            or with steps.
        served_known: False where nobody declared what the transform takes or gives: then names, dtypes and
            shapes are checked behind ``preprocess``, not before it.
        entrypoint: ``module:Class`` for a state dict; the module lies beside the model.
        transform: ``file.py:Class`` beside ``modelport.json``, or None.
        preprocess: Steps from a request to the model's inputs, in order.
        postprocess: Steps from the model's outputs to an answer, in order.
        labels: Names of the classes, in order; empty when there are none.
        samples: File of warm-up inputs (``.npz``) beside ``modelport.json``, or None.
        max_request_bytes: The longest request body that is taken.
        max_batch_size: The most rows (first axis) that one request may hold, or None for no limit.
        threads: Threads of one inference, or None for the framework's own choice.
        device: ``cpu`` or ``cuda``.
        trust: Whether a skops file may hold types that skops does not know to be safe.
    """

    name: str
    version: str
    format: str
    source: str
    signature: Signature
    served: Signature
    served_known: bool = True
    entrypoint: str | None = None
    transform: str | None = None
    preprocess: tuple[Step, ...] = ()
    postprocess: tuple[Step, ...] = ()
    labels: tuple[str, ...] = field(default=())
    samples: str | None = None
    max_request_bytes: int = 16 * 2**20
    max_batch_size: int | None = None
    threads: int | None = None
    device: str = "cpu"
    trust: bool = False

    def to_json(self) -> dict[str, Any]:
        """Give a mapping of plain JSON values, keys in a stable order; steps only where there are some."""
        declared: dict[str, Any] = {}
        if self.preprocess or self.postprocess:
            from .steps import step_to_json  # numpy; who describes a model need not have it yet

            sides = {"preprocess": self.preprocess, "postprocess": self.postprocess}
            declared = {key: [step_to_json(step) for step in steps] for key, steps in sides.items() if steps}
        return {
            "modelport": 1,
            "name": self.name,
            "version": self.version,
            "format": self.format,
            "source": self.source,
            "signature": self.signature.to_json(),
            "served": self.served.to_json(),
            "served_known": self.served_known,
            "entrypoint": self.entrypoint,
            "transform": self.transform,
            **declared,
            "labels": list(self.labels),
            "samples": self.samples,
            "max_request_bytes": self.max_request_bytes,
            "max_batch_size": self.max_batch_size,
            "threads": self.threads,
            "device": self.device,
            "trust": self.trust,
        }

    def to_text(self) -> str:
        """Give the text of ``modelport.json``: the same bytes for the same description."""
        return json.dumps(self.to_json(), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def read(cls, folder: Path) -> ModelDescription:
        """Read ``modelport.json`` in ``folder``.

        Raises:
            FileNotFoundError: There is none.
            ValueError: It was written by a version of the format that this runtime does not know.
        """
        from .steps import step_from_json

        raw = json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))
        if raw.pop("modelport", None) != 1:
            raise ValueError(f"{folder / FILE_NAME}: this runtime reads format 1 of modelport.json only")
        raw["signature"] = Signature.from_json(raw["signature"])
        raw["served"] = Signature.from_json(raw["served"])
        for key in ("preprocess", "postprocess"):
            raw[key] = tuple(step_from_json(step) for step in raw.get(key, ()))
        raw["labels"] = tuple(raw["labels"])
        return cls(**raw)
