"""Files that a spec names: are they there?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from modelport.errors import SpecError
from modelport.spec.fault import Fault, Position, one_line, render_key, show
from modelport.spec.node import Node, find
from modelport.spec.schema import ModelSpec, TransformSection

SAMPLES = (".npz", ".json", ".parquet")
Key = tuple[str, ...]
Check = Callable[[], object]


def find_missing_files(spec: ModelSpec, root: Node, path: Path) -> list[Fault]:
    """Look for every file that a spec names; open none.

    Args:
        spec: The spec.
        root: The tree that it was read from, for positions.
        path: The spec's file; relative paths start in its folder.

    Returns:
        One fault for each file that is not there, or that is empty.
    """
    faults = []
    for key, check in _checks(spec, path.parent):
        try:
            check()
        except (SpecError, OSError) as error:
            found = find(root, key)
            name = render_key(found.path)
            message = one_line(str(error)).removeprefix(f"{render_key(key)}: ")
            faults.append(Fault(file=one_line(str(path)), position=found.position, key=name, message=message))
    return sorted(faults, key=lambda fault: fault.position or Position(0, 0))


def _checks(spec: ModelSpec, folder: Path) -> Iterator[tuple[Key, Check]]:
    yield ("model", "source"), lambda: _check_source(spec, folder)
    if (entrypoint := spec.model.entrypoint) is not None:
        yield ("model", "entrypoint"), lambda: _check_code(entrypoint, folder)
    if (samples := spec.samples) is not None:
        yield ("samples",), lambda: _check_samples(samples, folder)
    if isinstance(spec.transform, TransformSection):
        code = spec.transform.source
        yield ("transform", "source"), lambda: _check_code(code, folder)
    elif (transform := spec.transform) is not None:
        yield ("transform",), lambda: _check_code(transform, folder)


def _check_source(spec: ModelSpec, folder: Path) -> None:
    from modelport.sources import locate_source

    locate_source(spec.model.source, folder)


def _check_code(reference: str, folder: Path) -> None:
    from modelport_runtime.code import locate_module

    try:
        locate_module(reference.rpartition(":")[0], folder)
    except FileNotFoundError as error:
        raise SpecError(f"{error}; it is looked for from the spec's folder") from None


def _check_samples(samples: str, folder: Path) -> None:
    from modelport.sources import check_present

    if Path(samples).suffix.lower() not in SAMPLES:
        raise SpecError(f"must be a file of {', '.join(SAMPLES)}, got {show(samples)}")
    check_present(folder / samples, "samples")
    if (folder / samples).is_dir():
        raise SpecError(f"{folder / samples}: is a folder; name the file in it")
