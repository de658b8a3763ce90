"""``modelport manifests``: the files that deploy a model; ``modelport manifests check``: a look at such files."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol

import click

from modelport.artifact import Artifact, scratch
from modelport.backend import Backend
from modelport.build import build_artifact, plan_for, require_spec, resolve, select_backends
from modelport.cli.shared import backend_option, json_option, spec_argument
from modelport.console import print_json, print_warning, stderr, stdout
from modelport.errors import CheckFailed, MissingTool, SpecError
from modelport.model import Model
from modelport.release import Warned, check_namespace, plan_release, read_images, require_containers
from modelport.target import load_target
from modelport.written import write_set

CHECKS = "modelport.manifest_checks"  # the entry-point group of functions from a folder to findings


class Finding(Protocol):
    """What a check found.

    Attributes:
        file: Path relative to the folder.
        line: Counted from 1; None where it is the file as a whole.
        severity: ``error`` or ``warning``.
        code: A short name that stays the same.
        message: What is wrong, and what mends it.
    """

    file: str
    line: int | None
    severity: str
    code: str
    message: str


class WithCheck(click.Command):
    """A command with one subcommand: what stands first is either ``check`` or the spec (``./check`` is a spec)."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Choose by the first word."""
        if args[:1] == ["check"]:
            return check.make_context(f"{info_name} check", args[1:], parent, **extra)
        return super().make_context(info_name, args, parent, **extra)


@click.command("manifests", cls=WithCheck, epilog="`modelport manifests check DIR` looks for mistakes in such files.")
@spec_argument
@backend_option
@click.option("-t", "--target", required=True, metavar="NAME", help="compose, kubernetes, kserve, helm or another.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder for the files. Other files in it are left alone.",
)
@click.option(
    "--image",
    multiple=True,
    metavar="[BACKEND=]REF",
    help="Image to run, best with its @sha256: digest; left out, the one that `modelport containerize` names.",
)
@click.option("-n", "--namespace", metavar="NAME", help="Kubernetes namespace, in place of deploy.namespace.")
@click.option("--force", is_flag=True, help="Overwrite files that were changed since they were written.")
@json_option
def command(
    spec: Path,
    backend: tuple[str, ...],
    target: str,
    output: Path,
    image: tuple[str, ...],
    namespace: str | None,
    *,
    force: bool,
    as_json: bool,
) -> None:
    """Write the files that deploy SPEC's model: all of them, or none."""
    chosen = load_target(target)
    backends = select_backends(backend)
    require_containers(backends)
    images = read_images(image, backends)
    check_namespace(namespace)
    model = resolve(require_spec(spec))
    # The artifacts are looked at, not kept: what runs is in the images.
    with scratch("modelport-manifests-") as aside:
        built = _build(model, backends, aside)
        release = plan_release(model.spec, spec, built, images, namespace=namespace)
        files = chosen.render(release)
        warnings = chosen.warnings(release) if isinstance(chosen, Warned) else ()
        for warning in warnings:
            print_warning(f"{chosen.name}: {warning}")
        changes = write_set(files, output, f"{chosen.name}, {model.spec.name}", force=force)
    if as_json:
        print_json(
            {
                "target": chosen.name,
                "folder": str(output),
                "images": {service.backend: service.image for service in release.services},
                "written": changes.written,
                "unchanged": changes.unchanged,
                "removed": changes.removed,
                "warnings": warnings,
            }
        )
        return
    for path in changes.written:
        stdout().print(f"{output / path}", markup=False)
    for path in changes.removed:
        stdout().print(f"{output / path} (removed)", markup=False)
    if not changes.written and not changes.removed:
        stdout().print(f"{output}: all {len(changes.unchanged)} files are up to date", markup=False)


@click.command("check")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@json_option
def check(folder: Path, *, as_json: bool) -> None:
    """Look for mistakes in the manifests below DIR, generated or written by hand; end with 1 if there is one."""
    if not folder.is_dir():
        raise SpecError(f"{folder}: no such folder; name the one that `modelport manifests -o` wrote")
    findings = [finding for point in _checks() for finding in point(folder)]
    if as_json:
        print_json(
            [
                {key: getattr(finding, key) for key in ("file", "line", "severity", "code", "message")}
                for finding in findings
            ]
        )
    for finding in () if as_json else findings:
        where = finding.file if finding.line is None else f"{finding.file}:{finding.line}"
        stdout().print(f"{where}: {finding.severity}: {finding.message} ({finding.code})", markup=False)
    wrong = sum(finding.severity == "error" for finding in findings)
    if wrong:
        raise CheckFailed(f"{folder}: {wrong} {'mistake' if wrong == 1 else 'mistakes'}", shown=True)
    if not findings and not as_json:
        stdout().print(f"{folder}: nothing found", markup=False)


def _checks() -> list[Any]:
    checks = [point.load() for point in entry_points(group=CHECKS)]
    if not checks:
        raise MissingTool(f"no check is installed (entry points in {CHECKS}); mend it with: pip install -U modelport")
    return checks


def _build(model: Model, backends: Sequence[Backend], output: Path) -> list[tuple[Backend, Artifact]]:
    plans = [plan_for(backend, model) for backend in backends]
    built = []
    for backend, plan in zip(backends, plans, strict=True):
        for warning in plan.warnings:
            print_warning(f"{backend.name}: {warning}")
        with stderr().status(f"building {backend.name} …"):
            built.append((backend, build_artifact(backend, plan, output)))
    return built
