"""``modelport deploy``: put a model where it shall run, wait until it answers, roll back if it does not."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from modelport.cli.group import INTERRUPTED, TERMINATED, Terminated
from modelport.cli.shared import json_option, output_option, spec_argument
from modelport.console import print_json, stderr, stdout
from modelport.deployment import Service, Wish, ask_sample, open_rollout
from modelport.errors import SpecError
from modelport.run.difference import render_changes
from modelport.run.rollout import Interrupted, Outcome, Rollout, run_rollout
from modelport.signals import postponed

TARGETS = ("compose", "podman", "kubernetes")
LOCAL = ("compose", "podman")
TIMEOUT_S = 300


@click.command("deploy")
@spec_argument
@click.option("-b", "--backend", required=True, metavar="NAME", help="bentoml, torchserve, tfserving or another; one.")
@click.option("-t", "--target", required=True, type=click.Choice(TARGETS), help="Where to.")
@click.option(
    "--image",
    multiple=True,
    metavar="REF",
    help="Image to run, best with its @sha256: digest; left out, the one that `modelport containerize` names.",
)
@click.option("-n", "--namespace", metavar="NAME", help="kubernetes: in place of deploy.namespace and the context's.")
@click.option("--context", metavar="NAME", help="kubernetes: context of the kubeconfig; its current one if left out.")
@click.option("--overlay", metavar="NAME", help="kubernetes: dev, prod, canary, …; the base if left out.")
@click.option("--force", is_flag=True, help="kubernetes: take fields that others own.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="compose, podman: port of this machine for the first protocol (REST). 0 takes free ones for all.",
)
@click.option("--grpc-port", type=click.IntRange(0, 65535), help="compose, podman: the same for gRPC.")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait until it answers; else roll back.")
@click.option(
    "--timeout",
    type=click.IntRange(1, 86_400),
    help=f"Seconds that it may take to get ready; {TIMEOUT_S}, or twice the server's own limit where that is more.",
)
@click.option("--dry-run", is_flag=True, help="Show the difference to what runs; touch nothing.")
@output_option
@json_option
def command(  # noqa: PLR0913, PLR0917  # one parameter an option
    spec: Path,
    backend: str,
    target: str,
    image: tuple[str, ...],
    namespace: str | None,
    context: str | None,
    overlay: str | None,
    port: int | None,
    grpc_port: int | None,
    timeout: int | None,
    output: Path,
    *,
    force: bool,
    wait: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Deploy SPEC's model. What does not answer in time is taken back, and what ran before runs again.

    Ctrl-C rolls back, too; a second one leaves everything as it is, and the message says how that is.
    """
    wish = Wish(
        spec=spec,
        backend=backend,
        target=target,
        output=output,
        images=image,
        namespace=namespace,
        context=context,
        overlay=overlay,
        force=force,
        port=port,
        grpc_port=grpc_port,
    )
    _check_options(wish)
    with open_rollout(wish) as (service, rollout):
        if dry_run:
            _show_difference(rollout, as_json=as_json)
            return
        timeout_s = timeout or max(TIMEOUT_S, 2 * service.plan.start_timeout_s)
        try:
            outcome = run_rollout(rollout, wait=wait, timeout_s=timeout_s, ask=partial(ask_sample, service), note=_note)
        except Interrupted as error:
            error.exit_code = TERMINATED if isinstance(error.__cause__, Terminated) else INTERRUPTED
            raise
        _show_outcome(outcome, service, as_json=as_json)


def _check_options(wish: Wish) -> None:
    given = {
        "--namespace": (wish.namespace, ("kubernetes",)),
        "--context": (wish.context, ("kubernetes",)),
        "--overlay": (wish.overlay, ("kubernetes",)),
        "--force": (wish.force or None, ("kubernetes",)),
        "--port": (wish.port, LOCAL),
        "--grpc-port": (wish.grpc_port, LOCAL),
    }
    for option, (value, targets) in given.items():
        if value is not None and wish.target not in targets:
            raise SpecError(f"{option} means nothing for --target {wish.target}; it is for {' and '.join(targets)}")


def _note(text: str) -> None:
    with postponed():  # rich, interrupted in the middle of a line, prints it once more with the next one
        stderr().print(text, markup=False, style="dim")


def _show_difference(rollout: Rollout, *, as_json: bool) -> None:
    changes = rollout.changes()
    text = render_changes(changes)
    if as_json:
        named = [{"name": change.name, "action": change.verb} for change in changes]
        print_json({"place": rollout.place, "changes": named, "difference": text})
        return
    stdout().print(text, markup=False)


def _show_outcome(outcome: Outcome, service: Service, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "place": outcome.place,
                "image": service.plan.image,
                "applied": outcome.applied,
                "endpoints": dict(outcome.endpoints),
                "waited": bool(outcome.answered),
                "readiness": outcome.answered or None,
            }
        )
        return
    for line in outcome.applied or ("nothing had to be changed",):
        stdout().print(line, markup=False)
    for name, url in outcome.endpoints.items():
        stdout().print(f"{name}: {url}", markup=False)
    done = outcome.answered or "not waited for; nothing is rolled back if it does not get ready"
    stdout().print(f"{outcome.place}: {done}", markup=False)
