"""The group of all commands, and the translation of errors into messages and exit codes."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import NoReturn

import click

from modelport._version import VERSION
from modelport.console import print_error, print_json
from modelport.errors import CheckFailed, MissingTool, ModelportError

PROGRAM = "modelport"
COMPLETION = "_MODELPORT_COMPLETE"  # the variable by which a shell asks for completions

# Exit codes of errors that are not ours; `modelport.errors` has the others.
USAGE = 2
SYSTEM = 4
INTERRUPTED = 130
TERMINATED = 143

EXPECTED = (
    ModelportError,
    click.ClickException,
    click.exceptions.Exit,
    KeyboardInterrupt,
    OSError,
    ModuleNotFoundError,
)

# Which extra brings a module that is imported where it is used.
EXTRAS = {
    "bentoml": "bentoml",
    "grpc": "grpc",
    "keras": "tfserving",
    "kubernetes": "kubernetes",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "onnxscript": "onnx",
    "pyarrow": "parquet",
    "skl2onnx": "sklearn",
    "sklearn": "sklearn",
    "skops": "sklearn",
    "tensorflow": "tfserving",
    "tensorflow_serving": "tfserving",
    "torch": "pytorch",
}

COMMANDS = {
    "init": "Write a commented spec for a model file.",
    "validate": "Check specs and say what is wrong, line by line.",
    "schema": "Print the JSON Schema of the spec, for editors.",
    "inspect": "Tell what a model, a spec, an artifact or a running service is.",
    "plan": "Print every file that a build would write; touch nothing.",
    "build": "Write the artifact of one backend, or of all.",
    "containerize": "Put an artifact into a container image.",
    "serve": "Run the real server on an artifact until Ctrl-C.",
    "predict": "Send inputs to a running service.",
    "verify": "Compare every backend's answers with the framework's own.",
    "manifests": "Write the files that deploy a model, or check such files.",
    "deploy": "Put a model where it shall run; wait until it answers, or roll back.",
}


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports one when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """Give the names, in the order in which a model passes through them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # the same
        """Import the command's module."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"modelport.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  # the same
        """List the commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; suggest one when a name is misspelt."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = get_close_matches(args[0], COMMANDS, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else f" There are: {', '.join(COMMANDS)}."
            raise click.UsageError(f"No command is called {args[0]!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 well; 1 a check did not hold; 2 a wrong spec or usage; 3 a tool or extra is missing; "
    "4 a build failed; 5 a server failed.",
)
@click.version_option(VERSION, prog_name="modelport", message="%(prog)s %(version)s")
def group() -> None:
    """One model spec, served alike by BentoML, TorchServe and TensorFlow Serving."""


def run(arguments: Sequence[str]) -> int:
    """Run one command.

    Returns:
        The exit code; see `modelport.errors`.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under `nohup`: what is ignored stays so
            signal.signal(number, raise_terminated)
    try:
        if (wanted := os.environ.get(COMPLETION)) is not None:
            from click.shell_completion import shell_complete

            return shell_complete(group, {}, PROGRAM, COMPLETION, wanted)
        # Not `main`, which turns signals into `Abort` and a closed pipe into exit code 1.
        with group.make_context(PROGRAM, list(arguments)) as context:
            group.invoke(context)
        sys.stdout.flush()
    except EXPECTED as error:
        return report(error, as_json="--json" in arguments)
    return 0


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP came: servers that were started are ended, and folders set aside removed, on the way out."""


def raise_terminated(number: int, frame: object) -> NoReturn:
    """Turn a signal into an exception, so that every ``with`` and ``finally`` is passed on the way out."""
    del frame
    raise Terminated(number)


def report(error: BaseException, *, as_json: bool = False) -> int:
    """Say what went wrong, in one message; give the exit code.

    Args:
        error: One of `EXPECTED`.
        as_json: Whether a program reads stdout: it gets the error as the command's one document, too.
    """
    if isinstance(error, ModuleNotFoundError):
        error = missing_extra(error)
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, KeyboardInterrupt):
        terminated = isinstance(error, Terminated)
        print_error(f"{'ended by a signal' if terminated else 'interrupted'}; nothing half-written was left")
        return TERMINATED if terminated else INTERRUPTED
    if isinstance(error, BrokenPipeError):  # whoever read our output has closed it (``modelport plan … | head``)
        abandon_stdout()
        return 0
    if isinstance(error, ModelportError):
        code, message = error.exit_code, str(error)
        print_error(message)
    elif isinstance(error, click.ClickException):
        code, message = USAGE, error.format_message()
        error.show()
    else:
        where = f"{error.filename}: " if isinstance(error, OSError) and error.filename else ""
        code, message = SYSTEM, f"{where}{getattr(error, 'strerror', None) or error}"
        print_error(message)
    shown = isinstance(error, CheckFailed) and error.shown
    try:
        if as_json and not shown:
            print_json({"error": {"kind": type(error).__name__, "message": message, "exit_code": code}})
        sys.stdout.flush()
    except OSError:  # as it may be what the error is about: a full disk behind stdout
        abandon_stdout()
    return code


def missing_extra(error: ModuleNotFoundError) -> MissingTool:
    """Name the command that installs a module; an error of our own, or of the user's code, stays what it is."""
    module = (error.name or "").partition(".")[0]
    if module not in EXTRAS:
        raise error
    return MissingTool(f"{module} is not installed here; install it with: pip install 'modelport[{EXTRAS[module]}]'")


def abandon_stdout() -> None:
    """Let what was not written yet go nowhere: Python would complain about it once more at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
