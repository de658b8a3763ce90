"""Every manifest below a folder: what belongs together, and what is wrong with it."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from modelport.errors import SpecError
from modelport_manifests.check.compose import NAMES as COMPOSE
from modelport_manifests.check.compose import check_compose
from modelport_manifests.check.fields import check_fields, check_required
from modelport_manifests.check.finding import Finding, Place, error, note
from modelport_manifests.check.kserve import check_kserve
from modelport_manifests.check.kustomize import NAMES as KUSTOMIZATIONS
from modelport_manifests.check.kustomize import build_kustomization
from modelport_manifests.check.objects import Object, World
from modelport_manifests.check.pods import check_pods
from modelport_manifests.check.reading import MAX_BYTES, Table, read_yaml, tables
from modelport_manifests.check.rights import check_rights
from modelport_manifests.check.running import check_running
from modelport_manifests.check.scaling import check_scaling
from modelport_manifests.check.selecting import check_selecting, check_twice
from modelport_manifests.check.servers import check_configurations, checker_of, line_at
from modelport_manifests.check.storage import check_storage
from modelport_manifests.check.values import check_values

MAX_FILES = 5_000
SKIPPED = {".git", ".venv", "node_modules", "__pycache__"}
CHART = "Chart.yaml"
RULES = (
    check_required,
    check_values,
    check_rights,
    check_storage,
    check_pods,
    check_running,
    check_selecting,
    check_scaling,
    check_kserve,
    check_configurations,
)


def check_folder(path: Path) -> tuple[Finding, ...]:
    """Check every manifest below a folder; nothing is changed and nothing is asked of a cluster.

    Returns:
        What is wrong, by file and line.

    Raises:
        SpecError: There is no such folder, or no manifest in it.
    """
    files = _read_files(path)
    documents: dict[str, list[Any]] = {}
    findings: list[Finding] = []
    for name in sorted(files):
        if _is_yaml(name):
            documents[name], found = read_yaml(name, files[name])
            findings.extend(found)
    findings.extend(_check_texts(files))
    findings.extend(_check_documents(documents))
    return tuple(sorted(set(findings), key=lambda f: (f.file, f.line, f.column or 0, f.code, f.message)))


def _read_files(path: Path) -> dict[str, bytes]:
    """Read every file that may matter, by its path relative to the folder; templates of charts are left out."""
    if not path.is_dir():
        raise SpecError(f"{path}: there is no such folder; `modelport manifests SPEC -o DIR` writes one")
    wanted = list(_walk(path))
    if len(wanted) > MAX_FILES:
        raise SpecError(f"{path}: holds more than {MAX_FILES} manifests; name the folder of one deployment")
    files: dict[str, bytes] = {}
    for file in wanted:
        with file.open("rb") as stream:
            files[file.relative_to(path).as_posix()] = stream.read(MAX_BYTES + 1)
    charts = {posixpath.dirname(name) for name in files if posixpath.basename(name) == CHART}
    templates = tuple(posixpath.join(chart, "templates", "") for chart in charts)
    kept = {name: data for name, data in files.items() if not name.startswith(templates)} if templates else files
    if not kept:
        raise SpecError(f"{path}: holds no manifest (no .yaml or .yml file)")
    return kept


def _walk(path: Path) -> Iterator[Path]:
    for folder, inner, names in os.walk(path):
        inner[:] = sorted(set(inner) - SKIPPED)
        for name in sorted(names):
            file = Path(folder, name)
            if (_is_yaml(name) or checker_of(name)) and file.is_file():
                yield file


def _is_yaml(name: str) -> bool:
    return name.endswith((".yaml", ".yml")) or posixpath.basename(name) in KUSTOMIZATIONS


def _check_texts(files: Mapping[str, bytes]) -> Iterator[Finding]:
    """Check the servers' configuration files that stand on their own, and name the charts."""
    for name, data in files.items():
        check = checker_of(posixpath.basename(name))
        if check is not None:
            content = data.decode("utf-8", errors="replace")
            yield from check(content, line_at(name, 1))
        if posixpath.basename(name) == CHART:
            message = (
                "the chart's templates were not checked, since only Helm can render them: check what "
                "`helm template . --output-dir DIR` writes"
            )
            yield note(Place(name, 1), "chart-not-rendered", message)


def _check_documents(documents: Mapping[str, list[Any]]) -> Iterator[Finding]:
    """Check what was read: each kustomization by itself, and all that belongs to none together."""
    kustomizations = [name for name in documents if posixpath.basename(name) in KUSTOMIZATIONS]
    taken = set(kustomizations)
    around = tuple(thing for items in documents.values() for thing in _objects(items))
    for name in kustomizations:
        built = build_kustomization(documents, name)
        taken |= built.files
        yield from built.findings
        yield from _check_world(World(tuple(built.objects), built.whole, around))
        if built.whole and not built.objects:
            yield error(Place(name, 1), "kustomize-empty", "makes nothing: it names no resources")
    plain = {name: items for name, items in documents.items() if name not in taken}
    whole = all(items for items in plain.values())
    world = World(tuple(thing for name in plain for thing in _objects(plain[name])), whole)
    yield from _check_world(world)
    for folder in sorted({posixpath.dirname(name) for name in plain}):
        together = (plain[name] for name in plain if posixpath.dirname(name) == folder)
        yield from check_twice(World(tuple(thing for items in together for thing in _objects(items))))
    yield from check_fields(around)
    for name, items in documents.items():
        for item in items:
            if isinstance(item, Table) and COMPOSE.fullmatch(posixpath.basename(name)):
                yield from check_compose(item)


def _check_world(world: World) -> Iterator[Finding]:
    for rule in RULES:
        yield from rule(world)


def _objects(items: Iterable[Any]) -> Iterator[Object]:
    """Give the objects among documents, those in lists as well; a kustomization is none."""
    for item in items:
        thing = Object(item) if isinstance(item, Table) else None
        if thing is None or not thing.kind or thing.group.startswith("kustomize."):
            continue
        if thing.kind.endswith("List") and "items" in thing.data:
            yield from (Object(inner) for inner in tables(thing.data, "items"))
        else:
            yield thing
