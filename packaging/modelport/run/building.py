"""One build by an engine: what is checked before, its context and arguments, and why it failed."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from modelport.artifact import set_modes, source_date_epoch, write_files
from modelport.errors import BuildError, MissingTool, SpecError
from modelport.image import check_reference
from modelport.plan import Generated, ImagePlan
from modelport.run.engine import GRACE_S, Engine
from modelport.run.tool import last_lines, run_tool

BUILD_S = 7200.0
BINFMT = Path("/proc/sys/fs/binfmt_misc")
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}
EMULATORS = {"amd64": "x86_64", "arm64": "aarch64", "386": "i386"}
LAYER_CACHE = {"podman": (4, 2), "buildah": (1, 27)}
"""The first versions that keep steps in a registry; earlier ones take the options, and do nothing."""

Log = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildInputs:
    """What a build is given from outside its context.

    Attributes:
        secrets: Files for single steps, in no layer: ``id=pip,src=pip.conf``.
        arguments: ``NAME=VALUE`` in place of an ``ARG`` of the Dockerfile.
        cache_from: Where finished steps are in a registry: repositories; for docker, images of earlier builds.
        cache_to: Repositories that finished steps are pushed to.
    """

    secrets: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    cache_from: tuple[str, ...] = ()
    cache_to: tuple[str, ...] = ()


def check_platforms(engine: Engine, plan: ImagePlan) -> None:
    """Check that an engine can build for the platforms that a plan names.

    Raises:
        SpecError: Several at once, and the engine or the plan's own builder does not take that.
        MissingTool: A foreign one, with steps to run and no emulation.
    """
    if len(plan.platforms) > 1 and engine.name == "docker":
        raise SpecError(
            "--platform: docker's own store keeps one platform under a name. Use --engine podman or buildah, or build "
            "each platform with a --tag of its own"
        )
    if len(plan.platforms) > 1 and plan.tool:
        raise SpecError(f"--platform: {plan.backend}'s own builder takes one platform at a time; give each a --tag")
    if engine.name == "docker":
        return  # its builder may run on another machine, and brings its own emulation
    here = ARCHITECTURES.get(platform.machine(), platform.machine())
    for one in plan.platforms:
        wanted = one.split("/")[1]
        if wanted != here and _runs_steps(plan) and not (BINFMT / f"qemu-{EMULATORS.get(wanted, wanted)}").exists():
            raise MissingTool(
                f"--platform {one}: this machine is {here}, the image has steps to run while it is built, and nothing "
                "here emulates the other; install it with: apt-get install qemu-user-static"
            )


def check_inputs(engine: Engine, plan: ImagePlan, inputs: BuildInputs) -> None:
    """Check that inputs can be given, and are there.

    Raises:
        SpecError: The plan's builder takes none, a secret has no readable file, an argument no value.
    """
    if plan.tool and (inputs.secrets or inputs.arguments):
        raise SpecError(f"--secret and --build-arg: {plan.backend}'s own builder takes none")
    if inputs.secrets and engine.environment.get("DOCKER_BUILDKIT") == "0":
        raise SpecError("--secret: docker's client builds on another engine here, without secrets; use --engine podman")
    for secret in inputs.secrets:
        parts = dict(part.partition("=")[::2] for part in secret.split(","))
        if not {"id", "src"} <= parts.keys():
            raise SpecError(f"--secret {secret}: must be id=ID,src=FILE, such as id=pip,src=pip.conf")
        if not Path(parts["src"]).is_file():
            raise SpecError(f"--secret {secret}: {parts['src']} is no file")
    for argument in inputs.arguments:
        if not re.match(r"[A-Za-z_][A-Za-z0-9_]*=", argument):
            raise SpecError(f"--build-arg {argument}: must be NAME=VALUE")


def check_caches(engine: Engine, plan: ImagePlan, inputs: BuildInputs) -> None:
    """Check that steps can be taken from a registry, and pushed there, by the names that are given.

    Raises:
        SpecError: The plan's builder, the engine or its version takes none, or a name is none of its kind.
    """
    for option, given in (("--cache-from", inputs.cache_from), ("--cache-to", inputs.cache_to)):
        if not given:
            continue
        if plan.tool:
            raise SpecError(f"{option}: {plan.backend}'s own builder takes none; leave it out")
        if len(plan.platforms) > 1:
            raise SpecError(f"{option}: takes one platform at a time; give each a --tag and a cache of its own")
        if engine.name != "docker":
            _check_layer_cache(engine, option, given)
        elif engine.environment.get("DOCKER_BUILDKIT") == "0":
            raise SpecError(f"{option}: docker's client builds on another engine here; use --engine podman")
        elif option == "--cache-to":
            raise SpecError(
                "--cache-to: docker keeps steps in the image itself; --push it, and name it with --cache-from next time"
            )
        else:
            for reference in given:
                check_reference(reference, f"{option} {reference}")


def _check_layer_cache(engine: Engine, option: str, repositories: tuple[str, ...]) -> None:
    oldest = LAYER_CACHE[engine.name]
    if tuple(map(int, re.findall(r"\d+", engine.version)[:2])) < oldest:
        raise SpecError(
            f"{option}: {engine.name} {engine.version} reads past it; {'.'.join(map(str, oldest))} or later is needed"
        )
    for repository in repositories:
        if "@" in repository or ":" in repository.rpartition("/")[2]:
            raise SpecError(
                f"{option} {repository}: {engine.name} keeps each step under a tag of its own; give the repository "
                "without tag and digest, such as registry.example.com/team/digits-cache"
            )
        check_reference(f"{repository}:tag", f"{option} {repository}")


def _runs_steps(plan: ImagePlan) -> bool:
    if plan.tool:
        return True
    texts = (f.content.data for f in plan.files if f.path == "Dockerfile" and isinstance(f.content, Generated))
    return any(re.search(rb"^RUN ", text, re.MULTILINE) for text in texts)


def write_context(plan: ImagePlan, folder: Path) -> None:
    """Write the build context with the same modes and times wherever it is written: equal files, equal layers."""
    write_files(plan.files, folder)
    set_modes(folder)
    moment = source_date_epoch()
    for path in sorted(folder.rglob("*"), reverse=True):
        os.utime(path, (moment, moment))


def run_build(
    engine: Engine, plan: ImagePlan, inputs: BuildInputs, context: Path, reference: str, log: Log | None
) -> None:
    """Build from a written context, under a name.

    Raises:
        BuildError: It failed; the message says why in a sentence where that can be told, and has the last lines.
    """
    lines: list[str] = []

    def follow(line: str) -> None:
        lines.append(line)
        if log is not None:
            log(line)

    what = f"{plan.reference}: {plan.backend}'s builder" if plan.tool else f"{plan.reference}: {engine.name} build"
    try:
        if plan.tool:
            _run_builder(engine, plan, context, reference, what, follow)
        else:
            arguments = build_arguments(engine, plan, inputs, context, reference)
            engine.work(arguments, what=what, timeout_s=BUILD_S, log=follow)
    except BuildError as error:
        headline = explain_failure(engine, plan, "\n".join(lines))
        if headline is None:
            raise
        raise BuildError(f"{plan.reference}: {headline}. What {engine.name} said last:\n{_tail(lines)}") from error


def _run_builder(
    engine: Engine, plan: ImagePlan, context: Path, reference: str, what: str, log: Callable[[str], None]
) -> None:
    values = {"{engine}": engine.name, "{context}": str(context), "{reference}": reference}
    command = []
    for part in plan.tool:
        filled = part
        for key, value in values.items():
            filled = filled.replace(key, value)
        command.append(filled)
    run_tool(
        command, cwd=context, environment=engine.environment, timeout_s=BUILD_S, what=what, log=log, grace_s=GRACE_S
    )


def build_arguments(
    engine: Engine, plan: ImagePlan, inputs: BuildInputs, context: Path, reference: str
) -> tuple[str, ...]:
    """Give the arguments of ``ENGINE build``."""
    # Images in OCI's own format have no HEALTHCHECK; podman and buildah would drop it.
    several = len(plan.platforms) > 1
    own = ("--format", "docker") if engine.name != "docker" else ()
    stamp = ("--timestamp", str(source_date_epoch())) if own and os.environ.get("SOURCE_DATE_EPOCH") else ()
    return (
        "build",
        *own,
        *stamp,
        *(("--platform", ",".join(plan.platforms)) if plan.platforms else ()),
        # From nothing, podman takes one platform's layers for another's.
        *(("--no-cache",) if several and "scratch" in plan.bases else ()),
        *(part for secret in inputs.secrets for part in ("--secret", secret)),
        *(part for argument in inputs.arguments for part in ("--build-arg", argument)),
        *_cache_arguments(engine, inputs),
        *(part for key, value in sorted(plan.labels.items()) for part in ("--label", f"{key}={value}")),
        "--file",
        str(context / "Dockerfile"),
        "--manifest" if several else "--tag",
        reference,
        str(context),
    )


def _cache_arguments(engine: Engine, inputs: BuildInputs) -> Iterator[str]:
    for option, given in (("--cache-from", inputs.cache_from), ("--cache-to", inputs.cache_to)):
        for each in given:
            yield from (option, each)
    if engine.name == "docker" and inputs.cache_from:
        yield from ("--build-arg", "BUILDKIT_INLINE_CACHE=1")  # so that this image is a cache for the next build
    if engine.name == "buildah" and (inputs.cache_from or inputs.cache_to):
        yield "--layers"  # which podman does by itself


def explain_failure(engine: Engine, plan: ImagePlan, text: str) -> str | None:
    """Say in one sentence why a build failed; None where what the engine said has to speak for itself."""
    if "no space left on device" in text:
        return (
            f"no space left where {engine.name} keeps its images; `{engine.name} system prune` frees what nobody uses"
        )
    if "failed pushing" in text or "caching image layer" in text:
        return "the cache cannot be pushed: check the name after --cache-to, and log in"
    if step := re.findall(r'building at STEP "(.*?)": while running|The command \'(.*)\' returned a non-zero', text):
        return f"the step `{step[-1][0] or step[-1][1]}` failed"
    if step := re.findall(r'process "(.*)" did not complete successfully', text):
        return f"the step `{step[-1]}` failed"
    if re.search(
        r"initializing source|short-name|pull access denied|manifest unknown|failed to resolve source metadata"
        r"|unable to copy from source|Error response from daemon: Get ",
        text,
    ):
        said = text.rpartition("rror:")[2] or text
        named = [base for base in plan.bases if base in said] or list(plan.bases)
        return (
            f"the base image {' or '.join(named)} cannot be pulled: check its name and the network, or name another "
            f"with backends.{plan.backend}.image.base"
        )
    return None


def _tail(lines: list[str]) -> str:
    return last_lines("\n".join(line for line in lines if "Failed, retrying" not in line))
