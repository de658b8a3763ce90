"""How a model is stored, told by what is in the file. Nothing is unpickled and no framework is imported."""

from __future__ import annotations

import mmap
import re
import struct
import zipfile
import zlib
from pathlib import Path

from modelport.errors import SpecError

FORMATS = {
    "pytorch": ("torchscript", "exported_program", "state_dict"),
    "onnx": ("onnx",),
    "tensorflow": ("saved_model", "keras"),
    "sklearn": ("skops", "joblib", "pickle"),
    "xgboost": ("xgboost_json", "xgboost_ubj"),
    "lightgbm": ("lightgbm_text",),
}
# What reading a file raises whose inside is not what its outside promises.
BROKEN = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, LookupError, ValueError, TypeError, RuntimeError,
    OverflowError,
)  # fmt: skip
_LEGACY_TORCH = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # how torch.save began before 1.6
_BEGINNINGS = {
    "state_dict": re.compile(b".{0,18}" + re.escape(_LEGACY_TORCH), re.DOTALL),
    "xgboost_json": re.compile(rb"\s*\{\s*\"(learner|version)\""),
    "xgboost_ubj": re.compile(rb"\{[iUIlL][\x00-\x20]+(learner|version)"),  # a length stands before each key
    "lightgbm_text": re.compile(rb"tree\r?\nversion="),
}
_COMPRESSED = (b"x\x01", b"x\x9c", b"x\xda", b"x^", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x04\x22M\x18")


def framework_of(kind: str) -> str:
    """Give the framework of a format."""
    return next(framework for framework, kinds in FORMATS.items() if kind in kinds)


def detect_format(path: Path, framework: str | None = None) -> str:
    """Tell how a model is stored.

    Args:
        path: A file or folder that exists and is not empty.
        framework: ``pytorch onnx tensorflow sklearn xgboost lightgbm``, or None to take whatever it is.

    Returns:
        ``torchscript exported_program state_dict onnx saved_model keras skops joblib pickle xgboost_json xgboost_ubj
        lightgbm_text``.

    Raises:
        SpecError: It is broken, nothing that is known, or of another framework.
    """
    kind = _detect_folder(path) if path.is_dir() else _detect_file(path, framework)
    if framework is not None and kind not in FORMATS[framework]:
        raise SpecError(
            f"model.source: {path}: this is {describe_format(kind)}, not a model of {framework}; "
            f"write model.framework: {framework_of(kind)}, or name another file"
        )
    return kind


def describe_format(kind: str) -> str:
    """Name a format for people."""
    names = {
        "torchscript": "a TorchScript module",
        "exported_program": "an exported program of PyTorch",
        "state_dict": "a state dict of PyTorch",
        "onnx": "an ONNX model",
        "saved_model": "a TensorFlow SavedModel",
        "keras": "a Keras model",
        "skops": "a skops file of scikit-learn",
        "joblib": "a joblib file",
        "pickle": "a pickle file",
        "xgboost_json": "an XGBoost model",
        "xgboost_ubj": "an XGBoost model",
        "lightgbm_text": "a LightGBM model",
    }
    return names[kind]


def _detect_folder(path: Path) -> str:
    if (path / "saved_model.pb").is_file():
        return "saved_model"
    if (path / "saved_model.pbtxt").is_file():
        raise SpecError(f"model.source: {path}: a SavedModel in text form; save it again in binary (saved_model.pb)")
    nested = sorted(entry.parent.name for entry in path.glob("*/saved_model.pb"))
    hint = f"; did you mean {path / nested[-1]}?" if nested else ""
    raise SpecError(f"model.source: {path}: a folder without saved_model.pb; no other folders are read{hint}")


def _detect_file(path: Path, framework: str | None) -> str:
    with path.open("rb") as stream:
        head = stream.read(512)
    if head.startswith(b"PK"):
        return _detect_zip(path)
    if head.startswith(b"\x89HDF"):
        raise SpecError(f"model.source: {path}: an HDF5 file; load it with Keras and save it as .keras")
    if head[8:10] == b'{"' and int.from_bytes(head[:8], "little") < path.stat().st_size:
        raise SpecError(
            f"model.source: {path}: a safetensors file; write torch.save(safetensors.torch.load_file(path), "
            "'weights.pt') and name the class that the weights belong to (model.entrypoint)"
        )
    told = next((kind for kind, beginning in _BEGINNINGS.items() if beginning.match(head)), None)
    if told is not None:
        return told
    if framework == "onnx" or path.suffix == ".onnx":
        return "onnx"  # an ONNX file has no magic number: its parser has the last word
    if head.startswith((b"\x80", *_COMPRESSED)):
        return _detect_pickle(path, head)
    if framework == "sklearn":
        raise SpecError(f"model.source: {path}: neither a skops file nor a pickle; write it with skops.io.dump")
    if framework is None and head.startswith(b"\x08"):
        return "onnx"
    made_by = {
        "pytorch": "torch.jit.save, torch.export.save or torch.save",
        "tensorflow": "model.export (a folder) or model.save('….keras')",
        "xgboost": "save_model('….json') or save_model('….ubj')",
        "lightgbm": "Booster.save_model('….txt')",
    }
    hint = f"; {framework} reads what {made_by[framework]} wrote" if framework in made_by else ""
    raise SpecError(f"model.source: {path}: no model file that is known (it begins with {head[:8]!r}){hint}")


def _detect_zip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except BROKEN as error:
        raise SpecError(
            f"model.source: {path}: a broken or truncated file ({error}, {path.stat().st_size} bytes); copy it again"
        ) from error
    inner = {name.partition("/")[2] for name in names}  # PyTorch puts all below one folder
    if {"config.json", "metadata.json"} <= set(names):
        return "keras"
    if "schema.json" in names:
        return "skops"
    if "models/model.json" in inner or "serialized_exported_program.json" in names:
        return "exported_program"
    if "data.pkl" in inner:
        return "torchscript" if any(name.startswith("code/") for name in inner) else "state_dict"
    shown = ", ".join(names[:4]) or "nothing"
    raise SpecError(f"model.source: {path}: a zip archive that is no model (it holds {shown}, …)")


def _detect_pickle(path: Path, head: bytes) -> str:
    if path.suffix == ".joblib" or head.startswith(_COMPRESSED):
        return "joblib"
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return "joblib" if data.find(b"joblib.numpy_pickle") >= 0 else "pickle"
