"""``modelport verify``: does every server answer as the framework does?"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import click
from click.core import ParameterSource

from modelport.artifact import Artifact, changed_files, read_artifact
from modelport.backend import Backend
from modelport.build import build_artifact, destination, outdated_parts, plan_all, resolve, select_backends
from modelport.cli.shared import backend_option, json_option, output_option, spec_argument, token_option
from modelport.console import print_json, print_warning, stderr, stdout
from modelport.errors import CheckFailed
from modelport.model import Model
from modelport.plan import BuildPlan
from modelport.verify.report import report_as_data, report_as_table
from modelport.verify.session import Exam, Row, Tolerance, examine, examine_artifact, prepare, require_samples


@click.command("verify")
@spec_argument
@backend_option
@output_option
@json_option
@click.option("--atol", type=click.FloatRange(min=0), help="Largest absolute difference; the spec's verify.atol.")
@click.option("--rtol", type=click.FloatRange(min=0), help="Largest relative difference; the spec's verify.rtol.")
@click.option("--no-build", is_flag=True, help="Verify the artifacts that stand in OUTPUT; they must be this spec's.")
@click.option("--url", "urls", multiple=True, help="Verify a running service instead. May be given several times.")
@token_option
@click.option("--logs", is_flag=True, help="Show what the servers print.")
def command(  # noqa: PLR0913  # one parameter an option
    spec: Path,
    backend: tuple[str, ...],
    output: Path,
    urls: tuple[str, ...],
    atol: float | None,
    rtol: float | None,
    token: str | None,
    *,
    no_build: bool,
    logs: bool,
    as_json: bool,
) -> None:
    """Build, serve on the real servers, send every sample over every protocol, compare with the framework.

    An artifact in OUTPUT whose files were changed after it was built is not built over: it is served as it is, and
    fails by name.
    """
    refuse_idle_options(url_given=bool(urls))
    model = resolve(spec)
    chosen = () if urls else select_backends(backend)
    tolerance = Tolerance(
        atol=model.spec.verify.atol if atol is None else atol, rtol=model.spec.verify.rtol if rtol is None else rtol
    )
    require_samples(model)
    plans = plan_all(chosen, model)
    artifacts = {
        one.name: _artifact(one, plan, output, no_build=no_build) for one, plan in zip(chosen, plans, strict=True)
    }
    with stderr().status("asking the framework …") as status:
        exam = prepare(model, tolerance)
        for warning in exam.warnings:
            print_warning(warning)

        def log(line: str) -> None:
            stderr().print(line, markup=False, style="dim")

        rows = [
            row
            for one in chosen
            for row in examine_artifact(one, artifacts[one.name], exam, note=status.update, log=log if logs else None)
        ]
        rows += [_examine_url(url, exam, token) for url in urls]
    _show(rows, exam, model, as_json=as_json)
    if chosen and not as_json:
        stdout().print("every server has ended, and none of their processes is left")
    failed = [f"{row.backend} over {row.protocol}" for row in rows if not row.passed]
    if failed:
        raise CheckFailed(f"{', '.join(failed)}: not the framework's answers", shown=True)


def refuse_idle_options(*, url_given: bool) -> None:
    """Look for options that would do nothing.

    Args:
        url_given: Whether a running service is verified, so that nothing is built or served.

    Raises:
        click.UsageError: There are some.
    """
    context = click.get_current_context()
    others = {"backend": "--backend", "output": "--output", "no_build": "--no-build", "logs": "--logs"}
    idle = others if url_given else {"token": "--token"}
    given = [flag for name, flag in idle.items() if context.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    if given:
        why = "a service at --url is neither built nor started" if url_given else "a token is for services at --url"
        raise click.UsageError(f"{', '.join(given)} would do nothing: {why}; leave it out")


def _artifact(backend: Backend, plan: BuildPlan, output: Path, *, no_build: bool) -> Artifact:
    folder = destination(output, plan)
    if no_build:
        artifact = read_artifact(folder)
        if outdated := outdated_parts(artifact, plan):
            raise CheckFailed(
                f"{folder}: {', '.join(outdated)}: no longer what it was built from; build again, "
                "or leave --no-build out"
            )
        return artifact
    if (folder / "artifact.json").is_file() and changed_files(read_artifact(folder)):
        return read_artifact(folder)
    for warning in plan.warnings:
        print_warning(f"{backend.name}: {warning}")
    with stderr().status(f"building {backend.name} …"):
        return build_artifact(backend, plan, output)


def _examine_url(url: str, exam: Exam, token: str | None) -> Row:
    from modelport import connect

    with closing(connect(url, timeout_s=exam.timeout_s, token=token)) as client:
        protocol = "grpc" if url.startswith("grpc") else "rest"
        return examine(client, exam, Row(backend=client.backend, protocol=protocol, server=url))


def _show(rows: list[Row], exam: Exam, model: Model, *, as_json: bool) -> None:
    if as_json:
        print_json(report_as_data(rows, exam))
        return
    console = stdout()
    framework = f"{model.spec.model.framework} ({model.format})"
    console.print(report_as_table(rows, f"{model.spec.name} {model.spec.version} against {framework}"))
    for server in dict.fromkeys(f"{row.backend}: {row.server}" for row in rows):
        console.print(server, markup=False, style="dim")
    if exam.accuracy is not None:
        console.print(f"accuracy of {framework} itself on these samples: {100 * exam.accuracy:.2f} %")
    console.print(f"tolerance: {exam.tolerance.atol:g} + {exam.tolerance.rtol:g} * |right value|")
    for row in rows:
        if row.skipped:
            console.print(f"{row.backend} {row.protocol}: {row.skipped}", markup=False, style="yellow")
    for (backend, fault), protocols in _gathered(rows).items():
        console.print(f"{backend} over {', '.join(protocols)}: {fault}", markup=False, style="red")


def _gathered(rows: list[Row]) -> dict[tuple[str, str], list[str]]:
    """Give each backend's faults once, with the protocols that had them: a server that died has the same for all."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        for fault in row.faults:
            found.setdefault((row.backend, fault), []).append(row.protocol)
    return found
