"""Checksums that a model's file carries, held against its contents: PyTorch itself reads past a flipped bit."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

from modelport.errors import SpecError


def check_archive(path: Path) -> None:
    """Compare every member of a zip archive with its CRC-32.

    Raises:
        SpecError: One differs.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
    except zlib.error as error:
        raise SpecError(f"model.source: {path}: damaged inside ({error}); write or copy it again") from error
    if bad is not None:
        raise SpecError(
            f"model.source: {path}: damaged inside: {bad!r} does not have the checksum that it was written with; "
            "write or copy it again (and without torch.serialization.set_crc32_options(False), which leaves sums out)"
        )
