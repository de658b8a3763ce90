"""What an image says of itself, compared with what shall be deployed: a tag may stand for anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from modelport.errors import ServerFailed
from modelport.run.rollout import Note

ARTIFACT = "io.modelport.artifact.sha256"
VERSION = "org.opencontainers.image.version"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What an image is to hold.

    Attributes:
        artifact: Digest of the artifact; empty where it does not matter.
        version: Version of the model; empty where it does not matter.
    """

    artifact: str = ""
    version: str = ""


def compare_labels(labels: Mapping[str, str], image: str, expected: Expected, hint: str, note: Note) -> None:
    """Say so where an image was made from something else than what the spec gives now; refuse another version.

    Raises:
        ServerFailed: It holds another version of the model.
    """
    if ARTIFACT not in labels:
        return  # not one of ours
    version = labels.get(VERSION, expected.version)
    if expected.version and version != expected.version:
        raise ServerFailed(
            f"{image} holds version {version} of the model, and the spec is of {expected.version}. {hint}"
        )
    made_from = labels[ARTIFACT]
    if made_from != expected.artifact:
        note(
            f"warning: {image} was made from another artifact ({made_from[:12]}) than the spec gives now "
            f"({expected.artifact[:12]}). {hint}"
        )
