"""The parts of a BentoML service that surround its API: its start, its documents, its metadata, its limits."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import attrs
import bentoml
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from modelport_bento.openapi import metadata_operation, predict_operation
from modelport_bento.predictor import refusal
from modelport_bento.schemas import ERROR_SCHEMA

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

    from modelport_runtime.description import ModelDescription

PREDICT = "/predict"
METADATA = "/metadata"


class DescribedService(bentoml.Service):  # type: ignore[misc]  # BentoML's types are not checked
    """A BentoML service whose OpenAPI document is that of the model: both media types, every status, no more."""

    @property
    def openapi_spec(self) -> Any:
        """BentoML's document, with the operations that it cannot derive by itself."""
        document = super().openapi_spec
        description: ModelDescription = self.inner.description
        paths = dict(document.paths)
        paths[METADATA] = attrs.evolve(paths["/livez"], get=metadata_operation())
        paths[PREDICT] = attrs.evolve(paths[PREDICT], post=predict_operation(description))
        return attrs.evolve(
            document,
            info=attrs.evolve(
                document.info,
                title=description.name,
                version=description.version,
                description=self.inner.__doc__,
                contact=None,
            ),
            paths=paths,
            components={"schemas": {"Error": ERROR_SCHEMA}},
        )


def metadata_app(description: ModelDescription) -> Starlette:
    """Make the application that answers ``GET /metadata`` with what ``modelport.json`` says."""
    answer = description.to_json()

    async def metadata(_request: Request) -> JSONResponse:
        return JSONResponse(answer)

    return Starlette(routes=[Route(METADATA, metadata, methods=["GET"])])


class Admission:
    """ASGI middleware: at most ``limit`` predictions at a time in one worker; to more it answers 503, at once."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self.app = app
        self.limit = limit
        self._inside = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] != "http" or scope["path"] != PREDICT:
            await self.app(scope, receive, send)
        elif self._inside >= self.limit:
            busy = refusal(503, f"{self.limit} requests are in work, and no more are taken; try again later")
            await busy(scope, receive, send)
        else:
            self._inside += 1
            try:
                await self.app(scope, receive, send)
            finally:
                self._inside -= 1


@contextmanager
def starting() -> Iterator[None]:
    """End the whole server where its worker cannot start: BentoML would start the worker again, for ever."""
    try:
        yield
    except Exception:
        if bentoml.server_context.worker_index is not None:
            os.kill(os.getppid(), signal.SIGTERM)
        raise
