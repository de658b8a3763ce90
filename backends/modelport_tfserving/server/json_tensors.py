"""One JSON value as a tensor: nested lists of numbers, booleans, strings and base64 objects, checked as a whole.

What is accepted, and the error texts, are the real server's, but for one thing: a whole number outside the range of an
8 or 16 bit type is refused, where the real server would wrap it around.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from itertools import chain
from typing import Any

import numpy as np

from modelport_tfserving.server.json_floats import render_float
from modelport_tfserving.server.json_numbers import Constant, NumberList
from modelport_tfserving.server.statuses import Code, ServingError, invalid_argument
from modelport_tfserving.server.tensors import Array, dtype_name, numpy_type

_SHOWN_CHARACTERS = 1000
_MAX_RANK = 32
_INTEGERS = {name: np.dtype(name) for name in ("int8", "int16", "int32", "int64", "uint8", "uint32", "uint64")}
_FLOATS: dict[str, np.dtype[np.floating[Any]]] = {"float": np.dtype(np.float32), "double": np.dtype(np.float64)}
_FLOAT_MAX = {"float": float(np.finfo(np.float32).max), "double": float(np.finfo(np.float64).max)}


def to_array(value: Any, dtype: int) -> Array:
    """Return a JSON value (a scalar, evenly nested lists, a `NumberList`) as an array of a TensorFlow data type.

    Raises INVALID_ARGUMENT for ragged lists and values of the wrong kind, UNIMPLEMENTED for a type that JSON
    cannot carry.
    """
    if isinstance(value, NumberList):
        array = read_numbers(value, dtype)
        if array is not None:
            return array
        value = value.expand()
    shape = _leading_shape(value)
    if len(shape) > _MAX_RANK:
        raise invalid_argument(f"JSON Value: lists are nested {len(shape)} deep; at most {_MAX_RANK} are read")
    kind = dtype_name(dtype)
    flat = _flatten(value, shape)
    empty_type = numpy_type(dtype)
    if flat == [] and empty_type is not None:
        return np.empty(shape, empty_type)
    array = None if flat is None else _convert(flat, kind)
    if array is None:
        _raise_first_fault(value, 0, shape, kind)
        raise invalid_argument(f"JSON Value: {show(value)} cannot be read as a tensor of type {kind}")
    return array.reshape(shape)


def read_numbers(numbers: NumberList, dtype: int) -> Array | None:
    """Return a list of numbers as an array without a look at each; None where a look is needed."""
    kind = dtype_name(dtype)
    if kind not in _FLOATS and not (kind in _INTEGERS and numbers.is_whole()):
        return None
    values = numbers.read()
    # Beyond this, how a number is written decides whether the type can hold it.
    if values is None or values.ndim > _MAX_RANK or bool((np.abs(values) > _max_whole(kind)).any()):
        return None
    if kind in _FLOATS:
        return values.astype(_FLOATS[kind])
    limits = np.iinfo(_INTEGERS[kind])
    fits = int(values.min()) >= limits.min and int(values.max()) <= limits.max
    return values.astype(_INTEGERS[kind]) if fits else None


def _leading_shape(value: Any) -> tuple[int, ...]:
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        if not value:
            break
        value = value[0]
    return tuple(shape)


def _flatten(value: Any, shape: tuple[int, ...]) -> list[Any] | None:
    """Return the leaves of evenly nested lists; None where they are ragged."""
    level = [value]
    for size in shape:
        if level and (set(map(type, level)) != {list} or set(map(len, level)) != {size}):
            return None
        level = list(chain.from_iterable(level))
    return None if list in set(map(type, level)) else level


def _convert(flat: list[Any], kind: str) -> Array | None:
    """Return the leaves as a flat array; None where one of them is not of the kind."""
    types = set(map(type, flat))
    try:
        if kind in _FLOATS and types <= {int, float, Constant}:
            return _convert_floats(flat, kind, whole=int in types)
        if kind in _INTEGERS and types <= {int}:
            wide = np.array(flat, np.uint64 if kind == "uint64" else np.int64)
            limits = np.iinfo(_INTEGERS[kind])
            fits = not flat or (int(wide.min()) >= limits.min and int(wide.max()) <= limits.max)
            return wide.astype(_INTEGERS[kind]) if fits else None
    except OverflowError:
        return None
    if kind == "bool" and types <= {bool}:
        return np.array(flat, bool)
    if kind == "string" and types <= {str, dict}:
        strings = np.empty(len(flat), object)
        strings[:] = [
            leaf.encode("utf-8", "surrogateescape") if isinstance(leaf, str) else _decode_base64(leaf) for leaf in flat
        ]
        return strings
    return None


def _convert_floats(flat: list[Any], kind: str, *, whole: bool) -> Array | None:
    values = np.array(flat, np.float64)
    if np.isinf(values).any() and any(type(leaf) is float and math.isinf(leaf) for leaf in flat):
        raise invalid_argument("JSON Parse error: Number too big to be stored in double.")
    if whole and bool((np.abs(values) > _max_whole(kind)).any()) and not all(_is_exact(leaf, kind) for leaf in flat):
        return None
    if kind == "double":
        return values
    if bool((np.isfinite(values) & (np.abs(values) > _FLOAT_MAX["float"])).any()):
        return None
    return values.astype(np.float32)


def _max_whole(kind: str) -> int:
    """Return the largest whole number that the real server takes for an exact one."""
    return 2**24 - 1 if kind == "float" else 2**53 - 1


def _is_exact(leaf: float, kind: str) -> bool:
    # A whole number beyond 64 bits is read as a decimal one, and only its range counts.
    if isinstance(leaf, int) and -(2**63) <= leaf < 2**64:
        return abs(leaf) <= _max_whole(kind)
    return not math.isfinite(leaf) or abs(leaf) <= _FLOAT_MAX[kind]


def _raise_first_fault(value: Any, level: int, shape: tuple[int, ...], kind: str) -> None:
    """Walk the lists as the real server does, and raise its error for the first fault."""
    if not isinstance(value, list):
        if level != len(shape):
            raise invalid_argument(
                f"JSON Value: {show(value)} found at incorrect level: {level + 1} in the JSON DOM. Expected at "
                f"level: {len(shape)}"
            )
        _raise_leaf_fault(value, kind)
        return
    if level >= len(shape):
        raise invalid_argument(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
    if len(value) != shape[level]:
        raise invalid_argument(
            f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {shape[level]}"
        )
    for element in value:
        _raise_first_fault(element, level + 1, shape, kind)


def _raise_leaf_fault(leaf: Any, kind: str) -> None:
    if kind not in {"bool", "string"} and kind not in _INTEGERS and kind not in _FLOATS:
        raise ServingError(Code.UNIMPLEMENTED, f"Conversion of JSON Value: {show(leaf)} to type: {kind}")
    number = isinstance(leaf, int | float) and not isinstance(leaf, bool)
    if kind in _FLOATS and number:
        if not _is_exact(leaf, kind):
            raise invalid_argument(f"Cannot convert JSON value: {show(leaf)} to {kind} without loss of precision.")
        return
    if _convert([leaf], kind) is None:
        raise invalid_argument(f"JSON Value: {show(leaf)} Type: {type_name(leaf)} is not of expected type: {kind}")


def is_base64(value: Any) -> bool:
    """Tell whether a JSON value is `{"b64": "…"}`, the form of binary strings."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def is_object(value: Any) -> bool:
    """Tell whether a JSON value is an object with names, not a binary string."""
    return isinstance(value, dict) and not is_base64(value)


def _decode_base64(leaf: dict[str, Any]) -> bytes:
    if not is_base64(leaf):
        raise invalid_argument(f"JSON Value: {show(leaf)} not formatted correctly for base64 data")
    text = "".join(leaf["b64"].split()).rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise invalid_argument("Unable to base64 decode") from None


def type_name(value: Any) -> str:
    """Return what the real server's errors call a JSON value's type."""
    match value:
        case None:
            return "Null"
        case bool():
            return str(value)
        case dict():
            return "Object"
        case list():
            return "Array"
        case str():
            return "String"
        case _:
            return "Number"


def show(value: Any) -> str:
    """Return a JSON value for an error's text, laid out as the real server does, cut where it is long."""
    if isinstance(value, float):
        single = abs(value) <= _FLOAT_MAX["float"]
        return render_float(float(np.float32(value)) if single else value, single=single).decode()
    if isinstance(value, str):
        value = value[: _SHOWN_CHARACTERS + 1]
    encoder = json.JSONEncoder(ensure_ascii=False, indent=4, default=NumberList.expand)
    text = ""
    # Piece by piece, so that only what is shown of a large value is written.
    for piece in encoder.iterencode(value):
        text += piece[: _SHOWN_CHARACTERS + 1]
        if len(text) > _SHOWN_CHARACTERS:
            return f"{text[:_SHOWN_CHARACTERS]}…"
    return text
