"""Protocol-buffer messages by hand: the few fields that model servers' protocols need.

Written out here because the generated classes of ``tensorflow-serving-api`` need TensorFlow, and two sets of
generated classes in one process clash. What a message is: pairs of a field number and a value; unknown numbers are
skipped, as the format wants it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
Value = int | bytes | memoryview


class Malformed(ValueError):
    """Bytes that are not the message that they should be."""


def write_varint(value: int) -> bytes:
    """Write an integer in groups of seven bits; a negative one as its 64-bit two's complement."""
    value &= 0xFFFF_FFFF_FFFF_FFFF
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)


def write_field(number: int, value: int | str | bytes | memoryview) -> bytes:
    """Write one field: an integer as a varint, everything else with its length before it."""
    if isinstance(value, int):
        return write_varint(number << 3 | VARINT) + write_varint(value)
    data = value.encode() if isinstance(value, str) else value
    return b"".join((write_varint(number << 3 | BYTES), write_varint(len(data)), data))


def write_map(number: int, entries: Iterable[tuple[str, bytes]]) -> bytes:
    """Write a map from text to bytes or messages."""
    return b"".join(write_field(number, write_field(1, key) + write_field(2, value)) for key, value in entries)


def read_varint(data: memoryview, at: int) -> tuple[int, int]:
    """Give the varint at a position, and the position behind it.

    Raises:
        Malformed: There is none.
    """
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at
    raise Malformed("a number is cut off or too long")


def read_fields(data: bytes | memoryview) -> Iterator[tuple[int, Value]]:
    """Give all fields of a message as number and value: an int for varints, a view for everything else.

    Raises:
        Malformed: It is no message.
    """
    view = memoryview(data)
    at = 0
    while at < len(view):
        key, at = read_varint(view, at)
        number, kind = key >> 3, key & 7
        if number == 0:
            raise Malformed("a field has the number 0")
        if kind == VARINT:
            value, at = read_varint(view, at)
            yield number, value
            continue
        if kind == BYTES:
            size, at = read_varint(view, at)
        elif kind in {FIXED64, FIXED32}:
            size = 8 if kind == FIXED64 else 4
        else:
            raise Malformed(f"a field has the unknown wire type {kind}")
        if at + size > len(view):
            raise Malformed("a field is cut off")
        yield number, view[at : at + size]
        at += size


def read_message(data: bytes | memoryview) -> dict[int, list[Value]]:
    """Give all values by field number, in their order.

    Raises:
        Malformed: It is no message.
    """
    fields: dict[int, list[Value]] = {}
    for number, value in read_fields(data):
        fields.setdefault(number, []).append(value)
    return fields


def read_map(entries: Iterable[Value]) -> dict[str, memoryview]:
    """Read a map from text to bytes or messages.

    Raises:
        Malformed: One of the entries is none.
    """
    found: dict[str, memoryview] = {}
    for entry in entries:
        fields = read_message(as_view(entry))
        found[as_text(fields.get(1, [b""])[-1])] = as_view(fields.get(2, [b""])[-1])
    return found


def as_view(value: Value) -> memoryview:
    """Give a field's bytes.

    Raises:
        Malformed: The field is a number.
    """
    if isinstance(value, int):
        raise Malformed("a field holds a number where bytes belong")
    return memoryview(value)


def as_text(value: Value) -> str:
    """Give a field's text.

    Raises:
        ValueError: It is no UTF-8.
    """
    return bytes(as_view(value)).decode()


def as_int(value: Value, *, signed: bool = False) -> int:
    """Give a field's integer.

    Raises:
        Malformed: The field is no varint.
    """
    if not isinstance(value, int):
        raise Malformed("a field holds bytes where a number belongs")
    return value - 2**64 if signed and value >= 2**63 else value


def read_varints(values: Iterable[Value]) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """Read a repeated integer field, packed or not, without a loop over the numbers.

    Raises:
        Malformed: A number is cut off.
    """
    import numpy as np

    parts = [np.array([value], np.uint64) if isinstance(value, int) else _unpack(value) for value in values]
    return np.concatenate(parts) if parts else np.empty(0, np.uint64)


def _unpack(packed: bytes | memoryview) -> np.ndarray[Any, np.dtype[np.uint64]]:
    import numpy as np

    data = np.frombuffer(packed, np.uint8)
    if not data.size:
        return np.empty(0, np.uint64)
    ends = np.flatnonzero(data < 0x80)
    if not ends.size or ends[-1] != data.size - 1:
        raise Malformed("a number is cut off")
    starts = np.concatenate(([0], ends[:-1] + 1))
    lengths = ends - starts + 1
    if lengths.max() > 10:
        raise Malformed("a number is too long")
    numbers = np.zeros(ends.size, np.uint64)
    for place in range(int(lengths.max())):  # at most ten rounds, however many numbers there are
        there = lengths > place
        groups = (data[starts[there] + place] & 0x7F).astype(np.uint64)
        numbers[there] |= groups << np.uint64(7 * place)
    return numbers
