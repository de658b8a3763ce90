"""Where a model comes from: here, a file or a folder."""

from __future__ import annotations

import re
from pathlib import Path

from modelport.errors import SpecError
from modelport.sources import torchserve_archive

# What stands in front of a source that this version does not fetch, and the command that does.
_REMOTE = {
    "models:/": 'mlflow artifacts download --artifact-uri "{source}" --dst-path model',
    "runs:/": 'mlflow artifacts download --artifact-uri "{source}" --dst-path model',
    "http://": 'curl -fLO "{source}"',
    "https://": 'curl -fLO "{source}"',
    "s3://": 'aws s3 cp --recursive "{source}" model',
    "gs://": 'gcloud storage cp -r "{source}" model',
    "hf://": 'hf download "{repository}" --local-dir model',
}
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
# What MLflow writes beside a model.
_MLFLOW = "MLmodel"
_BESIDE = {_MLFLOW, "conda.yaml", "python_env.yaml", "requirements.txt", "registered_model_meta"}
_EXAMPLE = re.compile(r"(serving_)?input_example(_info)?\.json")


def locate_source(source: str, root: Path) -> Path:
    """Give the file or folder that ``model.source`` names.

    Args:
        source: As it stands in the spec.
        root: Folder of the spec.

    Raises:
        SpecError: It is not there, holds nothing, or lies where this version does not read.
    """
    for prefix, fetch in _REMOTE.items():
        if source.startswith(prefix):
            command = fetch.format(source=source, repository=source.removeprefix(prefix))
            raise SpecError(
                f"model.source: {source}: this version reads files and folders only; "
                f"download it first ({command}) and name what came"
            )
    if url := _URL.match(source):
        way = "write the path alone" if url[1].lower() == "file" else "download it first and name what came"
        raise SpecError(f"model.source: {source}: this version reads files and folders only; {way}")
    path = (root / source).resolve()
    check_present(path, "model.source")
    _look_into_mlflow(path)
    if path.suffix in torchserve_archive.SUFFIXES:
        raise SpecError(f"model.source: {path}: {torchserve_archive.describe_way_out(path)}")
    return path


def _look_into_mlflow(path: Path) -> None:
    """Refuse a folder as MLflow saves it, and say what in it is the model.

    Raises:
        SpecError: It is one.
    """
    if not (path / _MLFLOW).is_file():
        return
    folders = sorted(found.parent for found in path.rglob("saved_model.pb"))
    files = (file for file in sorted(path.rglob("*")) if file.is_file() and not any(f in file.parents for f in folders))
    models = [f for f in files if f.name not in _BESIDE and not _EXAMPLE.fullmatch(f.name)]
    held = ", ".join(found.relative_to(path).as_posix() for found in [*folders, *models][:5])
    raise SpecError(
        f"model.source: {path}: a folder that MLflow wrote; name the model in it, which its {_MLFLOW} file tells "
        f"(beside what describes it, the folder holds {held or 'nothing'})"
    )


def check_present(path: Path, key: str) -> None:
    """Check that a file or folder is there and holds something.

    Args:
        path: The file or folder.
        key: The key of the spec that names it, for the message.

    Raises:
        SpecError: It is not, or does not.
    """
    try:
        if path.is_dir():
            if not any(path.iterdir()):
                raise SpecError(f"{key}: {path}: an empty folder; name the model's file or its whole folder")
        elif not path.is_file():
            raise SpecError(f"{key}: {path}: no such file or folder{_suggest(path)}")
        elif path.stat().st_size == 0:
            raise SpecError(f"{key}: {path}: an empty file (0 bytes); write it again")
    except OSError as error:
        raise SpecError(f"{key}: {path}: cannot be read ({error.strerror})") from error


def _suggest(path: Path) -> str:
    from difflib import get_close_matches

    if not path.parent.is_dir():
        return f"; the folder {path.parent} is not there either"
    near = get_close_matches(path.name, [entry.name for entry in path.parent.iterdir()], n=1)
    return f"; did you mean {near[0]}?" if near else ""
