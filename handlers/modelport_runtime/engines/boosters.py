"""Gradient-boosted trees of any library: the matrix that goes in, and the outputs that a signature asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from modelport_runtime.checking import Array
from modelport_runtime.description import ModelDescription

from .binding import ModelError
from .columns import choose_columns, take_columns


class Booster(Protocol):
    """A model as its own library loaded it.

    Attributes:
        features: How many columns it takes.
        columns: Their names, where it was fitted on named ones; None otherwise.
        classes: How many classes it chooses from; 0 where it does not choose.
        targets: How many numbers it gives a row, where it does not choose.
        dtype: What the library compares with: numbers are given to it, and it answers, in this type.
    """

    features: int
    columns: tuple[str, ...] | None
    classes: int
    targets: int
    dtype: str

    def predict(self, matrix: Array) -> Array:
        """Answer a matrix [rows, features] in `dtype`, NaN where a value is missing.

        Returns:
            Of two classes the second's probability, [rows]; of several all, [rows, classes]; else [rows] or
            [rows, targets].
        """
        ...


class BoosterEngine:
    """A booster that answers by the names of a signature.

    Attributes:
        booster: The loaded model.
        columns: Names of the columns in the model's order, where each is an input of its own; None for one matrix.
        outputs: What each output of the signature is: ``label``, ``probabilities`` or ``prediction``.
    """

    def __init__(self, booster: Booster, description: ModelDescription) -> None:
        signature = description.signature
        for tensor in signature.inputs:
            if tensor.dtype == "string":
                raise ModelError(f"input {tensor.name!r} is text, and the model takes numbers; use a transform")
        self.booster = booster
        self.columns = choose_columns([t.name for t in signature.inputs], booster.columns, booster.features)
        self.outputs = choose_outputs(booster, [t.name for t in signature.outputs])

    @classmethod
    def load(cls, description: ModelDescription, source: Path) -> BoosterEngine:
        """Load a model; see `load_engine`."""
        if description.device != "cpu":
            raise ModelError("environment.device is cuda, but boosters predict on the CPU here; write cpu")
        return cls(load_booster(description.format, source, threads=description.threads), description)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Any]:
        """Answer checked inputs; see `Engine.run`."""
        with np.errstate(over="ignore"):  # beyond the type's range means infinite, to the libraries too
            scores = self.booster.predict(self._build_matrix(inputs))
        if not self.booster.classes:
            return dict.fromkeys(self.outputs, scores)
        probabilities = scores if scores.ndim == 2 else np.stack([1 - scores, scores], axis=1)
        results = {"probabilities": probabilities, "label": probabilities.argmax(axis=1)}
        return {name: results[meaning] for name, meaning in self.outputs.items()}

    def _build_matrix(self, inputs: Mapping[str, Array]) -> Array:
        dtype = self.booster.dtype
        if self.columns is None:
            (matrix,) = inputs.values()
            return np.ascontiguousarray(matrix, dtype)
        columns = take_columns(inputs, self.columns)
        return np.stack([column.astype(dtype) for column in columns.values()], axis=1)


def load_booster(kind: str, source: Path, *, threads: int | None = None) -> Booster:
    """Load a model in its own library; no code runs that stands in the file.

    Args:
        kind: ``xgboost_json``, ``xgboost_ubj`` or ``lightgbm_text``.
        source: The file.
        threads: Threads of one prediction, or None for the library's own choice.

    Raises:
        ModelError: The file cannot be loaded.
        ImportError: The library is not installed.
    """
    if kind == "lightgbm_text":
        from .lightgbm import LightGBMBooster

        return LightGBMBooster.load(source, threads)
    from .xgboost import XGBoostBooster

    return XGBoostBooster.load(source, threads)


def default_outputs(booster: Booster) -> tuple[str, ...]:
    """Name what a booster gives."""
    return ("label", "probabilities") if booster.classes else ("prediction",)


def choose_outputs(booster: Booster, names: Sequence[str]) -> dict[str, str]:
    """Tell what each output of a signature means: by its name, or by position where no name has a meaning.

    Raises:
        ModelError: A name means what this model cannot give.
    """
    able = default_outputs(booster)
    if not names:
        return {name: name for name in able}
    if all(name in able for name in names):
        return {name: name for name in names}
    if len(names) != len(able) or any(name in able for name in names):
        stranger = next(name for name in names if name not in able)
        raise ModelError(f"output {stranger!r}: the model does not give that; it gives {', '.join(able)}")
    return dict(zip(names, able, strict=True))
