"""``modelport build``: write artifacts."""

from __future__ import annotations

from pathlib import Path

import click

from modelport.artifact import Artifact
from modelport.build import build_artifact, plan_all, resolve, select_backends
from modelport.cli.shared import backend_option, json_option, output_option, spec_argument
from modelport.console import print_json, print_warning, stderr, stdout


@click.command("build")
@spec_argument
@backend_option
@output_option
@json_option
def command(spec: Path, backend: tuple[str, ...], output: Path, *, as_json: bool) -> None:
    """Write OUTPUT/<name>/<version>/<backend>, whole or not at all; the same inputs give the same bytes."""
    backends = select_backends(backend)
    model = resolve(spec)
    # All are planned before the first is built: a spec that one backend refuses builds none.
    plans = plan_all(backends, model)
    built: list[Artifact] = []
    for chosen, plan in zip(backends, plans, strict=True):
        for warning in plan.warnings:
            print_warning(f"{plan.backend}: {warning}")
        with stderr().status(f"building {plan.backend} …"):
            built.append(build_artifact(chosen, plan, output))
        if not as_json:
            artifact = built[-1]
            stdout().print(f"{artifact.backend}: {artifact.path} (sha256 {artifact.sha256[:12]})", markup=False)
    if as_json:
        print_json([{"backend": a.backend, "path": str(a.path), "sha256": a.sha256} for a in built])
