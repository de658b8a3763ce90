"""Version directories: which are there, and which of them a policy wants served."""

from __future__ import annotations

import logging
import re
from pathlib import Path

from modelport_tfserving.server.configs import ModelConfig, VersionPolicy

_log = logging.getLogger(__name__)
MAX_VERSION = 2**63 - 1
_SAVED_MODEL_FILES = ("saved_model.pb", "saved_model.pbtxt")
TFLITE_FILE = "model.tflite"


def list_versions(base_path: Path) -> dict[int, Path]:
    """Return the version directories below a base path, by number.

    A version is a directory whose name is a whole number; other names are not looked at. Leading zeros are taken
    as the real server takes them: `00000123` is version 123; of two names of one version the last counts. Raises
    OSError when the base path cannot be read.
    """
    found: dict[int, Path] = {}
    for entry in sorted(base_path.iterdir()):
        if re.fullmatch(r"[0-9]+", entry.name) and int(entry.name) <= MAX_VERSION and entry.is_dir():
            if (other := found.get(int(entry.name))) is not None:
                _log.warning(
                    "Duplicate version directories detected. Version %s will be loaded from %s, %s will be ignored.",
                    int(entry.name),
                    entry.name,
                    other.name,
                )
            found[int(entry.name)] = entry
    return found


def choose_versions(config: ModelConfig, found: dict[int, Path]) -> dict[int, Path]:
    """Return those of the found versions that the model's policy wants served, the highest first."""
    match config.policy:
        case VersionPolicy.ALL:
            wanted = set(found)
        case VersionPolicy.SPECIFIC:
            wanted = set(config.versions)
        case VersionPolicy.LATEST:
            wanted = set(sorted(found)[-config.num_versions :])
    return {version: found[version] for version in sorted(wanted, reverse=True) if version in found}


def has_saved_model(path: Path) -> bool:
    """Tell whether a version directory holds a SavedModel's graph."""
    return any((path / name).is_file() for name in _SAVED_MODEL_FILES)


def has_model(path: Path) -> bool:
    """Tell whether a version directory holds a model yet (a copy may still be under way)."""
    return has_saved_model(path) or (path / TFLITE_FILE).is_file()
