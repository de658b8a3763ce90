"""The server's life: flags, files and ports first, then the models, then both doors; and its orderly end."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from modelport_tfserving.server import configs
from modelport_tfserving.server.flags import (
    FlagError,
    HelpRequestedError,
    Options,
    parse_flags,
    render_usage,
)
from modelport_tfserving.server.listeners import bind_socket, start_grpc
from modelport_tfserving.server.plan import Plan, make_plan, read_models
from modelport_tfserving.server.statuses import Code, ServingError

_log = logging.getLogger(__name__)
PROGRAM = "modelport-tfserving"
_FAILED = 255
_MISSING = 3
_GRACE_S = 1.2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the server until SIGTERM or SIGINT, from the process's own arguments where none are given.

    Returns the exit code: 0, 255 as the real binary's -1 (also for --help), or 3 where TensorFlow is not installed.
    """
    try:
        options = parse_flags(list(sys.argv[1:] if arguments is None else arguments))
    except HelpRequestedError:
        sys.stdout.write(render_usage(PROGRAM))
        return _FAILED
    except FlagError as error:
        # The real binary says it on stdout; a log that holds stderr alone should have it too.
        sys.stdout.write(f"{error}\n{render_usage(PROGRAM)}")
        sys.stderr.write(f"{error}\n")
        return _FAILED
    if find_spec("tensorflow") is None or find_spec("tensorflow_serving") is None:
        sys.stderr.write(f"{PROGRAM} needs TensorFlow; install it with: pip install 'modelport[tfserving]'\n")
        return _MISSING
    if options.version:
        sys.stdout.write(
            f"TensorFlow ModelServer: {_version_of('modelport')} (modelport's embedded stand-in, not the real "
            f"tensorflow_model_server)\nTensorFlow Library: {_version_of('tensorflow', 'tensorflow-cpu')}\n"
        )
        return 0
    _set_up_logging()
    serving, stopping = threading.Event(), threading.Event()
    _handle_signals(serving, stopping)
    try:
        server = _start(options, stopping)
    except ServingError as error:
        sys.stdout.write(f"Failed to start server. Error: {error}\n")
        _log.error("Failed to start server. Error: %s", error)
        return _leave(_FAILED)
    serving.set()
    stopping.wait()
    _log.info("Stopping: no new requests are taken, those in work may end")
    server.stop()
    return _leave(0)


def _version_of(*names: str) -> str:
    """Give the version of the first distribution that is installed: TensorFlow comes under several names."""
    for name in names:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return "(version unknown)"


def _set_up_logging() -> None:
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s.%(msecs)03d: %(levelname).1s modelport_tfserving/%(module)s:%(lineno)d] %(message)s",
        datefmt="%Y-%m-%d %H:%M:%S",
    )
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")


def _handle_signals(serving: threading.Event, stopping: threading.Event) -> None:
    def ask_to_stop(_number: int, _frame: FrameType | None) -> None:
        stopping.set()
        if not serving.is_set():
            os._exit(0)  # There is no request to wait for, and importing TensorFlow would take its seconds.

    signal.signal(signal.SIGTERM, ask_to_stop)
    signal.signal(signal.SIGINT, ask_to_stop)


def _leave(code: int) -> NoReturn:
    """End the process at once: TensorFlow's threads make the interpreter's own ending slow and fragile."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


@dataclass(frozen=True, kw_only=True)
class _Running:
    """The parts of a running server that its end has to stop."""

    manager: Any
    grpc_server: Any
    http: Any
    health: Any

    def stop(self) -> None:
        """Take no new requests, let those in work end, bounded by the grace."""
        self.health.stop()
        rpc_done = self.grpc_server.stop(_GRACE_S)
        if self.http is not None:
            self.http.stop(_GRACE_S)
        rpc_done.wait(_GRACE_S)
        self.manager.stop()


def _start(options: Options, stopping: threading.Event) -> _Running:
    plan = make_plan(options)
    listener = bind_socket(plan.host, options.rest_api_port, "--rest_api_port") if options.rest_api_port else None
    if options.port:
        # gRPC binds only once the models are loaded; that the port is taken should be said before.
        bind_socket(plan.host, options.port, "--port").close()
    _log.info(
        "This is modelport's embedded stand-in for tensorflow_model_server, on TensorFlow %s",
        _version_of("tensorflow", "tensorflow-cpu"),
    )
    # TensorFlow takes seconds to import, so what needs it comes after everything that may be wrong.
    from modelport_tfserving.server import profiler, rest, rpc
    from modelport_tfserving.server.health import Health
    from modelport_tfserving.server.httpd import HTTPListener

    inference, manager = _make_manager(options, plan)
    manager.configure(plan.models, stopping.is_set)
    _repeat(stopping, options.file_system_poll_wait_seconds, manager.poll)
    if options.model_config_file:
        _repeat(
            stopping,
            options.model_config_file_poll_wait_seconds,
            lambda: manager.configure(read_models(options), stopping.is_set),
        )
    services = rpc.Services(
        manager=manager,
        inference=inference,
        as_content=options.enable_serialization_as_tensor_content,
    )
    handlers = services.handlers()
    health = Health()
    if options.enable_grpc_healthcheck_service:
        handlers.append(health.handler())
    if options.enable_profiler:
        handlers.append(profiler.make_handler())
    grpc_server = start_grpc(options, plan, handlers)
    http = None
    if listener is not None:
        handler = rest.RestHandler(
            manager=manager,
            inference=inference,
            timeout=options.rest_api_timeout_in_ms / 1000,
            metrics_path=plan.metrics_path,
            cors=options.rest_api_enable_cors_support,
        )
        http = HTTPListener(listener, handler, concurrency=plan.threads(options.rest_api_num_threads))
        try:
            http.start()
        except OSError as error:
            where = f"{plan.host}:{options.rest_api_port}"
            raise ServingError(Code.UNAVAILABLE, f"cannot listen on {where} ({error})") from None
        _log.info("Exporting HTTP/REST API at:%s:%d ...", plan.host, options.rest_api_port)
    return _Running(manager=manager, grpc_server=grpc_server, http=http, health=health)


def _make_manager(options: Options, plan: Plan) -> tuple[Any, Any]:
    import tensorflow as tf

    from modelport_tfserving.server.batching import BatchScheduler
    from modelport_tfserving.server.inference import Inference
    from modelport_tfserving.server.loader import Loader
    from modelport_tfserving.server.manager import ManagerSettings, ModelManager
    from modelport_tfserving.server.metrics import Metrics
    from modelport_tfserving.server.servable import LoadSettings

    tf.get_logger().setLevel("ERROR")  # The v1 loader is the right one here; that it is old need not be said.
    metrics = Metrics()
    inference = Inference(metrics=metrics, check_method=options.enable_signature_method_name_check)
    loader = Loader(
        settings=LoadSettings(
            tags=tuple(options.saved_model_tags.split(",")),
            session_config=_session_config(options),
            allow_xla=options.xla_cpu_compilation_enabled or options.xla_gpu_compilation_enabled,
            prefer_tflite=options.prefer_tflite_model,
            tflite_interpreters=options.num_tflite_pools if options.num_tflite_pools > 0 else plan.cpus,
        ),
        inference=inference,
        scheduler=BatchScheduler(plan.batching, metrics) if plan.batching else None,
        batching_per_model=options.enable_per_model_batching_parameters,
        warmup_iterations=max(1, options.num_request_iterations_for_warmup) if options.enable_model_warmup else 0,
    )
    settings = ManagerSettings(
        max_num_load_retries=options.max_num_load_retries,
        load_retry_interval=options.load_retry_interval_micros / 1e6,
        num_load_threads=options.num_load_threads,
        allow_unavailable_labels=options.allow_version_labels_for_unavailable_models,
    )
    return inference, ModelManager(loader, settings)


def _session_config(options: Options) -> Any:
    from tensorflow.core.protobuf import config_pb2, rewriter_config_pb2

    config = config_pb2.ConfigProto()
    if options.tensorflow_session_config_file:
        config = configs.load_session_config(Path(options.tensorflow_session_config_file))
    intra, inter = options.tensorflow_intra_op_parallelism, options.tensorflow_inter_op_parallelism
    if intra <= 0 and inter <= 0:
        intra = inter = options.tensorflow_session_parallelism
    config.intra_op_parallelism_threads = intra or config.intra_op_parallelism_threads
    config.inter_op_parallelism_threads = inter or config.inter_op_parallelism_threads
    if options.mixed_precision:
        rewrites = config.graph_options.rewrite_options
        rewrites.auto_mixed_precision_onednn_bfloat16 = rewriter_config_pb2.RewriterConfig.ON
    return config


def _repeat(stopping: threading.Event, interval: float, action: Callable[[], None]) -> None:
    """Do something again and again in a thread of its own, until the server stops; never for an interval of 0."""
    if interval <= 0:
        return

    def work() -> None:
        while not stopping.wait(interval):
            try:
                action()
            except ServingError as error:
                _log.error("looking for new models or versions failed: %s", error)
            except Exception:  # noqa: BLE001 (the next look may go well again)
                _log.exception("looking for new models or versions failed")

    threading.Thread(target=work, name="poll", daemon=True).start()
