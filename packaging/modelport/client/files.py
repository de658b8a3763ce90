"""Files to the inputs of a request: JSON, npy, npz, CSV, Parquet; and answers back to files."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelport.errors import MissingTool, SpecError

if TYPE_CHECKING:
    import numpy as np

    from modelport_runtime.signature import Signature, TensorSpec

    Array = np.ndarray[Any, Any]
    Read = Mapping[str, Any]

LONGEST = 2**33  # bytes; a file that is named by hand is trusted
TRUTH = {"true": True, "1": True, "false": False, "0": False}


def read_inputs(path: Path | None, data: bytes, signature: Signature | None, name: str | None = None) -> Read:
    """Read the inputs of one request.

    Args:
        path: Where the data comes from, for its suffix and for messages; None for standard input, which may hold
            JSON or npz.
        data: The file's bytes.
        signature: The model's, where the server says it: gives names to what has none, and dtypes to text.
        name: The input that a file with a single array is for.

    Raises:
        SpecError: The data cannot be read, or it is not clear which input it is for.
        MissingTool: The format needs an extra that is not installed.
    """
    where = "standard input" if path is None else str(path)
    suffix = path.suffix.lower() if path is not None else (".npz" if data[:2] == b"PK" else ".json")
    known = (*READERS, *TABLES)
    if suffix not in known:
        raise SpecError(
            f"{where}: inputs are read from {', '.join(known)}, not from {suffix or 'a file without suffix'}"
        )
    if name is not None and suffix != ".npy":
        raise SpecError(f"{where}: --name is for .npy files; a {suffix} file holds names itself")
    tensors = signature.inputs if signature is not None else None
    if suffix in TABLES:
        return from_columns(where, _without_answers(TABLES[suffix](where, data), signature), tensors)
    return _without_answers(READERS[suffix](where, data, tensors, name), signature)


def _without_answers(values: Read, signature: Signature | None) -> Read:
    """Leave out the expected outputs and labels that the samples of a spec hold beside the inputs."""
    if signature is None:
        return values
    beside = {t.name for t in signature.outputs} | {"labels", "label", "target"}
    wanted = {t.name for t in signature.inputs}
    return {key: value for key, value in values.items() if key in wanted or key not in beside}


def _read_json(where: str, data: bytes, tensors: Sequence[TensorSpec] | None, name: str | None) -> Read:
    from modelport_runtime.codec import JSON

    del name
    data = data.removeprefix(b"\xef\xbb\xbf")
    if data[:64].lstrip()[:1] == b"[":  # one array, without a name
        only = single_name(where, tensors, None, 'write {"name": values}')
        data = b"{%s:%s}" % (json.dumps(only).encode(), data)
    elif b'"inputs"' in data and all(tensor.name != "inputs" for tensor in tensors or ()):
        data = _without_sections(data)
    return _decode(where, data, JSON, tensors)


def _without_sections(data: bytes) -> bytes:
    """Give the inputs of a spec's samples alone; anything else as it is."""
    try:
        raw = json.loads(data)
    except (ValueError, RecursionError):
        return data  # whoever reads it says what is wrong
    sections = sample_sections(raw)
    return data if sections is None else json.dumps(sections["inputs"]).encode()


def sample_sections(raw: Any) -> Mapping[str, Any] | None:
    """Give JSON whose keys are ``inputs``, and perhaps ``outputs`` and ``labels``; None where it is another one."""
    if not isinstance(raw, dict) or not raw.keys() <= {"inputs", "outputs", "labels"}:
        return None
    return raw if isinstance(raw.get("inputs"), dict) and isinstance(raw.get("outputs", {}), dict) else None


def _read_npz(where: str, data: bytes, tensors: Sequence[TensorSpec] | None, name: str | None) -> Read:
    from modelport_runtime.codec import NPZ

    del name
    return _decode(where, data, NPZ, tensors)


def _decode(where: str, data: bytes, kind: str, tensors: Sequence[TensorSpec] | None) -> Read:
    from modelport_runtime.checking import InvalidInput
    from modelport_runtime.codec import decode

    try:
        return decode(data, kind, tensors, limit=LONGEST)
    except InvalidInput as error:
        raise SpecError(f"{where}: {error}") from error


def _read_npy(where: str, data: bytes, tensors: Sequence[TensorSpec] | None, name: str | None) -> Read:
    import numpy as np

    try:
        array = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise SpecError(f"{where}: no .npy file of numbers or text: {error}") from error
    return {single_name(where, tensors, name, "use --name"): array}


def _read_csv(where: str, data: bytes) -> Read:
    try:
        rows = [row for row in csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True) if row]
    except (csv.Error, UnicodeDecodeError) as error:
        raise SpecError(f"{where}: no CSV file in UTF-8: {error}") from error
    if len(rows) < 2:
        raise SpecError(f"{where}: needs a header of column names and at least one row")
    header = [column.strip() for column in rows[0]]
    if all(_is_number(column) for column in header):
        raise SpecError(f"{where}:1: the first row holds numbers; it must hold the names of the columns")
    for line, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            raise SpecError(f"{where}:{line}: {len(row)} fields, but the header has {len(header)}")
    return dict(zip(_unique(where, header), zip(*rows[1:], strict=True), strict=True))


def read_parquet(where: str, data: bytes) -> dict[str, Array]:
    """Read the columns of a Parquet file; an empty cell among floats is NaN, as pandas writes it.

    Raises:
        SpecError: It is none, two columns have one name, or a column holds what no tensor can.
        MissingTool: pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise MissingTool(f"{where}: Parquet needs pyarrow; run: pip install 'modelport[parquet]'") from error
    try:
        table = parquet.read_table(pa.BufferReader(data))
    except (pa.ArrowException, OSError) as error:
        raise SpecError(f"{where}: no Parquet file: {error}") from error
    return {column: _whole(where, column, table.column(column)) for column in _unique(where, table.column_names)}


def _whole(where: str, name: str, column: Any) -> Array:
    import numpy as np
    import pyarrow as pa

    if pa.types.is_floating(column.type):
        column = column.fill_null(float("nan"))
    if column.null_count:
        raise SpecError(f"{where}: column {name!r} has {column.null_count} empty cells, which no tensor can; fill them")
    array: Array = column.to_numpy()
    nested = pa.types.is_list(column.type) or pa.types.is_large_list(column.type)
    if not nested and not pa.types.is_fixed_size_list(column.type):
        return array
    try:
        return np.array([_dense(row) for row in array])
    except ValueError as error:
        raise SpecError(f"{where}: the lists in column {name!r} differ in length") from error


def _dense(row: Any) -> Any:
    """Give a nested list of Parquet as one array."""
    import numpy as np

    nested = isinstance(row, np.ndarray) and row.dtype.kind == "O" and row.size and isinstance(row[0], np.ndarray)
    return np.stack([_dense(entry) for entry in row]) if nested else row


READERS: Mapping[str, Callable[[str, bytes, Sequence[TensorSpec] | None, str | None], Read]] = {
    ".json": _read_json,
    ".npy": _read_npy,
    ".npz": _read_npz,
}
TABLES: Mapping[str, Callable[[str, bytes], Read]] = {".csv": _read_csv, ".parquet": read_parquet}


def from_columns(where: str, columns: Mapping[str, Any], tensors: Sequence[TensorSpec] | None) -> Read:
    """Turn the columns of a table into inputs; an empty field among floats is NaN.

    A column that is called as an input is that input. Where none is, and the model takes one matrix, all columns
    are that matrix, in the file's order.

    Raises:
        SpecError: A value is none of the input's dtype.
    """
    import numpy as np

    by_name = {t.name: t for t in tensors or ()}
    if tensors is None or by_name.keys() & columns.keys():
        return {name: _column(where, name, values, by_name.get(name)) for name, values in columns.items()}
    if len(tensors) == 1 and len(tensors[0].shape) == 2:
        matrix = [_column(where, name, values, tensors[0], ranked=False) for name, values in columns.items()]
        return {tensors[0].name: np.stack(matrix, axis=1)}
    raise SpecError(
        f"{where}: the columns {_some(columns)} are not the model's inputs {_some(by_name)}; call the columns so"
    )


def _column(where: str, name: str, values: Any, tensor: TensorSpec | None, *, ranked: bool = True) -> Array:
    import numpy as np

    array = values if isinstance(values, np.ndarray) else _parse(where, name, values, tensor.dtype if tensor else None)
    wants_axis = ranked and tensor is not None and tensor.shape[1:] == (1,)
    return array[:, None] if wants_axis and array.ndim == 1 else array


def _parse(where: str, name: str, texts: Sequence[str], dtype: str | None) -> Array:
    """Turn the fields of one CSV column into numbers of a dtype, or of the first that takes them all."""
    import numpy as np

    if dtype == "string":
        return np.array(texts, object)
    try:
        if dtype == "bool":
            return np.array([TRUTH[text.strip().lower()] for text in texts])
        if dtype is not None and "int" in dtype:
            return np.array([int(text) for text in texts], dtype)
        if dtype is not None:
            return np.array([float(text) if text.strip() else np.nan for text in texts], np.float64)
    except (ValueError, KeyError, OverflowError) as error:
        raise SpecError(f"{where}: column {name!r} holds what is no {dtype}: {error}") from error
    for kind in (int, float):
        try:
            return np.array([kind(text) for text in texts])
        except ValueError:
            continue
    return np.array(texts, object)


def single_name(where: str, tensors: Sequence[TensorSpec] | None, name: str | None, way: str) -> str:
    """Give the name of the input that an array without a name is for: the given one, or the only one.

    Raises:
        SpecError: There are several, or nobody knows, and no name was given.
    """
    if name is not None:
        return name
    if tensors is None:
        raise SpecError(f"{where}: the array has no name, and the server does not say its inputs; {way}")
    if len(tensors) != 1:
        raise SpecError(f"{where}: the array has no name, and the model takes {_some(t.name for t in tensors)}; {way}")
    return tensors[0].name


def write_outputs(path: Path, outputs: Mapping[str, Array]) -> None:
    """Write an answer to a ``.npz`` or ``.json`` file, whole or not at all.

    Raises:
        SpecError: The suffix is another one, or npz cannot hold the answer.
    """
    from modelport_runtime.codec import encode

    try:
        data = encode(outputs, output_kind(path))
    except ValueError as error:
        raise SpecError(f"{path}: {error}") from error
    aside = path.with_name(f".{path.name}.part")
    try:
        aside.write_bytes(data)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def output_kind(path: Path) -> str:
    """Give the content type that a file's suffix stands for.

    Raises:
        SpecError: It stands for none.
    """
    from modelport_runtime.codec import JSON, NPZ

    kinds = {".npz": NPZ, ".json": JSON}
    if path.suffix.lower() not in kinds:
        raise SpecError(f"{path}: outputs are written to .npz or .json")
    return kinds[path.suffix.lower()]


def _unique(where: str, names: Sequence[str]) -> Sequence[str]:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise SpecError(f"{where}: two columns are called {twice!r}")
    return names


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _some(names: Any) -> str:
    listed = [repr(name) for name in names]
    return ", ".join(listed[:5]) + (f" and {len(listed) - 5} more" if len(listed) > 5 else "")
