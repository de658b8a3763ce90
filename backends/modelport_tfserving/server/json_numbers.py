"""Large lists of numbers in a JSON document, turned into arrays without a Python object a number.

`json.loads` makes a float of every number, which is most of the time that a large request takes. Here those lists are
found in the text first, and read by TensorFlow's string ops, outside Python's lock. Only even lists of plain numbers
are read so; whatever else a list holds, `expand` gives it as `json.loads` does, and the faults are found there.
"""

from __future__ import annotations

import codecs
import json
import re
import secrets
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelport_tfserving.server.statuses import invalid_argument

LEAST_BYTES = 1 << 18
_LEAST_RUN = 4096
_PIECE = 1 << 18
_NUMBER_BYTES = b"0123456789+-.eE"
_BLANKS = b" \t\r\n"
_OPEN, _CLOSE, _COMMA, _MINUS, _PLUS, _POINT, _ZERO, _NINE = b"[],-+.09"
_SPACE = 32
_FAULTS = {
    "Expecting value": "Invalid value",
    "Illegal trailing comma": "Invalid value",
    "Expecting property name": "Missing a name for object member",
    "Expecting ':'": "Missing a colon after a name of object member",
    "Extra data": "The document root must not be followed by other values",
    "Unterminated string": "Missing a closing quotation mark in string",
    "Invalid control character": "Invalid encoding in string",
    "Invalid \\u": "Incorrect hex digit after \\u escape in string",
    "Invalid \\": "Invalid escape character in string",
}
_COMMA_FAULTS = {
    "[": "Missing a comma or ] after an array element",
    "{": "Missing a comma or } after an object member",
}
_IN_LISTS = np.isin(np.arange(256), list(_NUMBER_BYTES + _BLANKS + b"[],"))


class NumberList:
    """The text of what should be a JSON list that holds nothing but numbers and lists of them."""

    def __init__(self, text: bytes) -> None:
        self._text = text

    def expand(self) -> Any:
        """Return the list as JSON is read otherwise."""
        return load_json(self._text)

    def read(self) -> NDArray[Any] | None:
        """Return the numbers as float64; None where the lists are uneven or empty, or a number is not JSON's."""
        text = self._text.translate(None, _BLANKS)
        if len(text) < len(self._text) and _scan(self._text, _has_stray_blank):
            return None
        shape = _find_shape(text.translate(None, _NUMBER_BYTES))
        if shape is None or _scan(text, _has_foreign_number):
            return None
        import tensorflow as tf

        tokens = tf.raw_ops.StringSplitV2(input=[text.translate(None, b"[]")], sep=",").values
        try:
            numbers = np.asarray(tf.strings.to_number(tokens, tf.float64)).reshape(shape)
        except (tf.errors.InvalidArgumentError, ValueError):
            return None
        return numbers if np.isfinite(numbers).all() else None

    def is_whole(self) -> bool:
        """Tell whether no number has a fraction or an exponent."""
        return not any(byte in self._text for byte in (b".", b"e", b"E"))


class Constant(float):
    """NaN, Infinity or -Infinity as it was written, to tell it from a number that is too large for a float64."""


def load_json(text: bytes) -> Any:
    """Return a JSON document as Python objects. Raises INVALID_ARGUMENT with the real server's words.

    Bytes that are not UTF-8 become surrogates, as Python keeps them in file names.
    """
    try:
        return json.loads(_decode(text), parse_constant=Constant)
    except json.JSONDecodeError as error:
        raise invalid_argument(f"JSON Parse error: {_explain(error)}") from None
    except RecursionError:
        raise invalid_argument("JSON Parse error: arrays or objects are nested too deep") from None
    except ValueError as error:
        raise invalid_argument(f"JSON Parse error: {error}") from None


def _decode(text: bytes) -> str:
    return text.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogateescape")


def _explain(error: json.JSONDecodeError) -> str:
    """Return the real parser's words for what ours found, and the offset in bytes."""
    before = error.doc[: error.pos]
    if error.msg == "Expecting value" and not error.doc.strip():
        reason = "The document is empty"
    elif error.msg == "Expecting ',' delimiter":
        reason = _COMMA_FAULTS[_find_open_bracket(before)]
    else:
        reason = next((words for found, words in _FAULTS.items() if error.msg.startswith(found)), error.msg)
    return f"{reason}. at offset: {len(before.encode('utf-8', 'surrogateescape'))}"


def _find_open_bracket(text: str) -> str:
    """Return the bracket, `[` or `{`, that is open at the end of the text."""
    depth = 0
    for bracket in reversed(re.findall(r'"(?:[^"\\]|\\.)*"|[][{}]', text, re.DOTALL)):
        if bracket in {"]", "}"}:
            depth += 1
        elif bracket in {"[", "{"}:
            if depth == 0:
                return str(bracket)
            depth -= 1
    return "["


def load_document(body: bytes) -> Any:
    """Return what `load_json` returns, but for long lists of numbers that are values of an object: `NumberList`s."""
    runs = _find_runs(body) if len(body) >= LEAST_BYTES else []
    if not runs:
        return load_json(body)
    token = secrets.token_hex(16)
    pieces: list[bytes] = []
    end = 0
    for number, (start, stop) in enumerate(runs):
        pieces += [body[end:start], f'"{token}{number}"'.encode()]
        end = stop
    placed = 0

    def place(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal placed
        found = dict(pairs)
        for name, value in found.items():
            if isinstance(value, str) and value.startswith(token):
                start, stop = runs[int(value.removeprefix(token))]
                found[name] = NumberList(body[start:stop])
                placed += 1
        return found

    try:
        text = _decode(b"".join([*pieces, body[end:]]))
        document = json.loads(text, object_pairs_hook=place, parse_constant=Constant)
    except (ValueError, RecursionError):
        placed = -1
    # A run inside a string or another list is no value of an object, and one that is no list breaks the document.
    return document if placed == len(runs) else load_json(body)


def _find_runs(body: bytes) -> list[tuple[int, int]]:
    """Return where long runs of the bytes that lists of numbers are made of begin and end, from bracket to bracket."""
    edges: list[tuple[int, int]] = []
    last = -1
    for start in range(0, len(body), _PIECE):
        piece = np.frombuffer(body, np.uint8, min(_PIECE, len(body) - start), start)
        points = np.concatenate([[last], np.flatnonzero(~_IN_LISTS[piece]) + start])
        edges += [(int(points[at]), int(points[at + 1])) for at in np.flatnonzero(np.diff(points) > _LEAST_RUN)]
        last = int(points[-1])
    if len(body) - last > _LEAST_RUN:
        edges.append((last, len(body)))
    found = [(body.find(b"[", left + 1, right), body.rfind(b"]", left + 1, right) + 1) for left, right in edges]
    return [(start, stop) for start, stop in found if 0 <= start < stop]


def _find_shape(skeleton: bytes) -> tuple[int, ...] | None:
    """Return the shape of lists of which only brackets and commas are left; None where they are uneven."""
    rank = len(skeleton) - len(skeleton.lstrip(b"["))
    shape: list[int] = []
    built = b""
    for depth in range(1, rank + 1):
        # Each level is as long as its first list, which ends with the first run of so many closing brackets.
        first = skeleton[rank - depth : skeleton.find(b"]" * depth) + depth]
        shape.append((len(first) - 1) // (len(built) + 1))
        built = b"[" + b",".join([built] * shape[-1]) + b"]"
    return tuple(reversed(shape)) if built == skeleton else None


def _scan(text: bytes, has_fault: Any) -> bool:
    """Look at every four bytes in a row, piece by piece, so that what is compared stays in the processor's cache."""
    values = np.frombuffer(text + b",", np.uint8)
    return any(has_fault(values[start : start + _PIECE + 3]) for start in range(0, values.size, _PIECE))


def _has_stray_blank(text: NDArray[np.uint8]) -> bool:
    """Find a blank after a number that no comma or bracket follows: it may part two numbers."""
    before, here, after = text[:-2], text[1:-1], text[2:]
    stray = (here <= _SPACE) & (before > _SPACE) & (before != _COMMA) & (before != _OPEN) & (before != _CLOSE)
    return bool((stray & (after != _COMMA) & (after != _CLOSE)).any())


def _has_foreign_number(text: NDArray[np.uint8]) -> bool:
    """Find what TensorFlow reads as a number and JSON does not (01, +1, .5, 1.), and a number beside a bracket."""
    before, here, after, next_after = text[:-3], text[1:-2], text[2:-1], text[3:]
    digits = [(values >= _ZERO) & (values <= _NINE) for values in (before, after, next_after)]
    starts = (before == _COMMA) | (before == _OPEN)
    fault = starts & ((here == _PLUS) | (here == _POINT))
    fault |= starts & (here == _ZERO) & digits[1]
    fault |= starts & (here == _MINUS) & (after == _ZERO) & digits[2]
    fault |= (here == _POINT) & ~(digits[0] & digits[1])
    numeral = (here != _OPEN) & (here != _CLOSE) & (here != _COMMA)
    fault |= numeral & ((before == _CLOSE) | (after == _OPEN))
    return bool(fault.any())
