"""Spec versions as the positive integers that TensorFlow Serving names its folders by.

``MAJOR[.MINOR[.PATCH]]`` becomes ``MAJOR · 1 000 000 + MINOR · 1 000 + PATCH``, so that integers are ordered as the
versions are: ``1`` → 1000000, ``1.2.0`` → 1002000, ``1.10`` → 1010000, ``2`` → 2000000. One rule for all lengths: were
``3`` to stay 3, it would come before ``1.2.0``.
"""

from __future__ import annotations

import re

from modelport.errors import SpecError

PART_LIMIT = 1000
LARGEST = 2**63 - 1
_VERSION = re.compile(r"v?(\d+)(?:\.(\d+))?(?:\.(\d+))?")


def integer_version(version: str) -> int:
    """Give the integer for a spec's version.

    Raises:
        SpecError: It has more than numbers in it, a MINOR or PATCH of 1000 or more, or is 0.
    """
    match = _VERSION.fullmatch(version)
    if match is None:
        raise _refusal(version, "it is not MAJOR, MAJOR.MINOR or MAJOR.MINOR.PATCH in digits")
    major, minor, patch = (int(part or 0) for part in match.groups())
    if minor >= PART_LIMIT or patch >= PART_LIMIT:
        raise _refusal(version, "MINOR and PATCH must be below 1000, or the order would be lost")
    number = (major * PART_LIMIT + minor) * PART_LIMIT + patch
    if not 0 < number <= LARGEST:
        raise _refusal(version, "it must be above 0 and fit into 63 bits")
    return number


def _refusal(version: str, reason: str) -> SpecError:
    return SpecError(
        f"version: {version!r} has no place among TensorFlow Serving's integer versions: {reason}. "
        "Change it, or set the integer yourself with backends.tfserving.version"
    )
