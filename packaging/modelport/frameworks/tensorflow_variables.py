"""The values of a SavedModel's variables, held against the checksums beside them; TensorFlow is not imported.

The index is a sorted string table (that of LevelDB, uncompressed) of `BundleEntryProto` by tensor name. A server finds
damage when it loads the model; here it is found before anything is built.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from modelport.crc32c import masked_crc32c
from modelport.errors import SpecError
from modelport.frameworks.wire import messages, read_fields, read_varint, signed

_MAGIC = 0xDB4775248B80FB57
_FOOTER, _TRAILER = 48, 5
_STRING = 7  # tensorflow.DataType


def check_variables(folder: Path) -> None:
    """Compare every tensor with its checksum.

    Args:
        folder: ``variables`` of a SavedModel, all its files there.

    Raises:
        SpecError: One differs, is cut off, or the index itself is damaged.
    """
    index = folder / "variables.index"
    try:
        entries = dict(_read_table(index.read_bytes()))
        header = read_fields(entries.pop(b""))
        shards = max(1, int(header.get(1, [1])[0]))
        for name, value in entries.items():
            _check_entry(folder, shards, name.decode("utf-8", "replace"), read_fields(value))
    except (ValueError, LookupError, struct.error) as error:
        raise SpecError(f"model.source: {index}: damaged inside ({error}); copy the whole folder again") from error


def _check_entry(folder: Path, shards: int, name: str, entry: dict[int, Any]) -> None:
    if 7 in entry:  # stored in slices, which have entries of their own
        return
    shard, offset, size = (int(entry.get(number, [0])[0]) for number in (3, 4, 5))
    file = folder / f"variables.data-{shard:05d}-of-{shards:05d}"
    with file.open("rb") as stream:
        stream.seek(offset)
        data = stream.read(size)
    whole = len(data) == size
    if whole and entry.get(1, [0])[0] == _STRING:
        shape = read_fields(messages(entry, 2)[0]) if 2 in entry else {}
        count = math.prod(signed(read_fields(dim).get(1, [0])[0]) for dim in messages(shape, 2))
        data = _summed_strings(data, count)
    if not whole or struct.pack("<I", masked_crc32c(data)) != entry.get(6, [bytes(4)])[0]:
        raise SpecError(
            f"model.source: {file}: damaged inside: the values of {name!r} "
            f"{'do not have the checksum that they were written with' if whole else 'are cut off'}; "
            "copy the whole folder again, or save the model anew"
        )


def _summed_strings(data: bytes, count: int) -> bytes:
    """Give the bytes over which strings are summed: their lengths at full width, those lengths' sum, the strings."""
    lengths, position = [], 0
    for _ in range(count):
        length, position = read_varint(data, position)
        lengths.append(struct.pack("<I", length))
    return b"".join(lengths) + data[position:]


def _read_table(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield keys and values of a sorted string table."""
    if len(data) < _FOOTER or struct.unpack("<Q", data[-8:])[0] != _MAGIC:
        raise ValueError("it does not end as a table of tensors does")
    _, position = read_varint(data, len(data) - _FOOTER)
    _, position = read_varint(data, position)
    for _, handle in _read_block(data, *_read_handle(data, position)):
        yield from _read_block(data, *_read_handle(handle, 0))


def _read_handle(data: bytes, position: int) -> tuple[int, int]:
    offset, position = read_varint(data, position)
    size, _ = read_varint(data, position)
    return offset, size


def _read_block(data: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    block, trailer = data[offset : offset + size], data[offset + size : offset + size + _TRAILER]
    kind, stored = struct.unpack("<BI", trailer)
    if masked_crc32c(block + trailer[:1]) != stored:
        raise ValueError("a block does not have the checksum that it was written with")
    if kind:
        raise ValueError("its blocks are compressed")
    end = size - 4 - 4 * struct.unpack("<I", block[-4:])[0]
    position, key = 0, b""
    while position < end:
        shared, position = read_varint(block, position)
        added, position = read_varint(block, position)
        length, position = read_varint(block, position)
        key = key[:shared] + block[position : position + added]
        position += added
        yield key, block[position : position + length]
        position += length
