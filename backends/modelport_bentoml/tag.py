"""What a Bento is called: BentoML's rules are narrower than ours."""

from __future__ import annotations

import re
from dataclasses import dataclass

from modelport.errors import SpecError


@dataclass(frozen=True, slots=True, kw_only=True)
class BentoTag:
    """Name and version of a Bento: lowercase letters, digits, ``-``, ``_`` and ``.``, no sign at the ends."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name}:{self.version}"


def bento_tag(name: str, version: str) -> BentoTag:
    """Turn a spec's name and version into a tag: lowercase, with ``-`` for ``+``, without signs at the end.

    Raises:
        SpecError: Nothing would be left that is a tag.
    """
    return BentoTag(name=_part("name", name), version=_part("version", version))


def _part(key: str, text: str) -> str:
    part = re.sub(r"[^a-z0-9._-]", "-", text.lower()).strip("-_.")
    if not part:
        raise SpecError(f"{key}: {text!r} has no letter and no digit, which a Bento's tag needs")
    return part
