"""Tensors as JSON text, laid out as the real server's writer does: on one line, or each value on a line of its own."""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass
from operator import add

import numpy as np

from modelport_tfserving.server.json_floats import Bytes, render_floats
from modelport_tfserving.server.statuses import invalid_argument
from modelport_tfserving.server.tensors import Array, encoded_name

_INTEGERS = frozenset(map(np.dtype, ("int8", "int16", "int32", "int64", "uint8", "uint32", "uint64")))
# What stands between two values until all are written: control characters, which JSON text never holds.
_MARKS = bytes([*range(1, 9), 11, 12, *range(14, 32)])
_ESCAPES = {code: f"\\u{code:04X}" for code in range(32)} | {
    ord(plain): f"\\{letter}" for plain, letter in zip('"\\\b\f\n\r\t', '"\\bfnrt', strict=True)
}


@dataclass(frozen=True)
class Layout:
    """What opens and closes the lists of each level, the outermost first, and what stands between two elements."""

    opens: tuple[str, ...]
    closes: tuple[str, ...]
    commas: tuple[str, ...]

    def link(self, level: int) -> str:
        """Return the text between the last value below one element of a list and the first below the next."""
        return "".join([*reversed(self.closes[level + 1 :]), self.commas[level], *self.opens[level + 1 :]])

    def cut(self, rank: int) -> Layout:
        """Return the layout of the outer levels alone."""
        return Layout(self.opens[:rank], self.closes[:rank], self.commas[:rank])


def break_line(depth: int) -> str:
    """Return the line break before what stands at a depth."""
    return "\n" + "    " * depth


def lay_out_lines(rank: int, depth: int) -> Layout:
    """Return the layout of a value a line, for a tensor that is a member of an object at a depth."""
    inner = tuple(break_line(depth + level + 1) for level in range(rank))
    outer = tuple(break_line(depth + level) for level in range(rank))
    return Layout(
        tuple(f"[{text}" for text in inner), tuple(f"{text}]" for text in outer), tuple(f",{text}" for text in inner)
    )


def lay_out_rows(rank: int, depth: int) -> Layout:
    """Return the layout of all rows on one line, and the last bracket on the next."""
    closes = (f"{break_line(depth)}]", *("]" for _ in range(rank - 1)))
    return Layout(("[",) * rank, closes, (", ",) * rank)


def quote(text: str) -> str:
    """Return a JSON string."""
    return f'"{text.translate(_ESCAPES)}"'


def render_tensor(array: Array, name: str, layout: Layout, depth: int) -> bytes:
    """Return a tensor of a name as JSON; `depth` is that of its elements.

    Raises INVALID_ARGUMENT for a type that the REST API cannot carry.
    """
    text, rank = _render_values(array, name, depth)
    layout = layout.cut(rank)
    text = _link(text, layout, range(rank))
    return "".join(layout.opens).encode() + text + "".join(reversed(layout.closes)).encode()


def render_rows(array: Array, name: str, depth: int) -> list[bytes]:
    """Return each row of a tensor as JSON on one line."""
    if array.shape[0] == 0:
        return []
    text, rank = _render_values(array, name, depth)
    layout = lay_out_rows(rank, 0)
    opening, closing = b"[" * (rank - 1), b"]" * (rank - 1)
    return [opening + row + closing for row in _link(text, layout, range(1, rank)).split(_MARKS[:1])]


def _link(text: bytes, layout: Layout, levels: range) -> bytes:
    for level in levels:
        text = text.replace(_MARKS[level : level + 1], layout.link(level).encode())
    return text


def _render_values(array: Array, name: str, depth: int) -> tuple[bytes, int]:
    """Return the elements with a mark between two, that of the level of their list, and the number of levels."""
    if array.ndim > len(_MARKS):
        raise invalid_argument(f"Tensor name: {name} has {array.ndim} dimensions; JSON carries {len(_MARKS)} here")
    if array.size == 0:
        shape = array.shape[: array.shape.index(0)]
        return _join(["[]"] * math.prod(shape), shape), len(shape)
    flat = array.ravel()
    if array.dtype in {np.dtype(np.float32), np.dtype(np.float64)}:
        return render_floats(flat, _mark(array.shape)), array.ndim
    if array.dtype in _INTEGERS or array.dtype == bool:
        return _render_whole(array), array.ndim
    return _join(_render_texts(flat, name, depth), array.shape), array.ndim


def _mark(shape: tuple[int, ...]) -> Bytes:
    """Return the mark after each element: none after the last."""
    marks = np.full(math.prod(shape), _MARKS[max(len(shape) - 1, 0)], np.uint8)
    for axis in range(len(shape) - 1, 0, -1):
        size = math.prod(shape[axis:])
        marks[size - 1 :: size] = _MARKS[axis - 1]
    marks[-1:] = 0
    return marks


def _join(texts: list[str], shape: tuple[int, ...]) -> bytes:
    size = shape[-1] if shape else 1
    inner = chr(_MARKS[max(len(shape) - 1, 0)])
    rows = texts if size == 1 else [inner.join(texts[at : at + size]) for at in range(0, len(texts), size)]
    marks = _mark(shape)[size - 1 :: size].tobytes().decode("latin-1")
    return "".join(map(add, rows, marks))[:-1].encode("utf-8", "surrogateescape")


def _render_whole(array: Array) -> bytes:
    """Return integers or truth values with the marks: Python writes a list of lists faster than its elements."""
    text = str(array.tolist()).strip("[]")
    for level in range(array.ndim):
        below = array.ndim - 1 - level
        text = text.replace("]" * below + ", " + "[" * below, chr(_MARKS[level]))
    return (text.lower() if array.dtype == bool else text).encode()


def _render_texts(flat: Array, name: str, depth: int) -> list[str]:
    values = flat.tolist()
    if flat.dtype != object:
        raise invalid_argument(f"Failed to write JSON value for tensor type: {encoded_name(flat.dtype)}")
    if name.endswith("_bytes"):
        start, end = f'{{{break_line(depth + 1)}"b64": "', f'"{break_line(depth)}}}'
        return [f"{start}{base64.b64encode(value).decode()}{end}" for value in values]
    return [quote(value.decode("utf-8", "surrogateescape")) for value in values]
