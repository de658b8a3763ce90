"""gRPC's standard health service, as the real binary has it behind --enable_grpc_healthcheck_service."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from enum import IntEnum
from typing import Any

from modelport_tfserving.server.messages import message_class

# A watcher keeps a thread of the server's pool for as long as it watches.
_MAX_WATCHERS = 8
_LOOK_S = 1.0


class _Status(IntEnum):
    SERVING = 1
    NOT_SERVING = 2
    SERVICE_UNKNOWN = 3


class Health:
    """Answers Check and Watch for the whole server, which is called by the empty name: SERVING until it stops."""

    def __init__(self) -> None:
        self._status = _Status.SERVING
        self._watchers = 0
        self._changed = threading.Condition()

    def handler(self) -> Any:
        """Return gRPC's generic handler of the service."""
        import grpc

        request, response = message_class("HealthCheckRequest"), message_class("HealthCheckResponse")
        codec = {"request_deserializer": request.FromString, "response_serializer": response.SerializeToString}
        return grpc.method_handlers_generic_handler(
            "grpc.health.v1.Health",
            {
                "Check": grpc.unary_unary_rpc_method_handler(self._check, **codec),
                "Watch": grpc.unary_stream_rpc_method_handler(self._watch, **codec),
            },
        )

    def stop(self) -> None:
        """Tell watchers that the server does not serve any more, and end their streams."""
        with self._changed:
            self._status = _Status.NOT_SERVING
            self._changed.notify_all()

    def _check(self, request: Any, context: Any) -> Any:
        import grpc

        if request.service:
            context.abort(grpc.StatusCode.NOT_FOUND, f"service name unknown: {request.service}")
        return message_class("HealthCheckResponse")(status=self._status)

    def _watch(self, request: Any, context: Any) -> Iterator[Any]:
        import grpc

        with self._changed:
            crowded = self._watchers >= _MAX_WATCHERS
            self._watchers += not crowded
        if crowded:
            context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED, f"at most {_MAX_WATCHERS} clients may watch the health at once"
            )
        context.add_callback(self._wake)
        try:
            status = _Status.SERVICE_UNKNOWN if request.service else self._status
            yield message_class("HealthCheckResponse")(status=status)
            if self._await_stop(context) and status is _Status.SERVING:
                yield message_class("HealthCheckResponse")(status=_Status.NOT_SERVING)
        finally:
            with self._changed:
                self._watchers -= 1

    def _await_stop(self, context: Any) -> bool:
        """Wait until the server stops (True) or the client has gone (False)."""
        with self._changed:
            while context.is_active() and self._status is _Status.SERVING:
                self._changed.wait(_LOOK_S)
            return bool(context.is_active())

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()
