"""The bytes of a spec file, read within limits, as text."""

from __future__ import annotations

import re
import stat
from pathlib import Path

from modelport.spec.fault import Position, one_line

MAX_BYTES = 2**20
NOT_YAML = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
START_OF_BINARY = (b"PK\x03\x04", b"\x1f\x8b", b"\x89PNG", b"%PDF")
A_SPEC_IS = "a spec is a YAML text; for a model file, `modelport init FILE` writes one"


class UnreadableText(Exception):
    """A file holds no text that YAML could read.

    Attributes:
        position: Where in the text, or None for the file as a whole.
    """

    def __init__(self, message: str, position: Position | None = None) -> None:
        super().__init__(message)
        self.position = position


def read_text(path: Path) -> str:
    """Read a spec's text; a byte order mark is dropped.

    Raises:
        UnreadableText: There is no such file, it cannot be read, is no regular file, is longer than `MAX_BYTES`
            (of which no more is read than that), or holds something else than printable UTF-8 text.
    """
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise UnreadableText("is a directory; name the spec file in it")
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableText("is no regular file (a pipe, a socket or a device); write the spec to a file")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise UnreadableText("no such file; `modelport init MODEL_FILE` writes a spec") from None
    except OSError as error:
        raise UnreadableText(f"cannot be read: {error.strerror or error}") from None
    except ValueError as error:  # a NUL in the path
        raise UnreadableText(f"cannot be read: {error}") from None
    if len(data) > MAX_BYTES:
        size = max(status.st_size, len(data)) / 2**20
        raise UnreadableText(
            f"has {size:.1f} MiB; a spec has at most {MAX_BYTES // 2**20} MiB. Is it the model itself?"
        )
    return _decode(data)


def _decode(data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UnreadableText("is UTF-16 text; save it as UTF-8")
    if b"\0" in data or data.startswith(START_OF_BINARY):
        raise UnreadableText(f"is a binary file; {A_SPEC_IS}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8", errors="replace")
        raise UnreadableText(
            f"is not UTF-8 text here (byte 0x{data[error.start]:02x}); {A_SPEC_IS}. Save it as UTF-8",
            position_at(before, len(before)),
        ) from None
    if wrong := NOT_YAML.search(text):
        raise UnreadableText(
            f"holds the character {one_line(wrong[0])}, which YAML does not allow; remove it",
            position_at(text, wrong.start()),
        )
    return text


def position_at(text: str, index: int) -> Position:
    """Give line and column of the character at ``index``."""
    start = text.rfind("\n", 0, index) + 1
    return Position(text.count("\n", 0, index) + 1, index - start + 1)
