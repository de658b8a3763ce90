"""Protobuf's wire format, read without a schema: enough to look into a SavedModel without importing TensorFlow."""

from __future__ import annotations

from collections import defaultdict

Field = int | bytes


def read_fields(data: bytes | memoryview) -> dict[int, list[Field]]:
    """Read the fields of one message: their values by number, in order.

    Numbers come as unsigned integers, everything of a length as bytes.

    Raises:
        ValueError: This is no message, or a truncated one.
    """
    view = memoryview(data)
    fields: dict[int, list[Field]] = defaultdict(list)
    position = 0
    while position < len(view):
        key, position = read_varint(view, position)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, position = read_varint(view, position)
            fields[number].append(value)
            continue
        if kind == 2:
            length, position = read_varint(view, position)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise ValueError(f"wire type {kind} at byte {position}")
        if position + length > len(view):
            raise ValueError(f"field {number} ends {position + length - len(view)} bytes behind the end of the data")
        fields[number].append(bytes(view[position : position + length]))
        position += length
    return fields


def signed(value: Field) -> int:
    """Give a varint as the signed 64-bit integer that it stands for."""
    number = int(value) if isinstance(value, int) else 0
    return number - (1 << 64) if number >= 1 << 63 else number


def messages(fields: dict[int, list[Field]], number: int) -> list[bytes]:
    """Give the fields of ``number`` that are messages or text."""
    return [value for value in fields.get(number, ()) if isinstance(value, bytes)]


def read_varint(view: bytes | memoryview, position: int) -> tuple[int, int]:
    """Read an unsigned integer; return it and where it ends.

    Raises:
        ValueError: It does not end.
    """
    value = shift = 0
    while True:
        if position >= len(view) or shift > 63:
            raise ValueError(f"a number at byte {position} does not end")
        byte = view[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
