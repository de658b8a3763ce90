"""``modelport serve``: the real server on an artifact, until Ctrl-C."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import click

from modelport.backend import Backend, ServeSettings
from modelport.cli.shared import artifact_of, output_option, spec_argument
from modelport.console import stderr, stdout
from modelport.errors import SpecError
from modelport.plan import ServicePlan
from modelport.run.ports import choose_ports
from modelport.run.service import LocalService, running


@click.command("serve")
@spec_argument
@click.option("-b", "--backend", metavar="NAME", help="bentoml, torchserve, tfserving or another; one.")
@output_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to bind to.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="Port of the first protocol (REST); the others keep their defaults. 0 takes free ports for all.",
)
@click.option("--grpc-port", type=click.IntRange(0, 65535), help="Port of gRPC, where the backend has it.")
@click.option("--quiet", is_flag=True, help="Do not show what the server prints.")
def command(
    spec: Path, backend: str | None, output: Path, host: str, port: int | None, grpc_port: int | None, *, quiet: bool
) -> None:
    """Serve SPEC (built first) or an artifact's folder with its real server; print the URLs; stop on Ctrl-C."""
    server, artifact = artifact_of(spec, backend, output)
    ports = choose_ports(wanted_ports(server, port, grpc_port), host)
    plan = server.service(artifact, ServeSettings(host=host, ports=ports))
    stdout().print(f"starting {plan.server} on {artifact.path}", markup=False)
    with _stopped_by_signals() as stopped:
        with running(plan, host, log=None if quiet else _show_line) as service:
            _wait_ready(server, plan, service, stopped)
            if not stopped.is_set():
                for name, url in plan.endpoints.items():
                    stdout().print(f"{name}: {url}", markup=False)
                stdout().print("ready; Ctrl-C stops it", markup=False)
                stdout().file.flush()
                service.wait(stopped)
        stderr().print("stopped", markup=False)


def wanted_ports(backend: Backend, port: int | None, grpc_port: int | None) -> dict[str, int]:
    """Give the port of each name: what was asked for, the server's own number, or 0 for a free one.

    Raises:
        SpecError: gRPC was asked of a backend that has none.
    """
    names = list(backend.default_ports)
    wanted = dict.fromkeys(names, 0) if port == 0 else dict(backend.default_ports)
    if port is not None:
        wanted[names[0]] = port
    if grpc_port is not None:
        if "grpc" not in wanted:
            raise SpecError(f"--grpc-port: {backend.name} speaks no gRPC")
        wanted["grpc"] = grpc_port
    return wanted


def _wait_ready(backend: Backend, plan: ServicePlan, service: LocalService, stopped: threading.Event) -> None:
    for protocol in backend.protocols:
        with closing(backend.client(plan.endpoints[protocol])) as client:
            service.wait_ready(lambda ready=client.ready: stopped.is_set() or ready())  # type: ignore[misc]


@contextmanager
def _stopped_by_signals() -> Iterator[threading.Event]:
    """Give an event that SIGTERM and SIGINT set; the old handlers come back at the end."""
    stopped = threading.Event()

    def stop(number: int, frame: object) -> None:  # noqa: ARG001  # what signal handlers are given
        stopped.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _show_line(line: str) -> None:
    stdout().print(line, markup=False, style="dim")
