"""Tensors on the wire: JSON for people and small requests, npz for large ones.

JSON is ``{name: nested lists}``; NaN, Infinity and -Infinity stand as those tokens, text that is no UTF-8 as
``{"b64": …}``. An npz is numpy's own archive, without pickles; its text arrays are of numpy's kind ``U``, in
which bytes that are no UTF-8 are lone surrogates (Python's ``surrogateescape``).
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .checking import Array, InvalidInput, TooLarge, to_array
from .signature import TensorSpec

JSON = "application/json"
NPZ = "application/x-npz"

_UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError, OSError, KeyError, SyntaxError)
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def media_type(content_type: str | None) -> str | None:
    """Give a content type without its parameters, in lower case; None where there is none."""
    if content_type is None:
        return None
    return content_type.partition(";")[0].strip().lower() or None


def sniff(body: bytes, content_type: str | None = None) -> str:
    """Tell whether a body is JSON or npz: by its content type where that says so, by its first bytes otherwise.

    Returns:
        `JSON` or `NPZ`.

    Raises:
        InvalidInput: It is neither.
    """
    given = media_type(content_type)
    if given in (JSON, NPZ):
        return given
    if bytes(body[:2]) == b"PK":
        return NPZ
    if bytes(body[:64]).lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"["):
        return JSON
    said = f"content type {given!r}" if given else "a body"
    raise InvalidInput(f"{said} that is neither JSON nor npz; send {JSON} ({{name: values}}) or {NPZ}")


def decode(
    body: bytes, content_type: str | None, tensors: Sequence[TensorSpec] | None, *, limit: int
) -> dict[str, Array]:
    """Read the inputs of a request.

    Args:
        body: The request's body.
        content_type: What the request says that it is, or None.
        tensors: What the model takes, for the dtypes of JSON's lists; None where nobody knows. Names, dtypes and
            shapes are not checked here: see `check_inputs`.
        limit: The most bytes that the body, and the arrays in it, may have.

    Raises:
        TooLarge: There are more.
        InvalidInput: The body cannot be read.
    """
    if len(body) > limit:
        raise TooLarge(f"the request has {len(body)} bytes; this server takes at most {limit}")
    if sniff(body, content_type) == NPZ:
        return _decode_npz(body, limit)
    return _decode_json(body, {t.name: t.dtype for t in tensors or ()})


def encode(outputs: Mapping[str, Array], content_type: str) -> bytes:
    """Write an answer.

    Args:
        outputs: Arrays by name.
        content_type: `JSON` or `NPZ`. Floats are written so that they read back exactly.

    Raises:
        ValueError: Another content type, or text that npz cannot hold (ending with NUL).
    """
    if content_type == JSON:
        return _write_json({name: array.tolist() for name, array in outputs.items()}).encode()
    if content_type == NPZ:
        return _encode_npz(outputs)
    raise ValueError(f"an answer can be {JSON} or {NPZ}, not {content_type!r}")


def _as_b64(value: Any) -> dict[str, str]:
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode()}
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


_write_json = json.JSONEncoder(separators=(",", ":"), default=_as_b64).encode


def _read_object(pairs: list[tuple[str, Any]]) -> Any:
    """Read one JSON object; ``{"b64": …}`` becomes bytes."""
    read = dict(pairs)
    if len(read) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidInput(f"the name {twice!r} stands twice in the JSON object")
    if len(read) == 1 and isinstance(text := read.get("b64"), str):
        try:
            return base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError) as error:
            raise InvalidInput(f"the value of 'b64' is no base64: {error}") from error
    return read


_read_json = json.JSONDecoder(object_pairs_hook=_read_object).decode


def _decode_json(body: bytes, dtypes: Mapping[str, str]) -> dict[str, Array]:
    try:
        values = _read_json(body.decode("utf-8-sig"))
    except InvalidInput:
        raise
    except RecursionError as error:
        raise InvalidInput("the body is no JSON that can be read: nested too deeply") from error
    except ValueError as error:
        raise InvalidInput(f"the body is no JSON: {error}") from error
    if not isinstance(values, dict):
        raise InvalidInput('the body must be a JSON object of inputs: {"name": values, …}')
    arrays = {name: _from_json(name, value, dtypes.get(name)) for name, value in values.items()}
    _refuse_overflow(arrays, body)
    return arrays


def _from_json(name: str, value: Any, dtype: str | None) -> Array:
    if isinstance(value, dict):
        raise InvalidInput(f"input {name!r} is an object; it must be a number, text or nested lists of them")
    return to_array(value, dtype, f"input {name!r}")


def _refuse_overflow(arrays: Mapping[str, Array], body: bytes) -> None:
    """Refuse numbers like 1e999, which Python's parser turns into infinity without a word."""
    infinite = sum(int(np.isinf(a).sum()) for a in arrays.values() if a.dtype.kind == "f")
    if infinite and body.count(b"Infinity") < infinite:
        raise InvalidInput("the body holds a number too large for float64; infinity is written Infinity")


def _decode_npz(body: bytes, limit: int) -> dict[str, Array]:
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            return _read_archive(archive, limit)
    except InvalidInput:
        raise
    except _UNREADABLE as error:
        raise InvalidInput(f"the body is no npz that can be read: {error}") from error


def _read_archive(archive: zipfile.ZipFile, limit: int) -> dict[str, Array]:
    entries = archive.infolist()
    total = sum(entry.file_size for entry in entries)
    if total > limit:  # before a byte is unpacked
        raise TooLarge(f"the npz unpacks to {total} bytes; this server takes at most {limit}")
    arrays: dict[str, Array] = {}
    for entry in entries:
        name = entry.filename.removesuffix(".npy")
        if name in arrays:
            raise InvalidInput(f"the name {name!r} stands twice in the npz")
        arrays[name] = _read_member(archive, entry, name)
    return arrays


def _read_member(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, name: str) -> Array:
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InvalidInput(f"input {name!r}: this npz is compressed in a way that numpy does not write")
    data = archive.read(entry)
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    if version not in _HEADERS:
        raise InvalidInput(f"input {name!r}: npy format {version} is not read")
    shape, fortran, dtype = _HEADERS[version](stream)
    if dtype.hasobject or dtype.kind not in "biufUS" or not dtype.itemsize:
        raise InvalidInput(f"input {name!r} has dtype {dtype}, which is not read; numbers, bool and text (U) are")
    # The header may claim any shape: only what the bytes hold is believed.
    flat = np.frombuffer(data, dtype=dtype, offset=stream.tell())
    array = flat.reshape(shape, order="F" if fortran else "C")
    return _unescape(array) if dtype.kind == "U" else array


def _unescape(array: Array) -> Array:
    strings = array.astype(object)
    flat = strings.reshape(-1)
    for index, text in enumerate(flat.tolist()):
        if not text.isascii() and any("\udc80" <= letter <= "\udcff" for letter in text):
            flat[index] = text.encode("utf-8", "surrogateescape")
    return strings


def _encode_npz(outputs: Mapping[str, Array]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, array in outputs.items():
            member = io.BytesIO()
            plain = _escape(name, array) if array.dtype.kind == "O" else array
            np.lib.format.write_array(member, plain, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), member.getbuffer())
    return buffer.getvalue()


def _escape(name: str, array: Array) -> Array:
    texts = [
        element.decode("utf-8", "surrogateescape") if isinstance(element, bytes) else str(element)
        for element in array.reshape(-1).tolist()
    ]
    if any(text.endswith("\0") for text in texts):
        raise ValueError(f"output {name!r} holds text that ends with NUL, which npz cannot carry; ask for {JSON}")
    return np.array(texts, dtype=np.str_).reshape(array.shape)
