"""Decimal numbers as JSON text, array by array: six significant digits where those suffice, else all that a type has.

The real server writes each number as C's `%g` does, and again with as many digits as the type may need (9 or 17) where
the first text does not read back as the same number. Here the digits of a whole array are worked out at once: as rows
of a table of characters, of which the unused ones are dropped in the end. That takes a quarter of the time of one
format a number. Numbers that are not finite, very large or very small are written one by one.
"""

from __future__ import annotations

from operator import add
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]

_PIECE = 1 << 15
# So many numbers are written faster one by one.
_FEW = 60
_NON_FINITE = {"nan": b"NaN", "inf": b"Infinity", "-inf": b"-Infinity"}
_SIX = 10**5
_NINE = 10**8
# Within these limits, ten to the power that brings a number to nine digits is a whole number that float64 holds.
_LEAST, _LIMIT = 1e-14, 1e6
_LOWEST, _HIGHEST = -14, 6
_LEAST_FIXED = -4
_POWERS = np.array([float(f"1e{power}") for power in range(_LOWEST, _HIGHEST + 1)])
_TENS = np.array([10.0**power for power in range(8 - _LOWEST + 1)])
# Three digits at a time: with the zeros at their end where digits follow, and a thousand further down without.
_TRIPLES: Bytes = np.frombuffer(
    b"".join(
        [b"%03d" % number for number in range(1000)]
        + [(b"%03d" % number).rstrip(b"0").ljust(3, b"\0") for number in range(1000)]
    ),
    np.uint8,
).reshape(2000, 3)
_MINUS, _POINT, _ZERO = b"-.0"
# So near to the middle between two roundings, the product of two float64 may lie on its wrong side.
_UNSURE = 1e-5


def render_floats(flat: NDArray[Any], marks: Bytes) -> bytes:
    """Return the numbers of a float32 or float64 array as text, each followed by its mark, a byte (0: none)."""
    if flat.size <= _FEW:
        single = flat.dtype == np.float32
        texts = [render_float(value, single=single) for value in flat.tolist()]
        return b"".join(map(add, texts, np.frombuffer(marks, "S1").tolist()))
    pieces = []
    for start in range(0, flat.size, _PIECE):
        values = flat[start : start + _PIECE]
        table = _tabulate(values)
        table[:, -1] = marks[start : start + values.size]
        pieces.append(table[table != 0].tobytes())
    return b"".join(pieces)


def _tabulate(values: NDArray[Any]) -> Bytes:
    """Return a row of characters a number, zero where there is none; the last column is free."""
    single = values.dtype == np.float32
    table = np.zeros((values.size, (16 if single else 24) + 1), np.uint8)
    with np.errstate(invalid="ignore"):
        # Of a signalling NaN numpy would warn.
        size = np.abs(values.astype(np.float64))
    in_range = (size >= _LEAST) & (size < _LIMIT)
    digits, exponent, short, known = _find_digits(values, np.where(in_range, size, 1.0))
    known &= in_range
    _write_digits(table, digits, np.where(known, exponent, _HIGHEST))
    zero = size == 0
    table[zero, 1:4] = (_ZERO, _POINT, _ZERO)
    table[(known | zero) & np.signbit(values), 0] = _MINUS
    long = in_range & ~short & (not single)
    rows = np.flatnonzero(long)
    _write_texts(table, rows, _render_long(values[rows].tolist()))
    rows = np.flatnonzero(~(known | zero | long))
    _write_texts(table, rows, [render_float(value, single=single) for value in values[rows].tolist()])
    return table


class _Digits(NamedTuple):
    """Nine digits a number as a whole number, the exponent of the first, whether six suffice, whether all is sure."""

    digits: NDArray[np.int32]
    exponent: NDArray[Any]
    short: NDArray[np.bool_]
    known: NDArray[np.bool_]


def _find_digits(values: NDArray[Any], size: NDArray[Any]) -> _Digits:
    exponent = np.searchsorted(_POWERS, size, "right") - 1 + _LOWEST
    whole = np.rint(size * _TENS[5 - exponent])
    # Both are whole numbers that float64 holds, so that the quotient is the float64 next to the six digits.
    short = (whole / _TENS[5 - exponent]).astype(values.dtype) == np.abs(values)
    digits, known = whole * (_NINE // _SIX), short
    if values.dtype == np.float32:
        nine, sure = _round_nine(size, exponent)
        digits, known = np.where(short, digits, nine), short | sure
    # Rounding up may have made one digit more.
    carried = digits >= 10 * _NINE
    exponent = exponent + carried
    return _Digits(
        np.where(carried, digits // 10, digits).astype(np.int32), exponent, short, known & (exponent < _HIGHEST)
    )


def _render_long(values: list[float]) -> list[bytes]:
    """Return float64 numbers that six digits do not suffice for, in one go."""
    texts = (b"%.17g\n" * len(values) % tuple(values)).split()
    return [text if b"." in text or b"e" in text else text + b".0" for text in texts]


def _write_texts(table: Bytes, rows: NDArray[Any], texts: list[bytes]) -> None:
    if texts:
        width = table.shape[1] - 1
        table[rows, :width] = np.array(texts, f"S{width}").view(np.uint8).reshape(-1, width)


def _round_nine(size: NDArray[Any], exponent: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return float32 numbers rounded to nine digits, as whole numbers, and where they are sure to be so."""
    scaled = size * _TENS[8 - exponent]
    whole = np.rint(scaled)
    # From this exponent on float64 holds the product, also where it is a tie.
    exact = exponent >= _LEAST_FIXED
    return whole, exact | (np.abs(np.abs(scaled - whole) - 0.5) > _UNSURE)


def _write_digits(table: Bytes, digits: NDArray[np.int32], exponent: NDArray[Any]) -> None:
    """Write nine digits without the zeros at their end, with point and exponent, from the second column on."""
    low, middle = digits % 1000, digits // 1000 % 1000
    triples = [digits // 10**6 + 1000 * (digits % 10**6 == 0), middle + 1000 * (low == 0), low + 1000]
    text = np.concatenate([_TRIPLES[triple] for triple in triples], axis=1)
    for power in np.unique(exponent):
        if power == _HIGHEST:
            continue
        rows = np.flatnonzero(exponent == power)
        shown = text[rows]
        if power >= 0:
            # A whole number keeps a fraction, so that readers do not take it for an integer.
            shown[:, : power + 2] = np.maximum(shown[:, : power + 2], _ZERO)
            table[rows, 1 : power + 2] = shown[:, : power + 1]
            table[rows, power + 2] = _POINT
            table[rows, power + 3 : 11] = shown[:, power + 1 :]
        elif power >= _LEAST_FIXED:
            table[rows, 1 : 2 - power] = np.frombuffer(b"0." + b"0" * (-power - 1), np.uint8)
            table[rows, 2 - power : 11 - power] = shown
        else:
            table[rows, 1] = shown[:, 0]
            table[rows, 2] = np.where(shown[:, 1] != 0, _POINT, 0)
            table[rows, 3:11] = shown[:, 1:]
            table[rows, 11:15] = np.frombuffer(b"e-%02d" % -power, np.uint8)


def render_float(value: float, *, single: bool) -> bytes:
    """Return one number as text; `single` for a float32."""
    short = f"{value:g}"
    if short in _NON_FINITE:
        return _NON_FINITE[short]
    read = float(np.float32(short)) if single else float(short)
    text = short if read == value else f"{value:.{9 if single else 17}g}"
    return (text if "." in text or "e" in text else f"{text}.0").encode()
