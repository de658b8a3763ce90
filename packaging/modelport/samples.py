"""Samples: inputs, expected outputs and true labels, from .npz, .json or .parquet."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from modelport.client.files import from_columns, read_parquet, sample_sections
from modelport.errors import SpecError
from modelport_runtime.checking import Array, InvalidInput, check_inputs, conform, to_array
from modelport_runtime.codec import NPZ, decode
from modelport_runtime.signature import Signature, TensorSpec

LABELS = ("labels", "label", "target")


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """What a spec's samples hold.

    Attributes:
        inputs: Arrays by input name; ``[count, …]`` where ``rows``.
        expected: Expected outputs, by name; the same length. May be empty.
        labels: The true class of each row, or None.
        count: How many samples there are; 1 where not ``rows``.
        rows: Whether the first axis counts samples, so that any slice of them is a request.
    """

    inputs: Mapping[str, Array]
    expected: Mapping[str, Array] = field(default_factory=dict)
    labels: Array | None = None
    count: int
    rows: bool

    def request(self, start: int, stop: int) -> dict[str, Array]:
        """Give the inputs of samples ``start`` to ``stop`` (exclusive); all of them where not ``rows``."""
        if not self.rows:
            return dict(self.inputs)
        return {name: array[start:stop] for name, array in self.inputs.items()}


def load_samples(path: Path, served: Signature) -> Samples:
    """Read samples.

    A key that is an input's name is an input, one that is an output's name an expected output; ``labels`` (or
    ``label``, ``target``, where no tensor is called so) is the truth. Where no key is an input's name the others
    are taken for inputs: a transform may take what its spec does not declare.

    Args:
        path: ``.npz`` or ``.parquet`` with flat keys; ``.json`` with flat keys, or with ``inputs``, ``outputs`` and
            ``labels``. The columns of a table that are as many as the columns of the only input are that matrix.
        served: What requests hold and answers give.

    Raises:
        SpecError: The file cannot be read, or does not fit ``served``.
        MissingTool: Parquet needs pyarrow.
    """
    dtypes = {tensor.name: tensor.dtype for tensor in (*served.inputs, *served.outputs)}
    raw = read_arrays(path, dtypes)
    inputs, expected, labels = _sort(path, raw, served)
    if path.suffix == ".parquet":
        inputs, expected = _shape(path, inputs, served.inputs), _shape(path, expected, served.outputs)
    declared = {tensor.name for tensor in served.inputs}
    if declared & inputs.keys():
        try:
            inputs = check_inputs(served.inputs, inputs)
        except InvalidInput as error:
            raise SpecError(f"samples: {path}: {error}") from error
        rows = all(tensor.shape and tensor.shape[0] is None for tensor in served.inputs)
    else:
        rows = len({array.shape[:1] for array in inputs.values()} - {()}) == 1 and all(a.ndim for a in inputs.values())
    count = len(next(iter(inputs.values()))) if rows else 1
    if count == 0:
        raise SpecError(f"samples: {path}: holds no rows; at least one is needed")
    expected = _check_expected(path, expected, served.outputs)
    others = {**expected, **({} if labels is None else {"labels": labels})}
    for name, array in others.items():
        if rows and len(np.atleast_1d(array)) != count:
            raise SpecError(f"samples: {path}: {name!r} has {len(np.atleast_1d(array))} rows, the inputs have {count}")
    return Samples(inputs=inputs, expected=expected, labels=labels, count=count, rows=rows)


def name_dtype(array: Array) -> str:
    """Give an array's dtype in the words of a signature."""
    return "string" if array.dtype.kind in "OUS" else str(array.dtype)


def _sort(
    path: Path, raw: dict[str, Array], served: Signature
) -> tuple[dict[str, Array], dict[str, Array], Array | None]:
    outputs = {tensor.name for tensor in served.outputs}
    declared = {tensor.name for tensor in served.inputs}
    key = next((name for name in LABELS if name in raw and name not in outputs | declared), None)
    rest = {name: array for name, array in raw.items() if name != key}
    expected = {name: array for name, array in rest.items() if name in outputs and name not in declared}
    inputs = {name: array for name, array in rest.items() if name not in expected}
    if not inputs:
        raise SpecError(f"samples: {path}: holds no inputs; the model takes {', '.join(map(repr, sorted(declared)))}")
    strangers = sorted(inputs.keys() - declared)
    if strangers and declared & inputs.keys():
        raise SpecError(f"samples: {path}: {strangers[0]!r} is no input, no output and not labels; remove or rename it")
    return inputs, expected, None if key is None else raw[key]


def _shape(path: Path, columns: dict[str, Array], tensors: tuple[TensorSpec, ...]) -> dict[str, Array]:
    """Give a table's columns in the shapes that tensors have: ``[rows, 1]``, or all of them as one matrix."""
    matrix = len(tensors) == 1 and tensors[0].shape == (None, len(columns))
    named = not columns.keys().isdisjoint(tensor.name for tensor in tensors)
    if named or (matrix and all(column.ndim == 1 for column in columns.values())):
        return dict(from_columns(f"samples: {path}", columns, tensors))
    return columns


def _check_expected(path: Path, expected: dict[str, Array], tensors: tuple[TensorSpec, ...]) -> dict[str, Array]:
    try:
        return {t.name: conform(t, expected[t.name], "expected output") for t in tensors if t.name in expected}
    except InvalidInput as error:
        raise SpecError(f"samples: {path}: {error}") from error


def read_arrays(path: Path, dtypes: Mapping[str, str] | None = None) -> dict[str, Array]:
    """Read all arrays of a file, whatever they are called.

    Args:
        path: ``.npz``, ``.json`` or ``.parquet``.
        dtypes: Declared dtypes by name, as far as there are any.

    Raises:
        SpecError: The file cannot be read.
        MissingTool: Parquet needs pyarrow.
    """
    readers = {".npz": _read_npz, ".json": _read_json, ".parquet": _read_parquet}
    if path.suffix not in readers:
        raise SpecError(f"samples: {path}: only {', '.join(readers)} are read; write it as one of them")
    try:
        return readers[path.suffix](path, dtypes or {})
    except FileNotFoundError as error:
        raise SpecError(f"samples: {path}: no such file") from error
    except (InvalidInput, ValueError, zipfile.BadZipFile, OSError) as error:
        raise SpecError(f"samples: {path}: cannot be read: {error}") from error


def _read_npz(path: Path, _: Mapping[str, str]) -> dict[str, Array]:
    return decode(path.read_bytes(), NPZ, None, limit=2**34)


def _read_json(path: Path, dtypes: Mapping[str, str]) -> dict[str, Array]:
    raw = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(raw, dict):
        raise InvalidInput('it must be an object: {"name": values, …}')
    if "inputs" not in dtypes and sample_sections(raw) is not None:
        labels = {"labels": raw["labels"]} if "labels" in raw else {}
        raw = {**raw["inputs"], **raw.get("outputs", {}), **labels}
    return {name: to_array(value, dtypes.get(name), repr(name)) for name, value in raw.items()}


def _read_parquet(path: Path, _: Mapping[str, str]) -> dict[str, Array]:
    return read_parquet(f"samples: {path}", path.read_bytes())
