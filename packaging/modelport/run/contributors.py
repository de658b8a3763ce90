"""What takes the room in an image: its layers, and the folders in it."""

from __future__ import annotations

import heapq
import json
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from modelport.artifact import scratch
from modelport.errors import BuildError
from modelport.run.engine import Engine

COUNT = 10
LAYERS = 4  # of which so many are layers; the others are folders and files
LEAST = 0.01  # a layer with a smaller share of the image is not told
EXPORT_S = 1800.0
PACKAGES = {"site-packages", "dist-packages"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Contributor:
    """Something that makes an image large: what it is, for people, and its size in bytes."""

    what: str
    size: int


@dataclass(slots=True)
class _Node:
    """A file or folder of an image, with the size of all below it."""

    path: PurePosixPath
    size: int = 0
    children: dict[str, _Node] = field(default_factory=dict)


def largest_contributors(engine: Engine, reference: str) -> list[Contributor]:
    """Give what an image's size comes from, at most ten, layers with the instruction that made each first.

    buildah alone tells neither: it gives one line that says so.
    """
    if not engine.runs_containers:
        return [Contributor(what="buildah does not tell; build with --engine podman or docker to see", size=0)]
    found = sorted(_layers(engine, reference), key=lambda layer: -layer.size)
    least = sum(layer.size for layer in found) * LEAST
    layers = [layer for layer in found[:LAYERS] if layer.size >= least]
    return [*layers, *largest_folders(_files(engine, reference), COUNT - len(layers))]


def largest_folders(files: Mapping[str, int], count: int) -> list[Contributor]:
    """Give the largest folders and files that do not contain each other, largest first.

    Args:
        files: Sizes in bytes by path.
        count: The most to give.
    """
    root = _tree(files)
    heap = [(-root.size, str(root.path), root)]
    kept: list[_Node] = []
    while heap and len(kept) < count:
        _, _, node = heapq.heappop(heap)
        if _tells(node):
            kept.append(node)
            continue
        for child in node.children.values():
            heapq.heappush(heap, (-child.size, str(child.path), child))
    return [
        Contributor(what=f"{node.path}{'/' if node.children else ''}", size=node.size)
        for node in sorted(kept, key=lambda node: -node.size)
        if node.size
    ]


def _tells(node: _Node) -> bool:
    """Whether naming a folder tells what takes the room, more than naming what is in it."""
    if not node.children or node.path.parent.name in PACKAGES:
        return True  # a file; a Python package, which is what one can do without
    shallow = len(node.path.parts) < 3 or node.path.name in PACKAGES
    return not shallow and max(child.size for child in node.children.values()) * 2 <= node.size


def _tree(files: Mapping[str, int]) -> _Node:
    root = _Node(path=PurePosixPath("/"))
    for path, size in files.items():
        node = root
        node.size += size
        for part in PurePosixPath(path).parts:
            if part == "/":
                continue
            node = node.children.setdefault(part, _Node(path=node.path / part))
            node.size += size
    return root


def _layers(engine: Engine, reference: str) -> Iterable[Contributor]:
    if engine.name == "podman":
        rows = engine.ask_json("history", "--no-trunc", "--format", "json", reference, what="podman history")
    else:
        asked = ("history", "--no-trunc", "--human=false", "--format", "{{json .}}", reference)
        rows = [json.loads(line) for line in engine.ask(*asked, what=f"{engine.name} history").splitlines()]
    for row in rows:
        size = int(row.get("size", row.get("Size", 0)))
        if size:
            yield Contributor(what=f"layer of {_instruction(row['CreatedBy'])}", size=size)


def _instruction(created_by: str) -> str:
    text = created_by.removeprefix("/bin/sh -c ").removeprefix("#(nop) ").strip()
    text = text if text.split(" ")[0].isupper() else f"RUN {text}"
    return text if len(text) <= 100 else text[:99] + "…"


def _files(engine: Engine, reference: str) -> dict[str, int]:
    """Sizes of all files by path: from a container that never runs, so that the image needs no program for it."""
    name = engine.ask("create", "--network=none", reference, "none", what=f"{engine.name} create").strip()
    try:
        with scratch("modelport-export-") as folder:
            file = folder / "image.tar"
            engine.ask("export", "--output", str(file), name, what=f"{engine.name} export", timeout_s=EXPORT_S)
            return _sizes(file)
    finally:
        engine.ask("rm", "--force", name, what=f"{engine.name} rm")


def _sizes(file: Path) -> dict[str, int]:
    try:
        with tarfile.open(file, "r|") as archive:
            return {entry.name: entry.size for entry in archive if entry.isfile()}
    except tarfile.TarError as error:
        raise BuildError(f"the image's files could not be read: {error}") from error
