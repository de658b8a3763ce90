"""The server's life: flags, files and ports first, then the models, then both doors; and its orderly end."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
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
PROGRAM = "python -m modelport_tfserving.server"
_FAILED = 255
_GRACE_S = 1.2


def main(arguments: list[str]) -> int:
    """Run the server until SIGTERM or SIGINT; returns the exit code: 0, or 255 as the real binary's -1."""
    try:
        options = parse_flags(arguments)
    except HelpRequestedError:
        sys.stdout.write(render_usage(PROGRAM))
        return 0
    except FlagError as error:
        sys.stdout.write(render_usage(PROGRAM))
        sys.stderr.write(f"{error}\n")
        return _FAILED
    if options.version:
        sys.stdout.write(
            f"TensorFlow ModelServer: {metadata.version('modelport')} (modelport's embedded stand-in, not the real "
            f"tensorflow_model_server)\nTensorFlow Library: {metadata.version('tensorflow')}\n"
        )
        return 0
    _set_up_logging()
    serving, stopping = threading.Event(), threading.Event()
    _handle_signals(serving, stopping)
    try:
        server = _start(options, stopping)
    except ServingError as error:
        sys.stderr.write(f"Failed to start server. Error: {error}\n")
        return _leave(_FAILED)
    serving.set()
    stopping.wait()
    _log.info("Stopping: no new requests are taken, those in work may end")
    server.stop()
    return _leave(0)


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

    def stop(self) -> None:
        """Take no new requests, let those in work end, bounded by the grace."""
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
        metadata.version("tensorflow"),
    )
    # TensorFlow takes seconds to import, so what needs it comes after everything that may be wrong.
    from modelport_tfserving.server import rest, rpc
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
    grpc_server = start_grpc(options, plan, services.handlers(health=options.enable_grpc_healthcheck_service))
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
    return _Running(manager=manager, grpc_server=grpc_server, http=http)


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
            allow_xla=options.xla_cpu_compilation_enabled,
        ),
        inference=inference,
        scheduler=BatchScheduler(plan.batching, metrics) if plan.batching else None,
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
    from tensorflow.core.protobuf import config_pb2

    config = config_pb2.ConfigProto()
    if options.tensorflow_session_config_file:
        config = configs.load_session_config(Path(options.tensorflow_session_config_file))
    intra = options.tensorflow_intra_op_parallelism or options.tensorflow_session_parallelism
    inter = options.tensorflow_inter_op_parallelism or options.tensorflow_session_parallelism
    config.intra_op_parallelism_threads = intra or config.intra_op_parallelism_threads
    config.inter_op_parallelism_threads = inter or config.inter_op_parallelism_threads
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
