"""Build, measure, name, push and remove images; an image gets its name when all else has gone well."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TypeVar

from modelport.artifact import scratch
from modelport.errors import BuildError
from modelport.image import describe_size
from modelport.plan import ImagePlan
from modelport.run.building import (
    BuildInputs,
    Log,
    check_caches,
    check_inputs,
    check_platforms,
    run_build,
    write_context,
)
from modelport.run.contributors import largest_contributors
from modelport.run.engine import Engine
from modelport.run.tool import last_lines
from modelport.signals import postponed

TRIES = 5
PUSH_S = 3600.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltImage:
    """An image in the engine's store.

    Attributes:
        reference: Name and tag.
        id: Its id in the engine's store; of a list of several platforms, empty.
        size: Size of all its layers in bytes; of the largest, where there are several platforms.
        platforms: What it was built for; empty for this machine's own.
    """

    reference: str
    id: str
    size: int
    platforms: tuple[str, ...] = ()


def build_images(
    engine: Engine, plans: Sequence[ImagePlan], inputs: BuildInputs | None = None, *, log: Log | None = None
) -> list[BuiltImage]:
    """Build images, measure them, and only when all is well give them their names.

    Args:
        engine: What builds.
        plans: What is built.
        inputs: What the builds are given from outside.
        log: Called with each line that the engine prints, from a thread of its own.

    Raises:
        BuildError: One could not be built, or is larger than `ImagePlan.max_size`; no name was given to any, and
            images that had these names before still have them.
        SpecError: Several platforms, or inputs, that the engine or the plan's own builder does not take.
        MissingTool: A platform that this machine cannot run a build step for.
    """
    given = inputs or BuildInputs()
    for plan in plans:
        check_platforms(engine, plan)
        check_inputs(engine, plan, given)
        check_caches(engine, plan, given)
    with ExitStack() as stack:
        staged = [(plan, stack.enter_context(_built(engine, plan, given, log))) for plan in plans]
        with postponed():
            return [_named(engine, plan, reference, size) for plan, (reference, size) in staged]


@contextmanager
def _built(engine: Engine, plan: ImagePlan, inputs: BuildInputs, log: Log | None) -> Iterator[tuple[str, int]]:
    """Build under a passing name, and give that and the size; afterwards it is gone, and so is what has no other."""
    reference = f"localhost/modelport-building:{secrets.token_hex(6)}"
    instances: list[str] = []
    try:
        with scratch("modelport-image-") as context:
            write_context(plan, context)
            run_build(engine, plan, inputs, context, reference, log)
        instances += _instances(engine, reference) if len(plan.platforms) > 1 else [reference]
        sizes = [image_size(engine, one) for one in instances]
        for one, size in zip(instances, sizes, strict=True):
            _check_size(engine, plan, one, size)
        yield reference, max(sizes)
    except BaseException:
        with postponed():
            remove_image(engine, reference)
            for one in instances[: len(plan.platforms)]:
                remove_image(engine, one)
        raise
    with postponed():
        remove_image(engine, reference)


def _named(engine: Engine, plan: ImagePlan, reference: str, size: int) -> BuiltImage:
    """Give an image its name; one that had it before loses it."""
    engine.ask("tag", reference, plan.reference, what=f"{engine.name} tag")
    found = image_id(engine, plan.reference) if len(plan.platforms) < 2 else ""
    return BuiltImage(reference=plan.reference, id=found, size=size, platforms=plan.platforms)


def _instances(engine: Engine, reference: str) -> list[str]:
    """Give the ids of the images that a list of several platforms names."""
    listed = engine.ask_json("manifest", "inspect", reference, what=f"{engine.name} manifest inspect")["manifests"]
    digests = {entry["digest"] for entry in listed}
    form = ("--json",) if engine.name == "buildah" else ("--format", "json")
    found = _again(lambda: engine.ask_json("images", *form, what=f"{engine.name} images"), reference)
    images = [{key.lower(): value for key, value in image.items()} for image in found]
    return [str(image["id"]) for image in images if image["digest"] in digests]


def image_id(engine: Engine, reference: str) -> str:
    """Give an image's id, as ``sha256:…``.

    Raises:
        BuildError: There is no such image here.
    """
    if engine.name == "buildah":
        facts = engine.ask_json("inspect", "--type", "image", reference, what="buildah inspect")
        return f"sha256:{facts['FromImageID']}"
    facts = engine.ask_json("image", "inspect", reference, what=f"{engine.name} image inspect")
    return "sha256:" + str(facts[0]["Id"]).removeprefix("sha256:")


def image_size(engine: Engine, reference: str) -> int:
    """Give the size of an image's layers in bytes; buildah tells three digits only.

    Raises:
        BuildError: There is no such image here.
    """
    if engine.name == "buildah":
        return _bytes(engine.ask_json("images", "--json", reference, what="buildah images")[0]["size"])
    return int(engine.ask_json("image", "inspect", reference, what=f"{engine.name} image inspect")[0]["Size"])


def push_image(engine: Engine, image: BuiltImage, *, log: Log | None = None) -> str:
    """Push an image to the registry that its name says.

    Returns:
        Digest in the registry, ``sha256:…``: with the name it is a reference that never changes.

    Raises:
        BuildError: The registry refused; the message has what the engine said.
    """
    try:
        return _push(engine, image, log)
    except BuildError as error:
        raise BuildError(
            f"{error}\nThe image is built, and here as {image.reference}: log in with `{engine.name} login`, or check "
            "the name, and push it again"
        ) from error


def _push(engine: Engine, image: BuiltImage, log: Log | None) -> str:
    what = f"{engine.name} push {image.reference}"
    if engine.name == "docker":
        text = engine.work(("push", image.reference), what=what, timeout_s=PUSH_S, log=log)
        found = re.findall(r"digest: (sha256:[0-9a-f]{64})", text)
        if not found:
            raise BuildError(f"{what}: docker told no digest. Its last lines:\n{last_lines(text)}")
        return str(found[-1])
    with scratch("modelport-push-") as folder:
        several = ("manifest", "push", "--all") if image.platforms[1:] else ("push",)
        file = folder / "digest"
        arguments = (*several, "--digestfile", str(file), image.reference, f"docker://{image.reference}")
        engine.work(arguments, what=what, timeout_s=PUSH_S, log=log)
        return file.read_text(encoding="ascii").strip()


def remove_image(engine: Engine, reference: str) -> None:
    """Take a name away; the image goes with its last one. Without such an image nothing happens."""
    try:
        _again(lambda: engine.ask("rmi", reference, what=f"{engine.name} rmi"), reference)
    except BuildError as error:
        if not _says_gone(error):
            raise
        if engine.name != "docker":  # a list of several platforms is no image to the others
            _remove_list(engine, reference)


def _remove_list(engine: Engine, reference: str) -> None:
    try:
        engine.ask("manifest", "rm", reference, what=f"{engine.name} manifest rm")
    except BuildError as error:
        if not _says_gone(error):
            raise


def _says_gone(error: BuildError) -> bool:
    return bool(re.search(r"no such (image|object)|not known|not found", str(error), re.IGNORECASE))


def _again(ask: Callable[[], T], about: str) -> T:
    """Ask anew where podman stumbles over an image that somebody else removes at this moment, not over ours."""
    for _ in range(TRIES):
        try:
            return ask()
        except BuildError as error:
            if about in str(error) or not _says_gone(error):
                raise
            time.sleep(0.5)
    return ask()


def _check_size(engine: Engine, plan: ImagePlan, reference: str, size: int) -> None:
    if plan.max_size is None or size <= plan.max_size:
        return
    found = largest_contributors(engine, reference)
    raise BuildError(
        f"{plan.reference}: the image has {describe_size(size)}, and image.max_size allows "
        f"{describe_size(plan.max_size)}; it was removed. What takes the most room:\n"
        + "\n".join(f"    {describe_size(one.size):>9}  {one.what}" for one in found)
    )


def _bytes(text: str) -> int:
    """Read a size as buildah writes it: ``298 MB``."""
    number, unit = text.split()
    return round(float(number) * {"B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}[unit.upper()])
