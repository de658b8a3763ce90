"""Writing artifacts: planned files to bytes, whole folders moved into place, the same inputs to the same bytes."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from modelport.errors import BuildError, SpecError
from modelport.plan import Archived, Content, Converted, Copied, Generated, PlannedFile
from modelport.signals import postponed

FILE_NAME = "artifact.json"
CHUNK = 2**20
ZIP_EPOCH = 315_532_800  # 1980-01-01, the first second that a zip archive can name


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A built artifact.

    Attributes:
        backend: The backend that built it.
        path: Its folder, ``…/<name>/<version>/<backend>``.
        sha256: Digest over the paths and digests of all its files, ``artifact.json`` apart.
        record: What ``artifact.json`` holds.
    """

    backend: str
    path: Path
    sha256: str
    record: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The model's name."""
        return str(self.record["spec"]["name"])

    @property
    def version(self) -> str:
        """The model's version."""
        return str(self.record["spec"]["version"])


def read_artifact(path: Path) -> Artifact:
    """Read an artifact's folder.

    Raises:
        SpecError: There is no readable ``artifact.json`` in it.
    """
    file = path / FILE_NAME
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        return Artifact(backend=record["backend"], path=path.resolve(), sha256=record["sha256"], record=record)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SpecError(f"{path}: no artifact of modelport stands there ({file.name}: {error})") from error


def changed_files(artifact: Artifact) -> list[str]:
    """Paths whose bytes are no longer those that were built, missing and added files included, sorted."""
    then: Mapping[str, str] = artifact.record["files"]
    now = digest_tree(artifact.path)
    return sorted(path for path in then.keys() | now.keys() if then.get(path) != now.get(path))


def digest_file(path: Path) -> str:
    """Give the SHA-256 of a file, as hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_tree(root: Path) -> dict[str, str]:
    """Give the SHA-256 of every file below ``root`` by its relative path, sorted, ``artifact.json`` apart."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    found = {path.relative_to(root).as_posix(): path for path in files}
    return {name: digest_file(path) for name, path in found.items() if name != FILE_NAME}


def source_date_epoch() -> int:
    """Seconds that stamp every archive: ``SOURCE_DATE_EPOCH`` where it is set, the start of 1980 otherwise.

    Raises:
        SpecError: The variable holds no whole number of seconds at or after 1980.
    """
    text = os.environ.get("SOURCE_DATE_EPOCH", "")
    if not text:
        return ZIP_EPOCH
    # Earlier than 1980 cannot be written into a zip; later than 2107 neither.
    if not text.isascii() or not text.isdigit() or not int(text) < 4_354_819_200:
        raise SpecError(f"SOURCE_DATE_EPOCH={text!r}: must be whole seconds since 1970 and before 2108; unset it")
    return max(int(text), ZIP_EPOCH)


def source_date() -> str:
    """The same moment, ISO 8601 in UTC."""
    return datetime.fromtimestamp(source_date_epoch(), UTC).isoformat()


def copied(path: Path, label: str = "") -> Copied:
    """Describe a file that exists: its path, its size and its digest."""
    return Copied(path=path, size=path.stat().st_size, sha256=digest_file(path), label=label)


def write_files(files: tuple[PlannedFile, ...], root: Path) -> None:
    """Write planned files below ``root``, `Converted` ones apart: whoever planned those makes them.

    Raises:
        BuildError: A file changed since the plan was made.
    """
    for file in files:
        if isinstance(file.content, Converted):
            continue
        target = root / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as stream:
            write_content(file.content, stream)


def write_content(content: Content, stream: IO[bytes]) -> None:
    """Write the bytes of one planned file to ``stream``."""
    if isinstance(content, Generated):
        stream.write(content.data)
    elif isinstance(content, Copied):
        _write_copy(content, stream)
    elif isinstance(content, Archived):
        _write_archive(content, stream)


def _write_copy(content: Copied, stream: IO[bytes]) -> None:
    digest = hashlib.sha256()
    try:
        with content.path.open("rb") as source:
            while chunk := source.read(CHUNK):
                digest.update(chunk)
                stream.write(chunk)
    except FileNotFoundError as error:
        raise BuildError(f"{content.path}: vanished between plan and build; build again") from error
    if digest.hexdigest() != content.sha256:
        raise BuildError(f"{content.path}: changed between plan and build; build again")


def _write_archive(content: Archived, stream: IO[bytes]) -> None:
    """Write a zip whose bytes depend on its members alone: sorted, stored, one date, one mode."""
    date = datetime.fromtimestamp(source_date_epoch(), UTC).timetuple()[:6]
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for member in sorted(content.members, key=lambda m: m.path):
            entry = zipfile.ZipInfo(member.path, date)
            entry.external_attr = 0o100644 << 16
            entry.create_system = 3
            entry.file_size = member.content.size or 0
            with archive.open(entry, "w", force_zip64=entry.file_size >= zipfile.ZIP64_LIMIT) as target:
                write_content(member.content, target)


def write_artifact(
    destination: Path,
    record: Mapping[str, Any],
    fill: Callable[[Path], None],
    *,
    check: Callable[[Path], None],
) -> Artifact:
    """Build an artifact aside and move it to ``destination`` in one step; what stood there goes last.

    Args:
        destination: The artifact's folder.
        record: What ``artifact.json`` shall hold beside the digests.
        fill: Writes all files into the folder that it is given.
        check: Looks at the finished folder before it is moved; raises to keep the old one.

    Raises:
        BuildError: The destination cannot be written.
    """
    with staging(destination) as aside:
        fill(aside)
        check(aside)
        files = digest_tree(aside)
        sha256 = hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
        full = {**record, "sha256": sha256, "files": files}
        (aside / FILE_NAME).write_text(json.dumps(full, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        set_modes(aside)
        replace_tree(aside, destination)
    return read_artifact(destination)


@contextmanager
def staging(destination: Path) -> Iterator[Path]:
    """Give an empty folder beside ``destination``, on its file system; it is gone afterwards, whatever happens."""
    aside: Path | None = None
    try:
        with postponed():
            aside = _make_aside(destination)
        yield aside
    except OSError as error:
        raise BuildError(f"{error.filename or destination}: {_reason(error)}; nothing was changed") from error
    finally:
        if aside is not None:
            with postponed():
                shutil.rmtree(aside, ignore_errors=True)


def _make_aside(destination: Path) -> Path:
    parent = destination.parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(parent)
        return Path(tempfile.mkdtemp(prefix=f".{destination.name}.{os.getpid()}.", dir=parent))
    except OSError as error:
        raise BuildError(f"{parent}: cannot be written ({error.strerror}); choose another place for it") from error


def _reason(error: OSError) -> str:
    """Say why; `shutil` reports the faults of a whole tree as a list of (source, destination, words)."""
    faults = error.args[0] if error.args else None
    return str(faults[0][2]) if isinstance(faults, list) and faults else error.strerror or str(error)


@contextmanager
def scratch(prefix: str) -> Iterator[Path]:
    """Give an empty temporary folder; it is gone afterwards, whatever happens."""
    folder: Path | None = None
    try:
        with postponed():
            folder = Path(tempfile.mkdtemp(prefix=prefix))
        yield folder
    finally:
        if folder is not None:
            with postponed():
                shutil.rmtree(folder, ignore_errors=True)


def remove_abandoned(parent: Path) -> None:
    """Remove what a killed build left beside its destination."""
    for path in parent.glob(".*.*.*"):
        pid = path.name.split(".")[-2]
        if path.is_dir() and pid.isdigit() and not Path(f"/proc/{pid}").exists():
            shutil.rmtree(path, ignore_errors=True)


def set_modes(root: Path) -> None:
    """Give files and folders the same modes under every umask."""
    root.chmod(0o755)
    for path in root.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() else 0o644)


def replace_tree(aside: Path, destination: Path) -> None:
    """Move ``aside`` to ``destination``; a folder that stood there trades places with it, in one step.

    Raises:
        BuildError: Something else than an artifact stands there.
    """
    if not destination.exists():
        aside.rename(destination)
        return
    if not (destination / FILE_NAME).is_file():
        raise BuildError(f"{destination}: stands there and is no artifact of modelport; move it away or choose -o")
    if not exchange(aside, destination):
        # A file system without the exchange: the old artifact is set aside for the moment in between.
        old = Path(tempfile.mkdtemp(prefix=f".{destination.name}.{os.getpid()}.", dir=destination.parent))
        destination.rename(old / "old")
        aside.rename(destination)
        shutil.rmtree(old, ignore_errors=True)


def replace_new(aside: Path, destination: Path) -> None:
    """Move ``aside`` to ``destination`` unless somebody else was faster with the same content."""
    try:
        aside.rename(destination)
    except OSError:
        if not destination.is_dir():
            raise


def exchange(first: Path, second: Path) -> bool:
    """Let two folders trade names atomically; False where the system cannot (Linux since 3.15 can)."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    at_cwd, exchange_flag = -100, 2
    return bool(renameat2(at_cwd, os.fsencode(first), at_cwd, os.fsencode(second), exchange_flag) == 0)
