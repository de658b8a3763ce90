"""TensorFlow, imported when it is first used: knowing which ops can be lowered must not cost its eight seconds."""

from __future__ import annotations

import importlib
from typing import Any


class _LazyModule:
    """Stands for a module and imports it at the first attribute that is asked for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        found = getattr(importlib.import_module(self._name), attribute)
        setattr(self, attribute, found)
        return found


tf: Any = _LazyModule("tensorflow")
