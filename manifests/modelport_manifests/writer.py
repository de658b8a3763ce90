"""Data to YAML: one style for every file that is written, with a header that says where it came from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from modelport._version import VERSION
from modelport.plan import Generated, PlannedFile
from modelport.target import Release

# What YAML 1.2 reads as a number, or YAML 1.1 as a boolean, where PyYAML (nearly 1.1) sees plain text.
DISPUTED = re.compile(r"[-+]?(0o[0-7]+|(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?)|[yYnN]")


def render_yaml(documents: Iterable[Mapping[str, Any]], header: Iterable[str] = ()) -> str:
    """Give documents as one YAML text.

    Keys keep the order in which they were put in. A string that any version of YAML reads as something else is in
    double quotes, a text of several lines is a literal block, nothing is an alias, and no line is folded.

    Args:
        documents: Mappings of strings, numbers, booleans, None, lists and mappings.
        header: Lines of the comment at the top; empty for none.

    Raises:
        yaml.representer.RepresenterError: A value is of another type.
    """
    comment = "".join(f"# {line}".rstrip() + "\n" for line in header)
    texts = (
        yaml.dump(document, Dumper=_Dumper, sort_keys=False, default_flow_style=False, allow_unicode=True, width=10**6)
        for document in documents
    )
    return comment + "---\n".join(texts)


def header_lines(release: Release, target: str, notes: Iterable[str] = ()) -> tuple[str, ...]:
    """Say where a file came from.

    Args:
        release: What it was made from.
        target: Name of the target that made it.
        notes: Sentences that a reader of this file must know, a line each.
    """
    spec = release.spec
    source = _one_line(release.spec_path)
    made = f"Made by modelport {VERSION} (target {target}) from {source}: {spec.name} {spec.version}."
    return made, "Change the spec rather than this file: a changed file is overwritten with --force only.", *notes


def yaml_file(
    path: str, documents: Iterable[Mapping[str, Any]], release: Release, target: str, notes: Iterable[str] = ()
) -> PlannedFile:
    """Plan one YAML file with its header; see `render_yaml` and `header_lines`."""
    text = render_yaml(documents, header_lines(release, target, notes))
    return PlannedFile(path=path, content=Generated(data=text.encode(), origin="the spec"))


def _one_line(text: str) -> str:
    """Keep a path with line breaks from ending the comment that it stands in."""
    return "".join(c if c.isprintable() else "?" for c in text)


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  # PyYAML's signature
        return True

    def represent_text(self, text: str) -> yaml.ScalarNode:
        tag = "tag:yaml.org,2002:str"
        if not text.replace("\n", "").isprintable():
            return self.represent_scalar(tag, text, style='"')
        if "\n" in text:
            return self.represent_scalar(tag, text, style="|")
        read_as = self.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]  # has no types
        plain = read_as == tag and not DISPUTED.fullmatch(text)
        return self.represent_scalar(tag, text, style=None if plain else '"')


_Dumper.add_representer(str, _Dumper.represent_text)
