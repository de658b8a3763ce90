"""TensorFlow's profiler service on the gRPC port, for TensorBoard's "capture profile" and `profiler_client.trace`."""

from __future__ import annotations

import logging
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from modelport_tfserving.server.messages import message_class
from modelport_tfserving.server.statuses import Code, ServingError, from_exception, invalid_argument

_log = logging.getLogger(__name__)
_LOOK_S = 0.05
# TensorFlow has one profiler in a process.
_ONE_AT_A_TIME = threading.Lock()


def make_handler() -> Any:
    """Return gRPC's generic handler of the service; of its methods, the real server too has only this one."""
    import grpc

    request, response = message_class("ProfileRequest"), message_class("ProfileResponse")
    profile = grpc.unary_unary_rpc_method_handler(
        _profile, request_deserializer=request.FromString, response_serializer=response.SerializeToString
    )
    return grpc.method_handlers_generic_handler("tensorflow.ProfilerService", {"Profile": profile})


def _profile(request: Any, context: Any) -> Any:
    import grpc

    try:
        space = _collect(request.opts, context)
        response = message_class("ProfileResponse")(empty_trace=_is_empty(space))
        if request.emit_xspace:
            response.xspace = space
        else:
            _save(request, space)
    except Exception as error:  # noqa: BLE001 (every failure is answered with its code)
        mended = from_exception(error)
        context.abort(grpc.StatusCode[mended.code.name], mended.message)
    return response


def _collect(options: Any, context: Any) -> bytes:
    """Trace the process for the time asked for; returns a serialized XSpace."""
    from tensorflow.python.profiler.internal import _pywrap_profiler

    if not _ONE_AT_A_TIME.acquire(blocking=False):
        raise ServingError(Code.INTERNAL, "Another profiler is running.")
    try:
        # Options without a version were never filled in; the profiler has defaults for those.
        levels = ("host_tracer_level", "device_tracer_level", "python_tracer_level") if options.version else ()
        with tempfile.TemporaryDirectory(prefix="profile-") as folder:
            session = _pywrap_profiler.ProfilerSession()
            session.start(folder, {level: getattr(options, level) for level in levels})
            until = time.monotonic() + options.duration_ms / 1000
            while (remaining := until - time.monotonic()) > 0 and context.is_active():
                time.sleep(min(_LOOK_S, remaining))
            # What `stop` gives is no XSpace any more.
            session.export_to_tb()
            return next(Path(folder).rglob("*.xplane.pb")).read_bytes()
    finally:
        _ONE_AT_A_TIME.release()


def _is_empty(space: bytes) -> bool:
    planes = message_class("XSpace").FromString(space).planes
    return not any(line.events for plane in planes for line in plane.lines)


def _save(request: Any, space: bytes) -> None:
    if not request.repository_root:
        raise invalid_argument("ProfileRequest has no repository_root to save the profile to")
    if "/" in request.session_id or "/" in request.host_name:
        raise invalid_argument("session_id and host_name of a ProfileRequest must be plain names")
    folder = Path(request.repository_root) / request.session_id
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{request.host_name}.xplane.pb".replace(":", "_")
    file.write_bytes(space)
    _log.info("Collecting XSpace to repository: %s", file)
