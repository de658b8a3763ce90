"""The Bento: ``bentoml build`` on a project, and what makes its result the same bytes each time."""

from __future__ import annotations

import lzma
import os
import re
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from modelport.artifact import scratch, source_date, source_date_epoch, write_files
from modelport.errors import BuildError
from modelport.plan import Content, Converted, PlannedFile
from modelport.run.tool import find_program, run_tool
from modelport_bentoml.render import MODEL_FOLDER
from modelport_bentoml.tag import BentoTag
from modelport_runtime.description import FILE_NAME

INSTALL = "pip install 'modelport[bentoml]'"
BUILD_TIMEOUT_S = 600.0
TOOL = "bentoml build"
GENERATED = (
    "bento.yaml",
    "README.md",
    "apis/openapi.yaml",
    "apis/schema.json",
    "env/docker/Dockerfile",
    "env/docker/Dockerfile.template",
    "env/docker/entrypoint.sh",
    "env/python/install.sh",
    "env/python/requirements.txt",
    "env/python/version.txt",
)

QUIET_ENVIRONMENT: Mapping[str, str | None] = {
    "BENTOML_DO_NOT_TRACK": "True",
    "PYTHONDONTWRITEBYTECODE": "1",
    # Settings of the user's own that would change what is built or served.
    "BENTOML_CONFIG": None,
    "BENTOML_CONFIG_OPTIONS": None,
    "BENTOML_CONFIG_OVERRIDES": None,
    "BENTOML_DEBUG": None,
}
"""What every BentoML process that is started here gets: no telemetry, no byte code beside the sources."""


def plan_bento(project: tuple[PlannedFile, ...], tag: BentoTag) -> tuple[PlannedFile, ...]:
    """List the files of the built Bento, in a store of its own, and of its archive."""
    root = f"home/bentos/{tag.name}/{tag.version}"
    contents: dict[str, Content] = {f"{root}/{path}": Converted(how=TOOL) for path in GENERATED}
    for file in project:
        if _is_weight(file):
            content = file.content
        elif file.path == "bentofile.yaml":  # BentoML writes its own, with all defaults
            content = Converted(how=TOOL)
        else:
            content = Converted(how=TOOL, size=file.content.size)
        contents[f"{root}/src/{file.path}"] = content
    contents[f"home/bentos/{tag.name}/latest"] = Converted(how=TOOL, size=len(tag.version))
    contents[archive_name(tag)] = Converted(how="the Bento, as `bentoml export` writes it")
    return tuple(PlannedFile(path=path, content=content) for path, content in sorted(contents.items()))


def archive_name(tag: BentoTag) -> str:
    """Give the name of the exported Bento."""
    return f"{tag.name}-{tag.version}.bento"


def bento_folder(artifact: Path, tag: BentoTag) -> Path:
    """Give the folder of the built Bento in an artifact."""
    return artifact / "home" / "bentos" / tag.name / tag.version


def build_bento(artifact: Path, project: tuple[PlannedFile, ...], tag: BentoTag) -> None:
    """Run ``bentoml build`` on a project, and add the result to the ``home`` of an artifact; write the archive.

    The build sees the project without its weights, which are in ``home`` already, and in a folder of its own: BentoML
    would copy them twice, and refuses to work below folders whose names begin with a dot, as an artifact's does until
    it is complete.

    Raises:
        BuildError: BentoML failed, or left out a file.
        MissingTool: BentoML is not installed.
    """
    bentoml = find_program("bentoml", install=INSTALL)
    with _scratch() as work:
        write_files(tuple(file for file in project if not _is_weight(file)), work / "project")
        run_tool(
            [bentoml, "build", "--version", tag.version, "--output", "tag"],
            cwd=work / "project",
            environment=_environment(work),
            timeout_s=BUILD_TIMEOUT_S,
            what=TOOL,
        )
        shutil.copytree(work / "home" / "bentos", artifact / "home" / "bentos", dirs_exist_ok=True)
    folder = bento_folder(artifact, tag)
    missing = [file.path for file in project if not (folder / "src" / file.path).is_file()]
    if missing:
        raise BuildError(f"{TOOL}: left out {', '.join(missing)}")
    _set_creation_time(folder / "bento.yaml")
    write_archive(folder, artifact / archive_name(tag))


def write_archive(folder: Path, target: Path) -> None:
    """Write what ``bentoml export`` writes (tar, xz), with members sorted and nothing in them of this machine."""
    moment = source_date_epoch()

    def normalise(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.mtime = moment
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        member.mode = 0o755 if member.isdir() else 0o644
        return member

    # Weights hardly shrink: the fastest level gives nearly the same size in a tenth of the time.
    with (
        lzma.open(target, "wb", preset=0) as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for path in (folder, *sorted(folder.rglob("*"))):
            name = path.relative_to(folder).as_posix()
            archive.add(path, arcname="." if name == "." else f"./{name}", recursive=False, filter=normalise)


def _set_creation_time(file: Path) -> None:
    line = f"creation_time: '{source_date()}'"
    text, count = re.subn(r"(?m)^creation_time: .*$", line, file.read_text(encoding="utf-8"))
    if count != 1:
        raise BuildError(f"{file.name}: has no creation_time; this version of BentoML is not known to modelport")
    file.write_text(text, encoding="utf-8")


def _is_weight(file: PlannedFile) -> bool:
    return file.path.startswith(f"{MODEL_FOLDER}/") and not file.path.endswith(f"/{FILE_NAME}")


@contextmanager
def _scratch() -> Iterator[Path]:
    """Give a temporary folder that holds a program called ``uv``, which does nothing.

    BentoML asks where uv is even when it locks nothing, and installs it with pip, into the user's environment and
    over the network, where it finds none.

    Raises:
        BuildError: Temporary folders are below one that BentoML refuses.
    """
    root = Path(tempfile.gettempdir()).resolve()
    if any(part.startswith(".") for part in root.parts):
        raise BuildError(f"{root}: BentoML builds nothing below a folder that begins with a dot; set TMPDIR")
    with scratch("modelport-bentoml-") as folder:
        program = folder / "uv"
        program.write_text("#!/bin/sh\necho 'uv is not used in this build' >&2\nexit 1\n", encoding="ascii")
        program.chmod(0o755)
        yield folder


def _environment(folder: Path) -> dict[str, str | None]:
    return {
        **QUIET_ENVIRONMENT,
        "BENTOML_HOME": str(folder / "home"),
        "BENTOML_BUNDLE_LOCAL_BUILD": "false",
        "BENTOML_NO_LOCAL_URL": "1",  # else the path that BentoML was installed from stands in the requirements
        "PATH": os.pathsep.join((str(folder), os.environ.get("PATH", os.defpath))),
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": None,
        "TMPDIR": str(folder),
    }
