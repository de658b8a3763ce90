"""``config.properties``: everything that TorchServe would otherwise decide for itself, stated."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from modelport.spec.schema import ModelSpec

from .options import TorchServeOptions

MODEL_STORE = "model-store"
MEBI = 2**20
FRAMING = 64 * 2**10  # what gRPC wraps around a body; the handler holds bodies themselves to the exact limit
NO_URL = "(?!)"  # the regular expression that nothing matches; an empty list would let everything in


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """Where a server listens and finds its archive.

    Attributes:
        address: IPv4 address or host name.
        ports: Numbers by the names in `options.Ports`.
        token_authorization: Whether callers must show tokens.
        management_address: The same for the two management ports; empty for ``address``.
        model_store: The archive's folder, absolute or relative to the working directory.
        archive: The archive's file in it, or the folder of one that is unpacked; empty for ``<name>.mar``.
        installs: Whether the server may run pip when it loads the model, where the spec wants it to.
    """

    address: str
    ports: Mapping[str, int]
    token_authorization: bool
    management_address: str = ""
    model_store: str = MODEL_STORE
    archive: str = ""
    installs: bool = True


def bind_as_specified(options: TorchServeOptions) -> Binding:
    """Give the binding that the options ask for."""
    return Binding(
        address=options.address,
        ports=options.ports.model_dump(),
        token_authorization=bool(options.token_authorization),
    )


def render_config(spec: ModelSpec, options: TorchServeOptions, binding: Binding) -> str:
    """Give the text of ``config.properties``, the same for the same arguments."""
    archive = binding.archive or f"{spec.name}.mar"
    sections = (
        ("Addresses", _addresses(binding)),
        (
            "Who may call what",
            {
                "disable_token_authorization": not binding.token_authorization,
                "enable_model_api": options.model_control,
                "allowed_urls": ",".join(options.allowed_urls) or NO_URL,
                "enable_envvars_config": False,
            },
        ),
        ("Sizes, threads and times", _limits(spec, options)),
        (
            "Metrics",
            {
                "enable_metrics_api": True,
                "metrics_mode": options.metrics_mode,
                "disable_system_metrics": not options.system_metrics,
            },
        ),
        (
            "The model: its name and version must be those in the archive's manifest, or the numbers do nothing",
            {
                "install_py_dep_per_model": options.install_requirements and binding.installs,
                # Our handler wants bodies as they were sent; others expect the server's own default.
                "decode_input_request": options.handler is not None,
                "model_store": binding.model_store,
                "load_models": f"{spec.name}={archive}",
                "models": json.dumps(_tuning(spec, options, archive), separators=(",", ":")),
            },
        ),
        ("As the spec says", options.properties),
    )
    return "\n".join(_section(title, values.items()) for title, values in sections if values)


def _addresses(binding: Binding) -> dict[str, str | int]:
    ports = binding.ports
    management = binding.management_address or binding.address
    return {
        "inference_address": f"http://{binding.address}:{ports['rest']}",
        "management_address": f"http://{management}:{ports['management']}",
        "metrics_address": f"http://{binding.address}:{ports['metrics']}",
        "grpc_inference_address": binding.address,
        "grpc_inference_port": ports["grpc"],
        "grpc_management_address": management,
        "grpc_management_port": ports["grpc_management"],
    }


def _limits(spec: ModelSpec, options: TorchServeOptions) -> dict[str, str | int]:
    limits: dict[str, str | int] = {
        "max_request_size": spec.serving.max_request_mb * MEBI + FRAMING,
        # An answer that is longer, or a batch of answers, would cost the worker its life: no limit but Java's.
        "max_response_size": 2**31 - 1,
        "job_queue_size": options.job_queue_size,
        "default_workers_per_model": spec.serving.workers,
        "default_response_timeout": spec.serving.timeout_s,
        "default_startup_timeout": options.startup_timeout_s,
    }
    if options.netty_threads is not None:
        limits["number_of_netty_threads"] = options.netty_threads
    if options.netty_client_threads is not None:
        limits["netty_client_threads"] = options.netty_client_threads
    if spec.environment.device == "cpu":
        limits["number_of_gpu"] = 0  # left out, a machine with GPUs would be asked for all of them
    elif options.gpus is not None:
        limits["number_of_gpu"] = options.gpus
    if options.jvm:
        limits["vmargs"] = " ".join(options.jvm)
    return limits


def _tuning(spec: ModelSpec, options: TorchServeOptions, archive: str) -> dict[str, object]:
    batching = spec.serving.batching
    return {
        spec.name: {
            spec.version: {
                "defaultVersion": True,
                "marName": archive,
                "minWorkers": spec.serving.workers,
                "maxWorkers": spec.serving.workers,
                "batchSize": batching.max_size if batching else 1,
                # TorchServe reads 0 as "not said" and waits for its default of 100 ms.
                "maxBatchDelay": max(1, batching.max_delay_ms) if batching else 1,
                "responseTimeout": spec.serving.timeout_s,
                "startupTimeout": options.startup_timeout_s,
            }
        }
    }


def _section(title: str, items: Iterable[tuple[str, object]]) -> str:
    lines = [f"{key}={_value(value)}" for key, value in items]
    return "\n".join((f"# {title}", *lines, ""))


def _value(value: object) -> str:
    """Write a value as Java reads properties: Latin-1, a backslash escapes, other letters are UTF-16 by number."""
    if isinstance(value, bool):
        return str(value).lower()
    units = str(value).replace("\\", "\\\\").encode("utf-16-be")
    codes = (int.from_bytes(units[i : i + 2]) for i in range(0, len(units), 2))
    return "".join(chr(code) if code < 128 else f"\\u{code:04x}" for code in codes)
