"""What a model is: one module per framework tells its signature; `reference` gives the framework's own answers."""

from __future__ import annotations

from pathlib import Path

from modelport.errors import SpecError
from modelport.frameworks.detection import BROKEN, FORMATS, detect_format, framework_of
from modelport.frameworks.probing import Probe, ProbedTensor
from modelport.frameworks.reference import load_model, load_runtime, reference

__all__ = [
    "FORMATS",
    "Probe",
    "ProbedTensor",
    "detect_format",
    "framework_of",
    "load_model",
    "load_runtime",
    "probe",
    "reference",
]


def probe(
    kind: str,
    source: Path,
    *,
    entrypoint: str | None = None,
    trust: bool = False,
    root: Path | None = None,
    load: bool = False,
) -> Probe:
    """Ask a model for its inputs and outputs.

    Args:
        kind: Its format, from `detect_format`.
        source: Its file or folder.
        entrypoint: ``module:Class`` for a state dict.
        trust: Allow files that run code when they are loaded.
        root: Folder in which the entrypoint's module lies; the model's own when None.
        load: Load a Keras model, which takes seconds, to learn what its file alone does not tell.

    Raises:
        SpecError: The file is broken, or may not be loaded; the message says what to do.
        MissingTool: What reads it is not installed.
    """
    try:
        if kind == "onnx":
            from modelport.frameworks.onnx import probe_onnx

            return probe_onnx(source)
        if kind in FORMATS["sklearn"]:
            from modelport.frameworks.sklearn import probe_sklearn

            return probe_sklearn(source, kind, trust=trust)
        if kind in FORMATS["tensorflow"]:
            return _probe_tensorflow(kind, source, load=load)
        if kind in (*FORMATS["xgboost"], *FORMATS["lightgbm"]):
            from modelport.frameworks.boosters import probe_booster

            return probe_booster(source, kind)
        return _probe_pytorch(kind, source, entrypoint, root or source.parent)
    except BROKEN as error:
        raise SpecError(
            f"model.source: {source}: damaged inside ({type(error).__name__}: {error}); write or copy it again"
        ) from error


def _probe_tensorflow(kind: str, source: Path, *, load: bool) -> Probe:
    from modelport.frameworks import tensorflow

    if kind == "saved_model":
        return tensorflow.probe_saved_model(source)
    return tensorflow.probe_loaded_keras(source) if load else tensorflow.probe_keras(source)


def _probe_pytorch(kind: str, source: Path, entrypoint: str | None, root: Path) -> Probe:
    from modelport.frameworks import pytorch

    if kind == "state_dict":
        return pytorch.probe_state_dict(source, entrypoint, root)
    return pytorch.probe_torchscript(source) if kind == "torchscript" else pytorch.probe_exported(source)
