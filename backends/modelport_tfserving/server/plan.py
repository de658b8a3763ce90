"""What the flags and the files they name ask for, checked before anything is started."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from modelport_tfserving.server import configs
from modelport_tfserving.server.configs import BatchingParameters, ModelConfig, TLSConfig
from modelport_tfserving.server.flags import Options
from modelport_tfserving.server.statuses import invalid_argument

# The real binary has no flag for its address and listens on all of them; so does this one, unless told otherwise.
HOST_VARIABLE = "MODELPORT_TFSERVING_HOST"
ANY_HOST = "0.0.0.0"  # noqa: S104 (what the real binary does, and what containers need)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that the flags and the files they name ask for, checked."""

    models: tuple[ModelConfig, ...] | None
    batching: BatchingParameters | None
    metrics_path: str | None
    tls: TLSConfig | None
    host: str
    cpus: int

    def threads(self, asked: int) -> int:
        """Return how many requests to work on at once: what was asked for, or what suits machine and batching."""
        # A waiting thread costs little here, and a batch can only be as large as the requests that may wait for it.
        waiting = 2 * min(self.batching.max_size, 128) if self.batching else 0
        return asked if asked > 0 else max(4 * self.cpus, 32, waiting)


def make_plan(options: Options) -> Plan:
    """Read the files that the options name. Raises `ServingError` for whatever cannot be served as asked."""
    _check_options(options)
    cpus = len(os.sched_getaffinity(0))
    batching = None
    if options.enable_batching:
        batching = BatchingParameters(threads=cpus)
        if options.batching_parameters_file:
            batching = configs.load_batching(Path(options.batching_parameters_file), cpus)
    monitoring, tls = options.monitoring_config_file, options.ssl_config_file
    return Plan(
        models=read_models(options),
        batching=batching,
        metrics_path=configs.load_metrics_path(Path(monitoring)) if monitoring else None,
        tls=configs.load_tls(Path(tls)) if tls else None,
        host=os.environ.get(HOST_VARIABLE) or ANY_HOST,
        cpus=cpus,
    )


def _check_options(options: Options) -> None:
    if options.port == 0 and not options.grpc_socket_path:
        raise invalid_argument(
            "server_options.grpc_port is not set. (--port is 0 and --grpc_socket_path is empty: gRPC has nowhere "
            "to listen)"
        )
    if options.rest_api_port and options.rest_api_port == options.port:
        raise invalid_argument("--rest_api_port cannot be same as --port; use a different port for HTTP/REST API")
    if not options.model_base_path and not options.model_config_file:
        raise invalid_argument(
            "Both server_options.model_base_path and server_options.model_config_file are empty! (Name a model with "
            "--model_name and --model_base_path, or several with --model_config_file)"
        )
    if options.batching_parameters_file and not options.enable_batching:
        raise invalid_argument(
            "server_options.batching_parameters_file is set without setting server_options.enable_batching to true."
        )
    if options.enable_per_model_batching_parameters and not options.enable_batching:
        raise invalid_argument("--enable_per_model_batching_parameters needs --enable_batching")
    if options.mixed_precision not in {"", "bfloat16"}:
        raise invalid_argument(
            f"--mixed_precision={options.mixed_precision} auto mixed precision mode is not supported; only bfloat16 is"
        )
    if options.monitoring_config_file and not options.rest_api_port:
        raise invalid_argument("--monitoring_config_file needs --rest_api_port: metrics are served on that port")
    if options.file_system_poll_wait_seconds < 0 or options.model_config_file_poll_wait_seconds < 0:
        raise invalid_argument("the poll intervals must not be negative; 0 looks once")
    op_threads = (options.tensorflow_intra_op_parallelism, options.tensorflow_inter_op_parallelism)
    if options.tensorflow_session_parallelism and all(op_threads):
        raise invalid_argument(
            "Either configure server_options.tensorflow_session_parallelism or "
            "(server_options.tensorflow_intra_op_parallelism, server_options.tensorflow_inter_op_parallelism) "
            "separately. You cannot configure all."
        )


def read_models(options: Options) -> tuple[ModelConfig, ...] | None:
    """Return the models to serve: those of the configuration file, or the one of the flags."""
    if options.model_config_file:
        return configs.load_model_configs(Path(options.model_config_file))
    if not options.model_base_path.startswith("/"):
        raise invalid_argument(
            f"Expected model {options.model_name} to have an absolute path or URI; "
            f"got base_path()={options.model_base_path}"
        )
    return (ModelConfig(name=options.model_name, base_path=Path(options.model_base_path)),)
