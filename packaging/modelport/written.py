"""Generated files among a user's own: written as one set, and never over a change that somebody made."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from modelport.artifact import set_modes, staging, write_files
from modelport.errors import BuildError, SpecError
from modelport.plan import PlannedFile
from modelport.signals import postponed

RECORD = ".modelport.json"  # which files of a folder were generated, for what, and their digests


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What writing a set did; paths relative to the folder, sorted.

    Attributes:
        written: New files and files with other bytes than before.
        unchanged: Files that had these bytes already.
        removed: Files of an earlier set that this one no longer has.
    """

    written: tuple[str, ...]
    unchanged: tuple[str, ...]
    removed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Known:
    """One line of the record: what a file was generated for, and its digest."""

    owner: str
    sha256: str


def write_set(files: Iterable[PlannedFile], folder: Path, owner: str, *, force: bool = False) -> Changes:
    """Write all files, or none; remove those that an earlier set of the same owner had and this one has not.

    Args:
        files: What to write, by path relative to ``folder``.
        folder: Where; it may hold other files, which are left alone.
        owner: What the files are for, a target and a model; sets of several owners may share a folder.
        force: Overwrite and remove files that were changed since they were generated, too, and another owner's.

    Raises:
        SpecError: A file was changed by hand, is another owner's, or was not generated at all, and ``force`` is not
            given.
        BuildError: The folder cannot be written; what stood there before still does.
    """
    created = not folder.exists()
    try:
        with staging(folder / RECORD) as aside:
            return _write(tuple(files), folder, owner, aside, force=force)
    finally:
        if created and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _write(files: tuple[PlannedFile, ...], folder: Path, owner: str, aside: Path, *, force: bool) -> Changes:
    new = aside / "new"
    new.mkdir()
    write_files(files, new)
    known = _read_record(folder)
    wanted = {file.path: _digest(new / file.path) for file in files}
    stale = {path: known[path] for path in known if known[path].owner == owner and path not in wanted}
    present = {path: _digest(folder / path) for path in (*wanted, *stale) if _stands(folder / path)}
    _refuse_folders(folder, present)
    if not force:
        _refuse_changed(folder, wanted, known, present)
        _refuse_owned(folder, owner, wanted, known, present)
    changed = {path for path in wanted if present.get(path) != wanted[path]}
    removed = stale.keys() & present.keys()
    record = {path: entry for path, entry in known.items() if path not in stale}
    record |= {path: _Known(owner, sha256) for path, sha256 in wanted.items()}
    _write_record(new / RECORD, record)
    set_modes(new)
    _move(new, folder, [*sorted(changed), RECORD], sorted(removed), aside / "old")
    return Changes(
        written=tuple(sorted(changed)),
        unchanged=tuple(sorted(wanted.keys() - changed)),
        removed=tuple(sorted(removed)),
    )


def _refuse_folders(folder: Path, present: Iterable[str]) -> None:
    for path in sorted(present):
        if (folder / path).is_dir():
            raise SpecError(f"{folder / path}: is a folder, and a file of this name is to be written; move it away")


def _refuse_changed(
    folder: Path, wanted: Mapping[str, str], known: Mapping[str, _Known], present: Mapping[str, str]
) -> None:
    edited, foreign = [], []
    for path, sha256 in present.items():
        if sha256 == wanted.get(path):
            continue
        if path not in known:
            foreign.append(path)
        elif sha256 != known[path].sha256:
            edited.append(path)
    for paths, what in ((edited, "changed since modelport wrote it"), (foreign, "not written by modelport")):
        if paths:
            raise SpecError(
                f"{folder}: {', '.join(sorted(paths))}: {what}; nothing was written. "
                "Choose another folder with -o and compare, or let it be overwritten with --force"
            )


def _refuse_owned(
    folder: Path, owner: str, wanted: Mapping[str, str], known: Mapping[str, _Known], present: Mapping[str, str]
) -> None:
    for path in sorted(present.keys() & wanted.keys() & known.keys()):
        if known[path].owner != owner and present[path] != wanted[path]:
            raise SpecError(
                f"{folder}: {path}: was written for {known[path].owner}; nothing was written. Choose another folder "
                "with -o, or let it be overwritten with --force"
            )


def _move(new: Path, folder: Path, paths: Iterable[str], removed: Iterable[str], old: Path) -> None:
    """Put files in place; on any fault put back what was there. A signal is answered afterwards."""
    undo: list[tuple[Path, Path]] = []  # (where it is, where it was)
    made: list[Path] = []
    with postponed():
        try:
            for path in (*removed, *paths):
                target = folder / path
                if _stands(target):
                    (old / path).parent.mkdir(parents=True, exist_ok=True)
                    target.rename(old / path)
                    undo.append((old / path, target))
                if (new / path).exists():
                    target.parent.mkdir(parents=True, exist_ok=True)
                    (new / path).rename(target)
                    made.append(target)
        except OSError as error:
            for target in made:
                target.unlink()
            for source, target in undo:
                source.rename(target)
            raise BuildError(
                f"{error.filename or folder}: {error.strerror or error}; what stood in {folder} before still does"
            ) from error
        for path in removed:
            _remove_empty(folder, PurePosixPath(path).parent)


def _remove_empty(folder: Path, below: PurePosixPath) -> None:
    for parent in (below, *below.parents):
        if parent != PurePosixPath() and not any((folder / parent).iterdir()):
            (folder / parent).rmdir()


def _read_record(folder: Path) -> dict[str, _Known]:
    file = folder / RECORD
    if not file.exists():
        return {}
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))["files"]
        known = {str(path): _Known(str(entry["for"]), str(entry["sha256"])) for path, entry in entries.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SpecError(
            f"{file}: is no record of generated files ({error}); remove it, and let the files be overwritten with "
            "--force"
        ) from error
    for path in known:
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            raise SpecError(f"{file}: names {path}, which lies outside of {folder}; remove the record")
    return known


def _write_record(file: Path, record: Mapping[str, _Known]) -> None:
    entries = {path: {"for": entry.owner, "sha256": entry.sha256} for path, entry in sorted(record.items())}
    file.write_text(json.dumps({"modelport": 1, "files": entries}, indent=2) + "\n", encoding="utf-8")


def _stands(path: Path) -> bool:
    return os.path.lexists(path)


def _digest(path: Path) -> str:
    """Digest what stands at a path; a folder or a link where a file should be has none, and so is a change."""
    if path.is_symlink() or not path.is_file():
        return ""
    return hashlib.sha256(path.read_bytes()).hexdigest()
