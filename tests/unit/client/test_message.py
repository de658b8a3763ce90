"""Protocol-buffer messages by hand, against protobuf's own encoding rules."""

from __future__ import annotations

import numpy as np
import pytest

from modelport.client.message import (
    as_int,
    as_text,
    as_view,
    read_map,
    read_message,
    read_varints,
    write_field,
    write_map,
    write_varint,
)


# From protobuf's documentation of its encoding.
@pytest.mark.parametrize(
    ("number", "data"),
    [
        (0, b"\0"),
        (1, b"\1"),
        (150, b"\x96\x01"),
        (-2, b"\xfe" + b"\xff" * 8 + b"\x01"),
        (2**64 - 1, b"\xff" * 9 + b"\1"),
    ],
)
def test_varints(number, data):
    assert write_varint(number) == data
    assert read_varints([memoryview(data)]).tolist() == [number % 2**64]


def test_fields_of_every_kind():
    data = write_field(1, 150) + write_field(2, "testing") + b"\x1d\0\0\x80\x3f" + b"\x21" + b"\0" * 8
    fields = read_message(data)
    assert fields[1] == [150]
    assert as_text(fields[2][0]) == "testing"
    assert np.frombuffer(as_view(fields[3][0]), "<f4").tolist() == [1.0]
    assert len(as_view(fields[4][0])) == 8


def test_maps_and_unknown_fields():
    data = write_map(3, [("body", b"\0\1"), ("", b"")]) + write_field(99, b"later")
    assert {key: bytes(value) for key, value in read_map(read_message(data)[3]).items()} == {"body": b"\0\1", "": b""}


def test_packed_and_single_numbers_mix():
    numbers = np.array([0, 1, 127, 128, 2**32, 2**63, 2**64 - 1], np.uint64)
    packed = b"".join(write_varint(int(number)) for number in numbers)
    assert read_varints([memoryview(packed), 5]).tolist() == [*numbers.tolist(), 5]
    assert read_varints([]).size == read_varints([memoryview(b"")]).size == 0


def test_negative_numbers():
    assert as_int(read_message(write_field(1, -7))[1][0], signed=True) == -7


@pytest.mark.parametrize(
    "data",
    [b"\x08", b"\x0a\x05ab", b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x0b", b"\x00\x00", b"\x0d\0"],
)
def test_what_is_no_message(data):
    with pytest.raises(ValueError, match=r"number|field"):
        read_message(data)


@pytest.mark.parametrize("data", [b"\x80", b"\x80" * 10 + b"\x01"])
def test_broken_packed_numbers(data):
    with pytest.raises(ValueError, match="number"):
        read_varints([memoryview(data)])


def test_wrong_kinds():
    with pytest.raises(ValueError, match="bytes belong"):
        as_view(1)
    with pytest.raises(ValueError, match="number belongs"):
        as_int(memoryview(b""))
