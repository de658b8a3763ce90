"""Castagnoli's CRC, which TensorFlow's files carry; without TensorFlow."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

Sums = np.ndarray[Any, Any]

_LANE = 4096  # bytes that are summed side by side with others
_CHUNK = 1 << 26
_BITS = (0, 8, 16, 24)


def masked_crc32c(data: bytes) -> int:
    """Give the CRC as TensorFlow stores it: turned, and moved by a constant."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def crc32c(data: bytes) -> int:
    """Give the CRC: lanes of 4 KiB are summed side by side, and their sums joined."""
    crc = 0xFFFFFFFF
    body = len(data) // _LANE * _LANE
    if body:
        low, high, shift = _wide()
    for start in range(0, body, _CHUNK):
        words = np.frombuffer(data, "<u4", (min(start + _CHUNK, body) - start) // 4, start).reshape(-1, _LANE // 4)
        sums = np.zeros(len(words), np.uint32)
        for column in np.ascontiguousarray(words.T):
            sums ^= column
            sums = low[sums & 0xFFFF] ^ high[sums >> 16]
        for lane in sums.tolist():
            first, second, third, fourth = (part[crc >> bits & 0xFF] for part, bits in zip(shift, _BITS, strict=True))
            crc = first ^ second ^ third ^ fourth ^ lane
    table = _bytewise()
    for byte in data[body:]:
        crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


@cache
def _bytewise() -> list[int]:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, table >> 1 ^ np.uint32(0x82F63B78), table >> 1)
    return table.tolist()


@cache
def _wide() -> tuple[Sums, Sums, list[list[int]]]:
    """Give what the halves of one word, and each byte of a sum behind which a lane of zeros comes, become."""
    table = np.array(_bytewise(), np.uint32)

    def step(sums: Sums, count: int) -> Sums:
        for _ in range(count):
            sums = table[sums & 0xFF] ^ sums >> 8
        return sums

    half = np.arange(1 << 16, dtype=np.uint32)
    shift = [step(np.arange(256, dtype=np.uint32) << bits, _LANE).tolist() for bits in _BITS]
    return step(half, 4), step(half << 16, 4), shift
