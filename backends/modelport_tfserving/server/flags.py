"""The command line: `tensorflow_model_server`'s flags, which of them are honoured, and which are refused."""

from __future__ import annotations

import dataclasses
import re
import textwrap
from typing import Any, NamedTuple


def _flag(default: bool | float | str, text: str) -> Any:  # Any: dataclasses.field stands where a value is due
    return dataclasses.field(default=default, metadata={"help": text})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What the command line asked for: one field per honoured flag, with the real server's defaults.

    A number of threads of 0 means "as many as suits the machine".
    """

    port: int = _flag(8500, "TCP port for the gRPC API; 0 when only --grpc_socket_path is to listen")
    grpc_socket_path: str = _flag("", "also listen for gRPC on a UNIX socket at this path")
    rest_api_port: int = _flag(0, "port for the HTTP/REST API; 0 leaves it off; must differ from --port")
    rest_api_num_threads: int = _flag(0, "REST requests worked on at once; 0: from the number of CPUs")
    rest_api_timeout_in_ms: int = _flag(30000, "timeout of a REST call in milliseconds")
    rest_api_enable_cors_support: bool = _flag(False, "send CORS headers with REST responses")
    enable_batching: bool = _flag(False, "join concurrent requests into batches")
    batching_parameters_file: str = _flag("", "BatchingParameters as a text proto; needs --enable_batching")
    allow_version_labels_for_unavailable_models: bool = _flag(
        False, "let a new label name a version that is not loaded yet"
    )
    model_config_file: str = _flag("", "ModelServerConfig as a text proto; replaces --model_name and _base_path")
    model_config_file_poll_wait_seconds: int = _flag(0, "read --model_config_file anew this often; 0: once")
    model_name: str = _flag("default", "name of the one model (ignored with --model_config_file)")
    model_base_path: str = _flag("", "absolute path of the one model's version directories")
    num_load_threads: int = _flag(0, "versions that may load at once; 0: one after the other")
    max_num_load_retries: int = _flag(5, "how often a failed load is tried again")
    load_retry_interval_micros: int = _flag(60_000_000, "microseconds between two tries of a load")
    file_system_poll_wait_seconds: int = _flag(1, "seconds between looks for new versions; 0: look once")
    tensorflow_session_parallelism: int = _flag(0, "threads of a TensorFlow session, both kinds")
    tensorflow_intra_op_parallelism: int = _flag(0, "threads inside one op")
    tensorflow_inter_op_parallelism: int = _flag(0, "ops that may run at once")
    tensorflow_session_config_file: str = _flag("", "TensorFlow ConfigProto as a text proto")
    ssl_config_file: str = _flag("", "SSLConfig as a text proto: serve gRPC over TLS")
    saved_model_tags: str = _flag("serve", "comma-separated tags of the graph to load from a SavedModel")
    grpc_channel_arguments: str = _flag("", "comma-separated key=value arguments of the gRPC server")
    grpc_max_threads: int = _flag(0, "gRPC requests worked on at once; 0: from the number of CPUs")
    enable_model_warmup: bool = _flag(True, "replay assets.extra/tf_serving_warmup_requests before serving")
    num_request_iterations_for_warmup: int = _flag(0, "how often each warm-up record is replayed, if above 0")
    monitoring_config_file: str = _flag("", "MonitoringConfig as a text proto: metrics on the REST port")
    enable_signature_method_name_check: bool = _flag(
        False, "refuse Predict, Classify and Regress on a signature made for another method"
    )
    enable_per_model_batching_parameters: bool = _flag(
        False, "take batching_params.pbtxt in a version's directory; the file of the flag gives the threads only"
    )
    prefer_tflite_model: bool = _flag(False, "serve model.tflite of a version's directory where there is one")
    num_tflite_pools: int = _flag(0, "TensorFlow Lite interpreters of a model; 0: from the number of CPUs")
    xla_cpu_compilation_enabled: bool = _flag(False, "run models that need XLA compilation")
    xla_gpu_compilation_enabled: bool = _flag(False, "run models that need XLA compilation; there is no GPU here")
    mixed_precision: str = _flag("", "bfloat16: let float32 graphs compute in bfloat16 where that is faster")
    enable_profiler: bool = _flag(True, "serve tensorflow.ProfilerService on the gRPC port")
    enable_grpc_healthcheck_service: bool = _flag(False, "serve grpc.health.v1.Health")
    enable_serialization_as_tensor_content: bool = _flag(False, "answer Predict in tensor_content")
    version: bool = _flag(False, "print the version and end")


class _Unused(NamedTuple):
    default: bool | float | str
    text: str


# These change speed, memory or hardware use in the real binary, never an answer: accepted, without effect here.
_TUNING = {
    "num_unload_threads": _Unused(0, "versions that may unload at once"),
    "flush_filesystem_caches": _Unused(True, "flush file system caches after loading"),
    "per_process_gpu_memory_fraction": _Unused(0.0, "share of a GPU's memory to take"),
    "remove_unused_fields_from_bundle_metagraph": _Unused(True, "drop parts of the graph after loading"),
    "num_tflite_interpreters_per_pool": _Unused(1, "TensorFlow Lite interpreters that share a large batch"),
    "thread_pool_factory_config_file": _Unused("", "configuration of op thread pools"),
    "skip_initialize_tpu": _Unused(False, "leave TPUs uninitialized"),
}

# These would change what is served or how: refused as soon as they ask for more than the default.
_REFUSED = {
    "platform_config_file": _Unused("", "PlatformConfigMap in place of the TensorFlow platform"),
    "use_alts_credentials": _Unused(False, "Google ALTS credentials"),
}

# What older releases called a flag.
_RENAMED = {"use_tflite_model": "prefer_tflite_model"}


class FlagError(Exception):
    """A command line that cannot be followed; the text says which flag and why."""


class HelpRequestedError(Exception):
    """The command line asked for the usage text."""


def parse_flags(arguments: list[str]) -> Options:
    """Read a command line as the real binary does: `--flag=value`, and `--flag` alone for a true one.

    The last of several mentions of a flag counts. Raises `FlagError` for an unknown flag, a value of the wrong kind
    or a flag that this server cannot honour, `HelpRequestedError` for `--help`.
    """
    defaults = _defaults()
    values: dict[str, bool | float | str] = {}
    for argument in arguments:
        if argument in {"--help", "-h"}:
            raise HelpRequestedError
        written, equals, text = argument.removeprefix("--").partition("=")
        name = _RENAMED.get(written, written)
        if not argument.startswith("--") or name not in defaults:
            raise FlagError(f"unknown argument: {argument}")
        if not equals and not isinstance(defaults[name], bool):
            raise FlagError(f"unknown argument: {argument} (a value follows after an equals sign: --{written}=VALUE)")
        values[name] = _convert(name, text if equals else "true", defaults[name])
    for name, unused in _REFUSED.items():
        if values.pop(name, unused.default) != unused.default:
            raise FlagError(
                f"--{name} ({unused.text}) is not supported by modelport's embedded server; leave it out, or "
                "put the real tensorflow_model_server on the PATH"
            )
    chosen: dict[str, Any] = {name: value for name, value in values.items() if name not in _TUNING}
    return Options(**chosen)


def render_usage(program: str) -> str:
    """Return the usage text: every flag with its default and what it does."""
    lines = [f"usage: {program}", "Flags:"]
    for name, default, text in describe_flags():
        filled = textwrap.fill(text, 70)
        lines.append(f"\t--{name + '=' + default:<50}\t{filled.replace(chr(10), chr(10) + chr(9) * 8)}")
    return "\n".join(lines) + "\n"


def render_table() -> str:
    """Return the flags as a Markdown table: what each does here, and what has no effect or is refused."""
    rows = [f"| `--{name}` | `{default}` | {text} |" for name, default, text in describe_flags()]
    return "\n".join(["| flag | default | here |", "|---|---|---|", *rows]) + "\n"


def describe_flags() -> list[tuple[str, str, str]]:
    """Return name, default as it is written, and effect of every flag."""
    described = {field.name: field.metadata["help"] for field in dataclasses.fields(Options)}
    described |= {name: f"{unused.text} (accepted, no effect here)" for name, unused in _TUNING.items()}
    described |= {name: f"{unused.text} (not supported here)" for name, unused in _REFUSED.items()}
    shown = {
        name: str(default).lower() if isinstance(default, bool) else repr(default).replace("'", '"')
        for name, default in _defaults().items()
    }
    return [(name, shown[name], text) for name, text in described.items()]


def _defaults() -> dict[str, bool | float | str]:
    honoured: dict[str, bool | float | str] = dataclasses.asdict(Options())
    return honoured | {name: unused.default for name, unused in (_TUNING | _REFUSED).items()}


def _convert(name: str, text: str, default: bool | float | str) -> bool | float | str:
    if isinstance(default, str):
        return text
    if isinstance(default, bool):
        if text not in {"true", "false"}:
            raise FlagError(f"Couldn't interpret value {text} for flag {name}: write true or false.")
        return text == "true"
    try:
        # Python also takes digits of other scripts, blanks and underscores for a number.
        return type(default)(text.encode("ascii") if re.fullmatch(r"[^\s_]+", text) else "")
    except ValueError:
        kind = "a whole number" if isinstance(default, int) else "a number"
        raise FlagError(f"Couldn't interpret value {text} for flag {name}: write {kind}.") from None
