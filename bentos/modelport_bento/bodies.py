"""Request bodies as they came: BentoML's API receives them whole, decodes nothing, and still knows their schema.

BentoML would turn every body into pydantic objects and back. That writes NaN and infinity as ``null``, costs most of
a small request's time, and knows neither npz nor names that are no Python identifiers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import bentoml

from modelport_bento.schemas import client_schema, object_schema

if TYPE_CHECKING:
    from starlette.requests import Request

    from modelport_runtime.signature import TensorSpec


class Tensors(bentoml.IODescriptor):  # type: ignore[misc]  # BentoML's types are not checked
    """A JSON object that holds one tensor a property."""

    tensors: ClassVar[Sequence[TensorSpec] | None] = None

    @classmethod
    def model_json_schema(
        cls, *_args: Any, mode: Literal["validation", "serialization"] = "validation", **_settings: Any
    ) -> dict[str, Any]:
        """Describe the object; BentoML asks for "validation" on behalf of its clients, else for OpenAPI."""
        return client_schema(cls.tensors) if mode == "validation" else object_schema(cls.tensors)

    @classmethod
    def openapi_components(cls, name: str) -> dict[str, Any]:  # noqa: ARG003  # BentoML's signature
        """Name no shared schema: each stands where it is used."""
        return {}


class Body(Tensors):
    """A request's body.

    Attributes:
        body: All its bytes; None where it is longer than `limit`.
        content_type: The request's ``Content-Type``.
        accept: The request's ``Accept``.
    """

    limit: ClassVar[int] = 0

    body: bytes | None = None
    content_type: str | None = None
    accept: str | None = None

    @classmethod
    async def from_http_request(cls, request: Request, serde: object) -> Any:  # noqa: ARG003  # BentoML's signature
        """Read the body, up to the limit."""
        return cls.model_construct(
            body=await read_body(request, cls.limit),
            content_type=request.headers.get("content-type"),
            accept=request.headers.get("accept"),
        )


def request_body(tensors: Sequence[TensorSpec] | None, limit: int) -> type[Body]:
    """Make the input type of an API that takes these tensors in bodies of at most ``limit`` bytes."""
    return type("PredictRequest", (Body,), {"tensors": tensors, "limit": limit, "__module__": __name__})


def answer_body(tensors: Sequence[TensorSpec] | None) -> type[Tensors]:
    """Make the output type of an API that gives these tensors."""
    return type("PredictAnswer", (Tensors,), {"tensors": tensors, "__module__": __name__})


async def read_body(request: Request, limit: int) -> bytes | None:
    """Read a request's body; None as soon as it is known to be longer than ``limit`` bytes.

    What is left of such a body is received and thrown away by the server once it has been answered, so that a client
    which reads no answer before it has sent everything gets one.
    """
    if int(request.headers.get("content-length", "0")) > limit:  # the server has checked that it is a number
        return None
    body = bytearray()
    async for chunk in request.stream():
        if len(body) + len(chunk) > limit:
            return None
        body += chunk
    return bytes(body)
