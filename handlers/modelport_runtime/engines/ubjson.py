"""Whether UBJSON is whole: XGBoost ends the whole process on some files that were cut off."""

from __future__ import annotations

import struct

_SIZES = {b"Z": 0, b"N": 0, b"T": 0, b"F": 0, b"i": 1, b"U": 1, b"C": 1, b"I": 2, b"l": 4, b"d": 4, b"L": 8, b"D": 8}
_WHOLE = {b"i": ">b", b"U": ">B", b"I": ">h", b"l": ">i", b"L": ">q"}
_DEEPEST = 64


def check_ubjson(data: bytes) -> None:
    """Walk over one value, without keeping anything.

    Raises:
        ValueError: It ends too early, or holds what UBJSON has no mark for.
    """
    _Walk(data).skip_value(0)


class _Walk:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def skip_value(self, depth: int, mark: bytes | None = None) -> None:
        mark = mark or self._take(1)
        if depth > _DEEPEST:
            raise ValueError("its values are nested too deeply")
        if mark in _SIZES:
            self._take(_SIZES[mark])
        elif mark in (b"S", b"H"):
            self._take(self._length())
        elif mark == b"{":
            while not self._met(b"}"):
                self._take(self._length())
                self.skip_value(depth + 1)
        elif mark == b"[":
            self._skip_array(depth)
        else:
            raise ValueError(f"there is a mark {mark!r} at byte {self._at - 1}, which UBJSON does not have")

    def _skip_array(self, depth: int) -> None:
        kind = self._take(1) if self._met(b"$") else None
        if not self._met(b"#"):
            while not self._met(b"]"):
                self.skip_value(depth + 1)
            return
        count = self._length()
        if kind in _SIZES:
            self._take(count * _SIZES[kind])
            return
        for _ in range(count):
            self.skip_value(depth + 1, kind)

    def _length(self) -> int:
        mark = self._take(1)
        if mark not in _WHOLE:
            raise ValueError(f"there is a mark {mark!r} at byte {self._at - 1} where a length should stand")
        (length,) = struct.unpack(_WHOLE[mark], self._take(_SIZES[mark]))
        return int(length)

    def _met(self, mark: bytes) -> bool:
        """Step over a mark if it is what comes next."""
        met = self._data[self._at : self._at + 1] == mark
        self._at += met
        return met

    def _take(self, count: int) -> bytes:
        taken = self._data[self._at : self._at + count]
        if count < 0 or len(taken) < count:
            raise ValueError(f"it ends after {len(self._data)} bytes, inside a value: it was cut off")
        self._at += count
        return taken
