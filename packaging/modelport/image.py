"""What an image is called, how it is marked, and how large it may be: all that needs no engine."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from modelport._version import VERSION
from modelport.artifact import Artifact
from modelport.backend import Backend, ImageSettings
from modelport.errors import SpecError
from modelport.plan import Generated, ImagePlan, PlannedFile
from modelport.spec.schema import ImageSection

TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
COMPONENT = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*")
HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?\.)*[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?::\d+)?")
DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")
OCI = "org.opencontainers.image"
OURS = "io.modelport"
UNITS = {"": 1, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def settings_for(
    artifact: Artifact,
    *,
    tag: str | None = None,
    platforms: tuple[str, ...] = (),
    revision: str = "",
) -> ImageSettings:
    """Give the settings of an artifact's image: what its spec says, and what the command line says in its place.

    Args:
        artifact: What goes into the image.
        tag: Name and tag, or ``:tag`` alone; the default reference if None.
        platforms: In place of the spec's.
        revision: Revision of the sources, if known.

    Raises:
        SpecError: The reference cannot be one.
    """
    section = ImageSection.model_validate(artifact.record["spec"].get("image", {}))
    return ImageSettings(
        reference=reference_for(artifact, section, tag),
        platforms=platforms or section.platforms,
        labels={**labels_for(artifact, revision), **section.labels},
        max_size=None if section.max_size is None else parse_quantity(section.max_size),
        require_digest=section.require_digest,
    )


def reference_for(artifact: Artifact, section: ImageSection, tag: str | None = None) -> str:
    """Give name and tag of an artifact's image: ``<repository or name>:<version>-<backend>`` unless told otherwise.

    Raises:
        SpecError: Registries would refuse it.
    """
    repository = section.repository or artifact.name.lower()
    default = f"{artifact.version.replace('+', '-')}-{artifact.backend}"
    if tag is None:
        return check_reference(f"{repository}:{default}", "the default reference (set image.repository or --tag)")
    if tag.startswith(":"):
        return check_reference(repository + tag, f"--tag {tag}")
    last = tag.rpartition("/")[2]
    return check_reference(tag if ":" in last else f"{tag}:{default}", f"--tag {tag}")


def check_reference(reference: str, where: str) -> str:
    """Check that registries would take a reference, and give it back.

    Args:
        reference: Name and tag.
        where: What to blame, for the message.

    Raises:
        SpecError: With the part that is wrong and what it must be.
    """
    name, colon, tag = reference.rpartition(":")
    if "@" in reference:
        raise SpecError(f"{where}: a digest is what a registry answers with; give a name and a tag, such as {name}:1.0")
    if not colon or TAG.fullmatch(tag) is None:
        raise SpecError(
            f"{where}: the tag {tag!r} must be at most 128 letters, digits, '_', '.' and '-', not beginning with '.' "
            "or '-'"
        )
    parts = name.split("/")
    if len(parts) > 1 and (set(parts[0]) & {".", ":"} or parts[0] == "localhost"):
        if HOST.fullmatch(parts[0]) is None:
            raise SpecError(f"{where}: {parts[0]!r} is no registry's host, such as registry.example.com:5000")
        parts = parts[1:]
    for part in parts:
        if COMPONENT.fullmatch(part) is not None:
            continue
        mended = name.lower()
        hint = f"; write {mended}:{tag}" if mended != name and COMPONENT.fullmatch(part.lower()) else ""
        raise SpecError(
            f"{where}: {part!r} in the image's name must be lower-case letters and digits, with '.', '_' or '-' "
            f"between them{hint}"
        )
    return reference


def labels_for(artifact: Artifact, revision: str = "") -> dict[str, str]:
    """Give the OCI labels of an artifact's image."""
    spec = artifact.record["spec"]
    labels = {
        f"{OCI}.title": artifact.name,
        f"{OCI}.description": str(spec.get("description", "")),
        f"{OCI}.version": artifact.version,
        f"{OCI}.revision": revision,
        f"{OURS}.backend": artifact.backend,
        f"{OURS}.version": VERSION,
        f"{OURS}.spec.sha256": spec_digest(spec),
        f"{OURS}.artifact.sha256": artifact.sha256,
    }
    return {key: value for key, value in labels.items() if value}


def spec_digest(spec: Mapping[str, Any]) -> str:
    """Give the SHA-256 of a resolved spec, as hex: the same for the same meaning, however the YAML was written."""
    import hashlib
    import json

    return hashlib.sha256(json.dumps(spec, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


@runtime_checkable
class Detachable(Protocol):
    """A backend whose image can leave the model's files to an image of their own."""

    def weights(self, artifact: Artifact) -> tuple[PlannedFile, ...]:
        """List the model's files, relative to `ServicePlan.model_folder`."""
        ...


def plan_weights(backend: Backend, artifact: Artifact, plan: ImagePlan) -> tuple[ImagePlan, ...]:
    """Describe the image that holds the model's files alone, where ``deploy.weights`` keeps them out of the server's.

    A volume has them at its root. For an init container they lie in ``/model``, on the server's own base: what a node
    has to have anyway, and it can copy.

    Args:
        backend: The artifact's.
        artifact: What is deployed.
        plan: The server's image.

    Raises:
        SpecError: This backend's image always has them.
    """
    how = artifact.record["spec"].get("deploy", {}).get("weights", "image")
    if how == "image":
        return ()
    if not isinstance(backend, Detachable):
        raise SpecError(
            f"deploy.weights: {how}: {backend.name}'s image always holds the model's files; write deploy.weights: image"
        )
    base, folder, user = ("scratch", "", "") if how == "volume" else (plan.bases[-1], "model/", "USER 10001:0\n")
    dockerfile = f'FROM {base}\nCOPY ["weights/", "/"]\n{user}'
    made = {"Dockerfile": dockerfile, ".dockerignore": "Dockerfile\n.dockerignore\n"}
    return (
        ImagePlan(
            backend=plan.backend,
            reference=check_reference(f"{plan.reference}-weights", "the reference of the weights' image"),
            bases=(base,),
            files=(
                *(
                    PlannedFile(path=path, content=Generated(data=text.encode(), origin="modelport"))
                    for path, text in made.items()
                ),
                *(PlannedFile(path=f"weights/{folder}{f.path}", content=f.content) for f in backend.weights(artifact)),
            ),
            platforms=plan.platforms,
            labels=plan.labels,
        ),
    )


def require_digests(bases: tuple[str, ...], where: str) -> None:
    """Refuse bases that a registry could change under the same name.

    Args:
        bases: References that an image starts from; ``scratch`` is none.
        where: The key that names the base, for the message.

    Raises:
        SpecError: One of them has no digest.
    """
    for base in bases:
        if base != "scratch" and DIGEST.search(base) is None:
            raise SpecError(
                f"image.require_digest: the base {base} is named by a tag, which may be another image tomorrow. Name "
                f"it by digest with {where}, such as {base}@sha256:…"
            )


def parse_quantity(text: str) -> int:
    """Give a quantity of Kubernetes (``1.5Gi``, ``500M``) as a whole number, rounded up."""
    number, unit = re.fullmatch(r"([0-9.]+)([a-zA-Z]*)", text).groups()  # type: ignore[union-attr]  # the schema's pattern
    return -int(-(float(number) * UNITS[unit]) // 1)


def describe_size(size: int) -> str:
    """Give a size in bytes for people: ``1.31 GiB``."""
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}" if size < 1000 * factor else f"{size / factor:.0f} {unit}"
    return f"{size} B"


def git_revision(start: Path) -> str:
    """Give the commit that the repository around ``start`` has checked out; empty where there is none.

    Whether files were changed since is not looked at: the spec's and the artifact's digests tell what went in.
    """
    for folder in (start, *start.parents):
        head = folder / ".git" / "HEAD"
        try:
            text = head.read_text(encoding="utf-8").strip()
        except OSError:
            continue
        if not text.startswith("ref: "):
            return text if re.fullmatch(r"[0-9a-f]{40,64}", text) else ""
        return _read_ref(folder / ".git", text.removeprefix("ref: "))
    return ""


def _read_ref(git: Path, name: str) -> str:
    try:
        return (git / name).read_text(encoding="utf-8").strip()
    except OSError:
        pass
    try:
        packed = (git / "packed-refs").read_text(encoding="utf-8")
    except OSError:
        return ""
    return next((line.split()[0] for line in packed.splitlines() if line.endswith(f" {name}")), "")
