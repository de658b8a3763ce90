"""Kubernetes' quantities, and Compose's sizes, as numbers."""

from __future__ import annotations

import re

UNITS = {
    "": 1.0,
    "m": 1e-3,
    **{unit: 1000.0**power for power, unit in enumerate("kMGTPE", start=1)},
    **{f"{unit}i": 1024.0**power for power, unit in enumerate("KMGTPE", start=1)},
}
BINARY = {"b": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


def read_quantity(value: object) -> float | None:
    """Read ``500m``, ``1.5Gi``, ``1e3`` or a number; None for what is no quantity."""
    match = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)(?:[eE](\d{1,2}))?([A-Za-z]*)", str(value).strip())
    if isinstance(value, bool) or match is None or match[3] not in UNITS:
        return None
    return float(match[1]) * 10.0 ** int(match[2] or 0) * UNITS[match[3]]


def read_size(value: object) -> float | None:
    """Read Compose's ``512m``, ``1.5gb`` or a number of bytes, in bytes."""
    match = re.fullmatch(r"(\d+(?:\.\d*)?)\s*([bkmgt]?)i?b?", str(value).strip().lower())
    return float(match[1]) * BINARY[match[2] or "b"] if match else None


def read_seconds(value: object) -> float | None:
    """Read Compose's ``1m30s`` or ``500ms``, in seconds."""
    found = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+)ms)?", str(value).strip())
    if found is None or not any(found.groups()):
        return None
    hours, minutes, seconds, millis = (float(part or 0) for part in found.groups())
    return hours * 3600 + minutes * 60 + seconds + millis / 1000


def show_bytes(count: float) -> str:
    """Write a number of bytes for people: ``1.5 GiB``."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= size:
            return f"{count / size:.4g} {unit}"
    return f"{count:g} bytes"
