"""Files that ride with a model: the Python that a spec names, what of its folder that imports, and data beside it."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from modelport.errors import SpecError

if TYPE_CHECKING:
    from modelport.spec.schema import TransformSection


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeFiles:
    """What a class needs.

    Attributes:
        reference: ``file.py:Class`` or ``package.module:Class``, relative to ``folder``.
        folder: Where imports start.
        main: The file that holds the class.
        files: All files, ``main`` included, by path relative to ``folder``.
        packages: Top-level names of what is imported from elsewhere, the standard library apart.
        methods: Names of the class's methods; None where the file does not tell all (bases, an imported class).
    """

    reference: str
    folder: Path
    main: Path
    files: dict[str, Path]
    packages: frozenset[str]
    methods: frozenset[str] | None = None


def collect_code(reference: str, root: Path, key: str) -> CodeFiles:
    """Find the file of a class and follow its imports; nothing is imported.

    Args:
        reference: ``file.py:Class``, ``folder/file.py:Class``, ``folder/file:Class``, ``module:Class`` or
            ``package.module:Class``.
        root: Folder of the spec.
        key: The key of the spec that holds the reference, for messages.

    Raises:
        SpecError: The file is not there, is no Python, or has no such class.
    """
    module, class_name = _split(reference)
    folder = code_folder(reference, root)
    main = _locate(module, folder, key)
    files: dict[str, Path] = {}
    packages: set[str] = set()
    waiting = [main, *_package_files(main, folder)]
    while waiting:
        path = waiting.pop()
        name = path.relative_to(folder).as_posix()
        if name in files:
            continue
        files[name] = path
        for imported in _imports(_parse(path, key), path, folder):
            found = _find_local(imported, folder)
            waiting.extend(found)
            if not found:
                packages.add(imported.partition(".")[0])
    classes = _classes(_parse(main, key))
    if class_name not in classes and class_name not in _imported_names(_parse(main, key)):
        raise SpecError(f"{key}: {main}: no class is called {class_name!r}; there are: {', '.join(classes) or 'none'}")
    return CodeFiles(
        reference=relocate(reference),
        folder=folder,
        main=main,
        files=dict(sorted(files.items())),
        packages=frozenset(packages - sys.stdlib_module_names),
        methods=classes.get(class_name),
    )


def collect_transform(section: TransformSection | str | None, root: Path) -> CodeFiles | None:
    """Find what a spec's ``transform`` needs, its data files among it; None where there is no transform.

    Raises:
        SpecError: See `collect_code`; or a data file is not there, or lies outside the folder of the class.
    """
    if section is None or isinstance(section, str):
        return None if section is None else collect_code(section, root, "transform")
    code = collect_code(section.source, root, "transform")
    files = dict(code.files)
    for name in section.files or ():
        for path in _data_files(code.folder / name):
            if not path.resolve().is_relative_to(code.folder):
                raise SpecError(
                    f"transform.files: {path} lies outside {code.folder}, where the class is; artifacts hold the class "
                    "and its files as they stand there. Copy it beside the class"
                )
            files[path.resolve().relative_to(code.folder).as_posix()] = path
    return replace(code, files=dict(sorted(files.items())))


def _data_files(path: Path) -> list[Path]:
    found = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    if not found or not found[0].is_file():
        raise SpecError(f"transform.files: {path}: {'an empty folder' if path.is_dir() else 'no such file'}")
    return found


def code_folder(reference: str, root: Path) -> Path:
    """Give the folder at which the imports of a class start: its file's own, or the root for ``module:Class``."""
    module = _split(reference)[0]
    return (root / module).resolve().parent if module.endswith(".py") else root.resolve()


def relocate(reference: str) -> str:
    """Give a reference relative to `code_folder`: ``src/net.py:Net`` becomes ``net.py:Net``."""
    module, class_name = _split(reference)
    return f"{Path(module).name}:{class_name}" if module.endswith(".py") else reference


def _split(reference: str) -> tuple[str, str]:
    """Give the module and the class; a module written as a path is a file: ``src/net:Net`` is ``src/net.py:Net``."""
    module, _, class_name = reference.rpartition(":")
    return (f"{module}.py" if "/" in module and not module.endswith(".py") else module), class_name


def _locate(module: str, folder: Path, key: str) -> Path:
    stem = folder / (Path(module).stem if module.endswith(".py") else module.replace(".", "/"))
    candidates = (stem.with_name(stem.name + ".py"), stem / "__init__.py")
    for path in candidates:
        if path.is_file():
            return path
    raise SpecError(f"{key}: {candidates[0]}: no such file; it is looked for beside the spec")


def _parse(path: Path, key: str) -> ast.Module:
    try:
        return ast.parse(path.read_bytes(), filename=str(path))
    except (SyntaxError, ValueError) as error:
        raise SpecError(f"{key}: {path}: no Python that can be read ({error})") from error


def _imports(tree: ast.Module, path: Path, folder: Path) -> Iterator[str]:
    """Give the full dotted names of what a file imports, relative ones made absolute."""
    package = path.relative_to(folder).parent.parts
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join((*start, *filter(None, [node.module])))
            if base:
                yield base
            for alias in node.names:
                candidate = f"{base}.{alias.name}".strip(".")
                if _find_local(candidate, folder):
                    yield candidate


def _find_local(name: str, folder: Path) -> list[Path]:
    stem = folder / name.replace(".", "/")
    for path in (stem.with_name(stem.name + ".py"), stem / "__init__.py"):
        if path.is_file():
            return [path, *_package_files(path, folder)]
    return []


def _package_files(path: Path, folder: Path) -> list[Path]:
    """Give the ``__init__.py`` of every package that a file lies in."""
    parents = [parent for parent in path.parents if parent != folder and parent.is_relative_to(folder)]
    return [parent / "__init__.py" for parent in parents if (parent / "__init__.py").is_file()]


def _classes(tree: ast.Module) -> dict[str, frozenset[str] | None]:
    return {
        node.name: None
        if node.bases
        else frozenset(entry.name for entry in node.body if isinstance(entry, ast.FunctionDef))
        for node in tree.body
        if isinstance(node, ast.ClassDef)
    }


def _imported_names(tree: ast.Module) -> set[str]:
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    assigned = [
        t.id for node in tree.body if isinstance(node, ast.Assign) for t in node.targets if isinstance(t, ast.Name)
    ]
    return {alias.asname or alias.name for node in imports for alias in node.names} | set(assigned)
