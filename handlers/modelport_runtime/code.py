"""Python that rides beside a model: the class of a state dict, a transform."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any


def load_class(reference: str, folder: Path) -> Any:
    """Give a class of a Python file below ``folder``.

    Args:
        reference: ``module:Class``, ``package.module:Class`` or ``file.py:Class``.
        folder: Where the code lies; modules beside it can be imported by it.

    Raises:
        FileNotFoundError: The file is not there.
        AttributeError: It has no such class.
        Exception: Whatever the code raises when it is imported.
    """
    module_name, _, class_name = reference.rpartition(":")
    path = locate_module(module_name, folder)
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    dotted = not module_name.endswith(".py") and "." in module_name
    module = _import_dotted(module_name, folder) if dotted else _import_file(path)
    if not hasattr(module, class_name):
        raise AttributeError(f"{path.name} has no class {class_name!r}")
    return getattr(module, class_name)


def locate_module(module_name: str, folder: Path) -> Path:
    """Give the file of ``module``, ``package.module`` or ``file.py`` below ``folder``.

    Raises:
        FileNotFoundError: It is not there.
    """
    relative = module_name if module_name.endswith(".py") else module_name.replace(".", "/") + ".py"
    for candidate in (folder / relative, folder / module_name.replace(".", "/") / "__init__.py"):
        if candidate.is_file():
            return candidate
    raise FileNotFoundError(f"{folder / relative}: no such file")


def _import_file(path: Path) -> ModuleType:
    # A name of its own: two models in one process may both have a net.py.
    name = f"{path.stem}_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(f"{path}: no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _import_dotted(name: str, folder: Path) -> ModuleType:
    root = name.partition(".")[0]
    known = getattr(sys.modules.get(root), "__file__", None)
    if known is not None and not Path(known).resolve().is_relative_to(folder.resolve()):
        for loaded in [key for key in sys.modules if key == root or key.startswith(root + ".")]:
            del sys.modules[loaded]
    importlib.invalidate_caches()
    return importlib.import_module(name)
