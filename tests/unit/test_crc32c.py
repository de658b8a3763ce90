"""Castagnoli's CRC."""

from __future__ import annotations

import numpy as np
import pytest

from modelport.crc32c import crc32c


def test_known_check_string() -> None:
    assert crc32c(b"123456789") == 0xE3069283


@pytest.mark.parametrize("size", [0, 4095, 4096, 12_289])
def test_sums_in_lanes_are_those_of_a_byte_after_the_other(size: int) -> None:
    data = np.random.default_rng(size).bytes(size)
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    assert crc32c(data) == crc ^ 0xFFFFFFFF
