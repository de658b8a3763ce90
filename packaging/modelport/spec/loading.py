"""A spec file to a `ModelSpec`, or to everything that is wrong with it.

In order: the text within limits (`text`), YAML to a tree with positions and variables put in (`document`), the
version of the format, the backends' options by the backends themselves, and the rest by the schema.
"""

from __future__ import annotations

import os
from collections.abc import Mapping as Environment
from pathlib import Path

from modelport.errors import SpecError
from modelport.spec.document import read_document
from modelport.spec.fault import Fault, Position, one_line, render_faults, render_key, show
from modelport.spec.files import find_missing_files
from modelport.spec.node import Mapping, Node, Scalar, read_plain, to_value
from modelport.spec.schema import ModelSpec
from modelport.spec.text import UnreadableText, read_text
from modelport.spec.validation import validate_node

FORMAT = 1


def load_spec(path: Path, *, environment: Environment[str, str] | None = None) -> ModelSpec:
    """Read a spec.

    Args:
        path: The file.
        environment: Where ``${NAME}`` in values comes from; the process's own when left out.

    Raises:
        SpecError: One line for everything that is wrong, with file, line, column and key. Whether the files that
            the spec names are there is not looked at; see `check_spec`.
    """
    spec, _, faults = _read(path, environment)
    if spec is None or faults:
        raise SpecError("\n".join(render_faults(faults)))
    return spec


def check_spec(path: Path, *, environment: Environment[str, str] | None = None) -> tuple[Fault, ...]:
    """Find everything that is wrong with a spec, files that it names and that are not there included.

    No model is loaded, and no file but the spec is read.

    Returns:
        Faults in the order of the text; none for a valid spec.
    """
    spec, root, faults = _read(path, environment)
    if spec is not None and root is not None and not faults:
        faults = find_missing_files(spec, root, path)
    return tuple(faults)


def _read(path: Path, environment: Environment[str, str] | None) -> tuple[ModelSpec | None, Node | None, list[Fault]]:
    file = one_line(str(path))
    try:
        text = read_text(path)
    except UnreadableText as error:
        return None, None, [Fault(file=file, position=error.position, message=str(error))]
    root, faults = read_document(file, text, os.environ if environment is None else environment)
    if root is None:
        return None, None, _in_order(faults)
    if not isinstance(root, Mapping):
        wrong = f"a spec is a mapping of keys such as name and model, got {show(to_value(root))}"
        return None, None, [Fault(file=file, position=root.position, message=wrong)]
    if fault := _wrong_version(file, root):
        return None, root, _in_order([*faults, fault])
    faults += _wrong_options(file, root)
    spec, refused = validate_node(root, ModelSpec.model_validate, file=file, section=ModelSpec)
    return spec, root, _in_order([*faults, *refused])


def _in_order(faults: list[Fault]) -> list[Fault]:
    return sorted(faults, key=lambda fault: fault.position or Position(0, 0))


def _wrong_version(file: str, root: Mapping) -> Fault | None:
    """Check the format's version before everything else: another version's keys would all seem wrong."""
    node = root.items.get("modelport")
    if node is None:
        return None
    if isinstance(node, Scalar) and node.varied:
        node.value = read_plain(node.text)
    value = to_value(node)
    if type(value) is int and value == FORMAT:
        return None
    message = (
        f"this modelport reads version {FORMAT} of the spec's format, got {show(value)}; write modelport: {FORMAT}"
    )
    return Fault(file=file, position=root.keys["modelport"], key="modelport", message=message)


def _wrong_options(file: str, root: Mapping) -> list[Fault]:
    """Let every backend that the spec has options for read them."""
    backends = root.items.get("backends")
    if not isinstance(backends, Mapping):
        return []
    faults = []
    for name, node in backends.items.items():
        if isinstance(node, Scalar) and node.value is None:
            backends.items[name] = Mapping(position=node.position)
        elif isinstance(node, Mapping):
            faults += _options_of(file, name, node, backends.keys[name])
    return faults


def _options_of(file: str, name: str, node: Mapping, position: Position) -> list[Fault]:
    from modelport.backend import load_backend  # looking for plug-ins takes longer than all the rest
    from modelport.spec.options import options_type

    under = ("backends", name)
    try:
        backend = load_backend(name)
        section = options_type(backend)
        _, faults = validate_node(node, backend.parse_options, file=file, section=section, under=under)
    except (SpecError, ImportError, AttributeError) as error:
        message = str(error) if isinstance(error, SpecError) else f"the backend does not load: {error}"
        return [Fault(file=file, position=position, key=render_key(under), message=one_line(message))]
    return faults
